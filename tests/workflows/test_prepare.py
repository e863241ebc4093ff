from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vocdet.errors import AnnotationError, ManyErrors, OutputError, SplitError
from vocdet.workflows.prepare import check_dataset, load_dataset, split_dataset

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
CAT = [("cat", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def many(make_voc: MakeVoc, count: int = 20, **kinds: object) -> Path:
    return make_voc({f"img{i:02}": DOG if i % 2 else CAT for i in range(count)}, **kinds)


def listing(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_dataset_is_loaded_with_its_parts_and_its_boxes_cut(make_voc: MakeVoc) -> None:
    scenes = {"a": [("dog", (-5, 2, 30, 40))], "b": [("dog", (3, 3, 3, 3))], "c": DOG}
    loaded = load_dataset(make_voc(scenes, parts={"train": ["c", "a"], "val": ["b"], "test": []}))
    assert loaded.dataset.objects.box.tolist() == [[0, 2, 30, 40], [1, 2, 30, 40]]
    assert {name: rows.tolist() for name, rows in loaded.parts.items()} == {"train": [2, 0], "val": [1], "test": []}
    assert [finding.code for finding in loaded.warnings] == ["voc.box.clipped", "voc.box.left_out"]
    assert loaded.coordinates == "zero"


def test_trainval_is_train_and_val_where_it_has_no_file(make_voc: MakeVoc) -> None:
    parts = {"train": ["c"], "val": ["a"]}
    root = make_voc({"a": DOG, "b": DOG, "c": DOG}, parts=parts)
    assert load_dataset(root, part="trainval").rows("trainval").tolist() == [0, 2]
    make_voc({}, root=root, parts={"trainval": ["a", "b"]})
    assert load_dataset(root, part="trainval").rows("trainval").tolist() == [0, 1]


def test_parts_that_are_missing_or_empty_tell_the_cure(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    assert load_dataset(root).parts == {}
    with pytest.raises(SplitError, match=r"ImageSets/Main: there is no train\.txt \(run vocdet split\)"):
        load_dataset(root, part="train")
    make_voc({}, root=root, parts={"train": ["a"], "val": []})
    assert load_dataset(root, part="train").warnings == ()
    with pytest.raises(SplitError, match="val has no images"):
        load_dataset(root, part="val")


def test_a_part_that_names_a_missing_stem_is_an_error(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, parts={"train": ["img1", "Img1"]})
    with pytest.raises(
        SplitError, match=r"train\.txt:2: names 'Img1', which is not in the dataset \(did you mean 'img1'\?\)"
    ):
        load_dataset(root)


def test_a_part_that_names_an_image_without_annotation_says_so(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG, "img2": DOG}, parts={"train": ["img1", "img2"]})
    (root / "Annotations" / "img2.xml").unlink()
    with pytest.raises(SplitError, match=r"train\.txt:2: names 'img2', whose image has no annotation \(delete"):
        load_dataset(root)


@pytest.mark.parametrize("lost", ["JPEGImages/img2.jpg", "Annotations/img2.xml"])
def test_one_broken_file_is_one_error_of_a_check(make_voc: MakeVoc, lost: str) -> None:
    root = make_voc({"img1": DOG, "img2": DOG}, parts={"train": ["img1", "img2"], "trainval": ["img1", "img2"]})
    (root / lost).write_bytes(b"")
    report = check_dataset(root)
    assert [finding.place.path for finding in report.findings] == [root / lost]
    assert report.errors == 1


def test_a_part_that_is_not_there_is_named_with_those_that_are(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, parts={"trainval": ["img1"], "val": []})
    with pytest.raises(SplitError, match=r"there is no train\.txt \(run vocdet split --force\)"):
        load_dataset(root, part="train")
    with pytest.raises(SplitError, match=r"there is no test\.txt \(run .*, or take another part: trainval\)"):
        load_dataset(root, part="test")
    with pytest.raises(SplitError, match=r"val has no images \(run .*, or take another part: trainval\)"):
        load_dataset(root, part="val")


def test_a_check_tells_of_a_part_without_objects(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG, "b": []}, parts={"train": ["a"], "val": ["b"]})
    (finding,) = check_dataset(root).findings
    assert (finding.severity, finding.problem) == ("warning", "there is no object in the 1 image of val")


def test_a_dataset_without_objects_cannot_be_trained_on(make_voc: MakeVoc) -> None:
    with pytest.raises(AnnotationError, match="no objects in any annotation"):
        load_dataset(make_voc({"a": [], "b": []}))


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


def test_a_check_finds_everything_and_changes_nothing(make_voc: MakeVoc) -> None:
    scenes = {f"img{i}": DOG for i in range(8)} | {"img8": [("Dog", (5, 5, 5, 5))], "img9": [("dog", (1, 2, 130, 40))]}
    parts = {"train": ["img0", "img1", "img9"], "val": ["img2", "img3"], "test": ["img2", "nothing"]}
    root = make_voc(scenes, parts=parts)
    images, xmls = root / "JPEGImages", root / "Annotations"
    (images / "img2.jpg").write_bytes((images / "img0.jpg").read_bytes())
    (images / "img4.jpg").write_bytes((images / "img4.jpg").read_bytes()[:900])
    (xmls / "img5.xml").unlink()
    (images / "img6.jpg").unlink()
    (xmls / "img7.xml").write_text((xmls / "img7.xml").read_text()[:300])
    before = listing(root)
    report = check_dataset(root)
    assert listing(root) == before
    assert [(finding.severity, finding.code) for finding in report.findings] == [
        ("error", "image.corrupt"),
        ("error", "image.missing"),
        ("error", "imagesets.unknown_stem"),
        ("error", "voc.box.out_of_image"),
        ("error", "voc.box.zero_area"),
        ("error", "xml.syntax"),
        ("warning", "image.copy_across_parts"),
        ("warning", "image.unannotated"),
        ("warning", "imagesets.overlap"),
        ("warning", "label.alike"),
    ]
    assert report.errors == 6
    assert all(finding.hint and finding.problem for finding in report.findings)


def test_a_split_file_that_is_no_text_does_not_end_a_check(make_voc: MakeVoc) -> None:
    root = many(make_voc, parts={"train": ["img00"]})
    (root / "ImageSets" / "Main" / "train.txt").write_bytes("img00".encode("utf-16"))
    assert [finding.code for finding in check_dataset(root).findings] == ["imagesets.unreadable"]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("bccd", {"voc.box.zero_area"}),
        ("ecustfd", {"voc.box.two_labels"}),
        ("foda", set()),
        ("microcontrollers", set()),
        ("raccoon", {"image.copy"}),
    ],
)
def test_real_sets_are_as_good_as_they_are(shared: Path, name: str, codes: set[str]) -> None:
    assert {finding.code for finding in check_dataset(shared / "data" / name).findings} == codes
