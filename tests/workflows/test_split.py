from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.errors import ManyErrors, OutputError, SplitError, VocdetError
from vocdet.workflows.prepare import load_dataset
from vocdet.workflows.split import append_to_split, split_as_coco, split_dataset

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
CAT = [("cat", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def many(make_voc: MakeVoc, count: int = 20, **kinds: object) -> Path:
    return make_voc({f"img{i:02}": DOG if i % 2 else CAT for i in range(count)}, **kinds)


def listing(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def lines(root: Path) -> dict[str, list[str]]:
    """The lines of every split file."""
    folder = root / "ImageSets" / "Main"
    return {path.stem: path.read_text().splitlines() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("layout", ["voc", "flat"])
def test_a_split_writes_vocs_four_files_and_changes_no_other(make_voc: MakeVoc, layout: str) -> None:
    root = many(make_voc, layout=layout)
    before = listing(root)
    report = split_dataset(root)
    after = listing(root)
    added = {name: after[name] for name in after.keys() - before.keys()}
    assert {name: after[name] for name in before} == before
    assert sorted(added) == [f"ImageSets/Main/{name}.txt" for name in ("test", "train", "trainval", "val")]
    stems = {Path(name).stem: data.decode().splitlines() for name, data in added.items()}
    assert {name: len(lines) for name, lines in stems.items()} == {"trainval": 18, "train": 16, "val": 2, "test": 2}
    assert stems["trainval"] == sorted(stems["train"] + stems["val"])
    assert report.objects().tolist() == [[9, 9], [8, 8], [1, 1], [1, 1]]
    assert {name: rows.tolist() for name, rows in load_dataset(root).parts.items()} == {
        name: rows.tolist() for name, rows in report.parts.items()
    }
    assert report.notes == ()


def test_a_split_does_not_replace_another_unless_told_to(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    split_dataset(root)
    before = listing(root)
    with pytest.raises(SplitError, match=r"trainval\.txt, train\.txt, val\.txt, test\.txt would be overwritten"):
        split_dataset(root, seed=1)
    assert listing(root) == before
    split_dataset(root, force=True)
    assert listing(root) == before
    split_dataset(root, seed=1, force=True)
    assert listing(root) != before


def test_a_full_disk_leaves_the_old_split(make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    root = many(make_voc)
    split_dataset(root)
    before = listing(root)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        split_dataset(root, seed=1, force=True)
    assert listing(root) == before


def test_a_place_that_cannot_be_written_is_one_error(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    (root / "ImageSets").write_text("in the way")
    before = listing(root)
    with pytest.raises(OutputError, match="cannot be written"):
        split_dataset(root)
    assert listing(root) == before


def test_a_first_split_that_cannot_be_written_leaves_no_folder(
    make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = many(make_voc)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        split_dataset(root)
    assert not (root / "ImageSets").exists()


def test_files_for_each_label_are_written_when_asked_for(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    report = split_dataset(root, per_label=True)
    assert len(report.files) == 4 + 2 * 4
    lines = (root / "ImageSets" / "Main" / "cat_val.txt").read_text().splitlines()
    assert sorted(line[-3:] for line in lines) == ["  1", " -1"]
    again = split_dataset(root, seed=1, force=True)
    assert again.notes == ("of an earlier split: 8 files such as cat_test.txt: delete them",)


def test_copies_are_not_divided(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    image = (root / "JPEGImages" / "img00.jpg").read_bytes()
    for i in (3, 8, 11):
        (root / "JPEGImages" / f"img{i:02}.jpg").write_bytes(image)
    for seed in range(5):
        report = split_dataset(root, seed=seed, force=True)
        homes = {name for name in ("train", "val", "test") for row in (0, 3, 8, 11) if row in report.parts[name]}
        assert len(homes) == 1
        assert report.notes == ("1 group of identical images: each is in one part",)


def test_the_raccoons_are_divided_with_their_copies_together(shared: Path, tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(shared / "data" / "raccoon", tmp_path / "raccoon")
    report = split_dataset(root)
    stems = np.array(report.dataset.images.stems)
    part = {stem: name for name in ("train", "val", "test") for stem in stems[report.parts[name]]}
    for one, other in ((11, 116), (120, 83), (52, 74), (65, 98)):
        assert part[f"raccoon-{one}"] == part[f"raccoon-{other}"]
    assert {name: len(rows) for name, rows in report.parts.items()} == {
        "trainval": 180,
        "train": 162,
        "val": 18,
        "test": 20,
    }


def test_notes_say_which_parts_are_empty_and_which_labels_they_lack(make_voc: MakeVoc) -> None:
    root = make_voc({**{f"a{i}": DOG for i in range(9)}, "b": CAT})
    notes = split_dataset(root, trainval=1.0).notes
    assert notes == (
        "test is empty, as all images were asked for in trainval: figures can only come from val",
        "val has no object of cat: annotate more of them",
    )
    assert "val is empty" in split_dataset(root, train=1.0, force=True).notes[0]


def test_split_files_take_over_from_folders_of_parts(make_voc: MakeVoc, tmp_path: Path) -> None:
    for part in ("train", "valid"):
        make_voc({f"{part}{i}": DOG for i in range(5)}, root=tmp_path / "set" / part, layout="flat")
    report = split_dataset(tmp_path / "set")
    assert report.notes == ("ImageSets, and no longer the folders train, valid, now says which part an image is in",)
    assert {name: len(rows) for name, rows in load_dataset(tmp_path / "set").parts.items()} == {
        name: len(rows) for name, rows in report.parts.items()
    }


def test_errors_in_the_data_stop_a_split_before_it_writes(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    (root / "JPEGImages" / "img00.jpg").unlink()
    (root / "Annotations" / "img01.xml").write_text("<annotation>")
    with pytest.raises(ManyErrors):
        split_dataset(root)
    assert not (root / "ImageSets").exists()


def similar(root: Path, first: str, *others: str) -> None:
    """Make images of a dataset the first one, saved again."""
    with Image.open(root / "JPEGImages" / f"{first}.jpg") as image:
        for quality, stem in enumerate(others, 40):
            image.save(root / "JPEGImages" / f"{stem}.jpg", quality=quality)


def test_near_identical_images_are_not_divided(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    similar(root, "img00", "img03", "img08", "img11")
    for seed in range(5):
        report = split_dataset(root, seed=seed, force=True)
        homes = {name for name in ("train", "val", "test") for row in (0, 3, 8, 11) if row in report.parts[name]}
        assert len(homes) == 1
        assert report.notes == ("1 group of near-identical images (4 images): each is in one part",)
    apart = [split_dataset(root, seed=seed, force=True, group_by=["identical"]) for seed in range(5)]
    assert any(len({row in report.parts["train"] for row in (0, 3, 8, 11)}) == 2 for report in apart)


def test_a_film_of_near_identical_images_is_divided_unless_that_is_refused(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    similar(root, "img00", *(f"img{i:02}" for i in range(1, 18)))
    report = split_dataset(root)
    assert {name: len(rows) for name, rows in report.parts.items()} == {
        "trainval": 18, "train": 16, "val": 2, "test": 2,
    }  # fmt: skip
    (note,) = report.notes
    assert note.startswith("18 of 20 images are near-identical, one to the next: they are divided all the same")
    together = split_dataset(root, group_by=["similar"], force=True)
    assert {name: len(rows) for name, rows in together.parts.items()} == {
        "trainval": 19, "train": 18, "val": 1, "test": 1,
    }  # fmt: skip
    assert "so that 2 images went to another part than was asked for" in together.notes[0]


def test_images_are_grouped_by_a_pattern_in_their_names(make_voc: MakeVoc) -> None:
    scenes = {f"film{i // 5}_{i % 5}": DOG for i in range(50)}
    report = split_dataset(make_voc({**scenes, "alone": DOG}), group_by=[r"(film\d)_\d"])
    stems = report.dataset.images.stems
    for name in ("train", "val", "test"):
        films = [stems[row][:5] for row in report.parts[name] if stems[row] != "alone"]
        assert all(films.count(film) == 5 for film in films)
    assert report.notes[0].startswith(r"10 groups by '(film\d)_\d', of 5 images: each is in one part")
    assert r"1 image that '(film\d)_\d' does not match: each is on its own" in report.notes


def test_images_are_grouped_by_their_folder(make_voc: MakeVoc, tmp_path: Path) -> None:
    for camera in range(6):
        make_voc({f"{camera}_{i}": DOG for i in range(4)}, root=tmp_path / "set" / f"cam{camera}", layout="flat")
    report = split_dataset(tmp_path / "set", group_by=["folder"], trainval=0.67, train=0.5)
    assert {name: len(rows) for name, rows in report.parts.items()} == {
        "trainval": 16, "train": 8, "val": 8, "test": 8,
    }  # fmt: skip
    assert all(len(set(rows // 4)) * 4 == len(rows) for rows in report.parts.values())
    assert report.notes == ("6 folders, of 4 images: each is in one part",)


@pytest.mark.parametrize(
    ("group_by", "problem"),
    [
        ("(.)", r"val would have no images, as some stay together: 1 group by '(.)', of 20 images"),
        ("folder", r"val would have no images, as some stay together: 1 folder, of 20 images"),
        (r"(img[01])", r"val would have no images, as some stay together: 2 groups by '(img[01])', of 10 images"),
        ("x", "'x' matches no image, such as 'img00'"),
        ("(", "'(' is not a regular expression: missing ), unterminated subpattern at position 0"),
    ],
)
def test_groups_that_cannot_be_divided_are_an_error_and_write_nothing(
    make_voc: MakeVoc, group_by: str, problem: str
) -> None:
    root = many(make_voc)
    with pytest.raises(SplitError) as caught:
        split_dataset(root, group_by=[group_by])
    assert caught.value.problem == problem
    assert caught.value.hint
    assert not (root / "ImageSets").exists()


def test_a_split_by_chance_has_the_same_sizes(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    sizes = {tuple(len(rows) for rows in split_dataset(root, stratify=False, seed=seed, force=True).parts.values())
             for seed in range(5)}  # fmt: skip
    assert sizes == {(18, 16, 2, 2)}


def test_folds_divide_trainval(make_voc: MakeVoc) -> None:
    root = many(make_voc, 24)
    report = split_dataset(root, kfold=3)
    found = lines(root)
    assert sorted(found) == sorted(
        ["trainval", "train", "val", "test", *(f"fold{k}_{part}" for k in (1, 2, 3) for part in ("train", "val"))]
    )
    vals = [found[f"fold{k}_val"] for k in (1, 2, 3)]
    assert sorted(stem for val in vals for stem in val) == found["trainval"]
    assert [len(val) for val in vals] == [8, 7, 7]
    for k in (1, 2, 3):
        assert sorted(found[f"fold{k}_train"] + found[f"fold{k}_val"]) == found["trainval"]
    assert report.fold_objects().sum(axis=0).tolist() == report.objects()[0].tolist() == [11, 11]
    assert np.ptp(report.fold_objects(), axis=0).max() == 1
    assert len(report.files) == 10


def test_folds_respect_groups(make_voc: MakeVoc) -> None:
    root = make_voc({f"film{i // 3:02}_{i % 3}": DOG for i in range(60)})
    split_dataset(root, kfold=4, group_by=[r"(.*)_\d"])
    for k in range(1, 5):
        films = [stem[:6] for stem in lines(root)[f"fold{k}_val"]]
        assert all(films.count(film) == 3 for film in films)


def test_more_folds_than_images_are_an_error_and_write_nothing(make_voc: MakeVoc) -> None:
    root = many(make_voc, 6)
    with pytest.raises(SplitError, match="5 images cannot be divided into 7 folds"):
        split_dataset(root, kfold=7)
    assert not (root / "ImageSets").exists()


def test_folds_of_an_earlier_split_are_told_of(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    split_dataset(root, kfold=3)
    assert split_dataset(root, kfold=2, force=True).notes == (
        "of an earlier split: 2 files such as fold3_train.txt: delete them",
    )


def test_a_dry_run_writes_nothing(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    before = listing(root)
    report = split_dataset(root, dry_run=True)
    assert listing(root) == before
    assert not report.written
    real = split_dataset(root)
    assert real.files == report.files
    assert all(np.array_equal(real.parts[name], report.parts[name]) for name in real.parts)
    assert split_dataset(root, dry_run=True).notes == ("there are split files already: --force replaces them",)


def grown(make_voc: MakeVoc, before: int = 20, after: int = 30, **options: object) -> Path:
    """A dataset that was divided, and then had images added."""
    root = many(make_voc, before)
    split_dataset(root, **options)  # type: ignore[arg-type]
    return many(make_voc, after, root=root)


def test_appending_moves_no_image(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    before = lines(root)
    report = append_to_split(root)
    after = lines(root)
    for name in ("trainval", "train", "val", "test"):
        assert set(before[name]) <= set(after[name])
    assert {name: len(stems) for name, stems in after.items()} == {"trainval": 27, "train": 24, "val": 3, "test": 3}
    assert sorted(after["trainval"] + after["test"]) == [f"img{i:02}" for i in range(30)]
    assert report.objects()[0].tolist() in ([13, 14], [14, 13])
    assert report.notes == ("10 new images: 8 to train, 1 to val, 1 to test; all others stay where they were",)


def test_appending_twice_is_appending_once(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    append_to_split(root)
    before = lines(root)
    report = append_to_split(root, seed=5)
    assert lines(root) == before
    assert report.notes == ("there are no new images: all are in a part",)


def test_appending_keeps_the_shares_there_are_or_takes_those_it_is_given(make_voc: MakeVoc) -> None:
    root = grown(make_voc, 20, 40, trainval=0.5, train=0.5)
    assert {name: len(rows) for name, rows in append_to_split(root, dry_run=True).parts.items()} == {
        "trainval": 20, "train": 10, "val": 10, "test": 20,
    }  # fmt: skip
    given = append_to_split(root, trainval=0.75, train=0.5)
    assert [len(given.parts[name]) for name in ("train", "val", "test")] == [15, 15, 10]


def test_appending_grows_folds_and_files_for_each_label(make_voc: MakeVoc) -> None:
    root = grown(make_voc, kfold=3, per_label=True)
    before = lines(root)
    append_to_split(root)
    after = lines(root)
    assert before.keys() == after.keys()
    for name in before:
        assert set(before[name]) <= set(after[name])
    assert sorted(stem for k in (1, 2, 3) for stem in after[f"fold{k}_val"]) == after["trainval"]
    with pytest.raises(SplitError, match="there are 3 folds, not 4"):
        append_to_split(root, kfold=4)


def test_new_images_follow_those_they_belong_to(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    test = lines(root)["test"]
    similar(root, test[0], "img20", "img21", "img22", "img23")
    append_to_split(root)
    assert {"img20", "img21", "img22", "img23"} <= set(lines(root)["test"])


def test_images_that_belong_together_and_are_apart_stay_apart_with_a_note(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    before = lines(root)
    similar(root, before["train"][0], before["test"][0])
    assert append_to_split(root).notes[1:] == (
        "1 group of images that belong together is in several parts, and stay so: only a split without --append can "
        "mend that",
    )
    assert before["test"][0] in lines(root)["test"]


def test_appending_leaves_out_what_is_gone(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    gone = lines(root)["train"][3]
    for path in (root / "Annotations" / f"{gone}.xml", root / "JPEGImages" / f"{gone}.jpg"):
        path.unlink()
    report = append_to_split(root)
    assert report.notes[0] == "1 line names an image that is no longer in the dataset: left out (train.txt:4)"
    assert all(gone not in stems for stems in lines(root).values())
    assert len(report.dataset) == 29


@pytest.mark.parametrize(
    ("parts", "problem"),
    [
        ({}, "there are no images in train to add to"),
        ({"val": ["img00"]}, "there are no images in train to add to"),
        ({"trainval": ["img00", "img01"], "test": ["img02"]}, "there are no images in train to add to"),
        ({"train": ["img00", "img01"], "val": ["img01"]}, "1 image (img01) is in several of train, val and test"),
        (
            {"trainval": [f"img0{i}" for i in range(8)], "train": ["img00"], "val": ["img01"]},
            "6 images (img02, img03, img04, ...) are in trainval alone",
        ),
    ],
)
def test_what_cannot_be_added_to_is_an_error_and_stays(
    make_voc: MakeVoc, parts: Mapping[str, Sequence[str]], problem: str
) -> None:
    root = many(make_voc, parts=parts)
    before = listing(root)
    with pytest.raises(SplitError) as caught:
        append_to_split(root)
    assert caught.value.problem == problem
    assert "without --append" in caught.value.hint
    assert listing(root) == before


def test_a_full_disk_leaves_what_was_there_when_appending(make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    root = grown(make_voc)
    before = listing(root / "ImageSets")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        append_to_split(root)
    assert listing(root / "ImageSets") == before


def write_coco(path: Path, names: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": i, "file_name": name, "width": 100, "height": 80} for i, name in enumerate(names, 1)]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


def test_parts_are_taken_from_coco_files(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = many(make_voc)
    names = [f"img{i:02}.jpg" for i in range(20)]
    write_coco(tmp_path / "coco" / "annotations" / "instances_train2017.json", names[:12])
    write_coco(
        tmp_path / "coco" / "annotations" / "instances_val2017.json", [f"val2017/{name}" for name in names[12:16]]
    )
    write_coco(tmp_path / "coco" / "annotations" / "image_info_test2017.json", names[16:])
    report = split_as_coco(root, [tmp_path / "coco"])
    assert {name: rows.tolist() for name, rows in report.parts.items()} == {
        "trainval": list(range(16)), "train": list(range(12)), "val": [12, 13, 14, 15], "test": [],
    }  # fmt: skip
    assert report.notes == (
        "4 images are in no COCO file, and now in no part: vocdet split --append finds them one",
        "test is empty: no COCO file is of it",
    )
    assert lines(root)["val"] == ["img12", "img13", "img14", "img15"]


def test_coco_files_say_their_part_by_name_or_folder(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = many(make_voc, 6)
    sources = [
        write_coco(tmp_path / "train" / "_annotations.coco.json", ["img00.png", "sub/img01.jpg"]),
        write_coco(tmp_path / "my_valid.json", ["JPEGImages/img02.jpg", "img03.jpg", "elsewhere.jpg"]),
        write_coco(tmp_path / "Test.json", ["img04.jpg"]),
        write_coco(tmp_path / "train-more.json", ["img05.jpg"]),
    ]
    report = split_as_coco(root, sources)
    assert [report.parts[name].tolist() for name in ("train", "val", "test")] == [[0, 1, 5], [2, 3], [4]]
    assert report.notes[0] == "1 image of my_valid.json is not in the dataset, such as 'elsewhere.jpg'"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"val.json": ["img00.jpg"]}, "no COCO file of train"),
        ({"train.json": ["img00.jpg"], "instances.json": ["img01.jpg"]}, "does not say which part it is"),
        ({"trainval.json": ["img00.jpg"]}, "is of train and val together"),
        ({"train.json": ["a.jpg", "b.jpg"]}, "none of its 2 images is in the dataset, such as 'a.jpg'"),
        (
            {"train.json": ["img00.jpg", "img01.jpg"], "test.json": ["img01.jpg"]},
            "the COCO files have 1 image (img01) in several parts",
        ),
    ],
)
def test_coco_files_that_make_no_parts_are_an_error(
    make_voc: MakeVoc, tmp_path: Path, files: Mapping[str, Sequence[str]], problem: str
) -> None:
    root = many(make_voc)
    sources = [write_coco(tmp_path / "coco" / name, names) for name, names in files.items()]
    with pytest.raises(SplitError) as caught:
        split_as_coco(root, sources)
    assert caught.value.problem == problem
    assert caught.value.hint
    assert not (root / "ImageSets").exists()


@pytest.mark.parametrize("text", ["", "[1, 2", "<annotation/>"])
def test_a_file_that_is_no_coco_file_is_an_error(make_voc: MakeVoc, tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(VocdetError, match=r"train\.json"):
        split_as_coco(many(make_voc), [path])


def test_microcontrollers_are_divided_as_their_coco_files_have_it(shared: Path, tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(shared / "data" / "microcontrollers", tmp_path / "boards")
    report = split_as_coco(root, [root])
    files = np.array(report.dataset.images.files)
    assert {file.split("/")[0] for file in files[report.parts["train"]]} == {"train"}
    assert {file.split("/")[0] for file in files[report.parts["test"]]} == {"test"}
    assert (len(report.parts["train"]), len(report.parts["test"])) == (142, 7)
