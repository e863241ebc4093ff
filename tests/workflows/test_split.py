from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.errors import ManyErrors, OutputError, SplitError
from vocdet.formats.scan import Source
from vocdet.workflows.load import load_dataset
from vocdet.workflows.split import SplitFiles, SplitOptions, split_dataset

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
    report = split_dataset(Source(root))
    after = listing(root)
    added = {name: after[name] for name in after.keys() - before.keys()}
    assert {name: after[name] for name in before} == before
    assert sorted(added) == [f"ImageSets/Main/{name}.txt" for name in ("test", "train", "trainval", "val")]
    stems = {Path(name).stem: data.decode().splitlines() for name, data in added.items()}
    assert {name: len(lines) for name, lines in stems.items()} == {"trainval": 18, "train": 16, "val": 2, "test": 2}
    assert stems["trainval"] == sorted(stems["train"] + stems["val"])
    assert report.objects().tolist() == [[9, 9], [8, 8], [1, 1], [1, 1]]
    assert {name: rows.tolist() for name, rows in load_dataset(Source(root)).dataset.splits.items()} == {
        name: rows.tolist() for name, rows in report.splits.items()
    }
    assert report.notes == ()


def test_a_split_replaces_another_only_with_force(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    split_dataset(Source(root))
    before = listing(root)
    with pytest.raises(SplitError, match=r"trainval\.txt, train\.txt, val\.txt, test\.txt would be overwritten"):
        split_dataset(Source(root), SplitOptions(seed=1))
    assert listing(root) == before
    split_dataset(Source(root), files=SplitFiles(force=True))
    assert listing(root) == before
    split_dataset(Source(root), SplitOptions(seed=1), SplitFiles(force=True))
    assert listing(root) != before


def test_a_full_disk_leaves_the_old_split(make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    root = many(make_voc)
    split_dataset(Source(root))
    before = listing(root)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        split_dataset(Source(root), SplitOptions(seed=1), SplitFiles(force=True))
    assert listing(root) == before


def test_a_folder_that_cannot_be_written_is_an_error(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    (root / "ImageSets").write_text("in the way")
    before = listing(root)
    with pytest.raises(OutputError, match="cannot be written"):
        split_dataset(Source(root))
    assert listing(root) == before


def test_a_first_split_that_cannot_be_written_leaves_no_folder(
    make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = many(make_voc)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        split_dataset(Source(root))
    assert not (root / "ImageSets").exists()


def test_files_per_label_are_written_on_request(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    report = split_dataset(Source(root), files=SplitFiles(per_label=True))
    assert len(report.files) == 4 + 2 * 4
    lines = (root / "ImageSets" / "Main" / "cat_val.txt").read_text().splitlines()
    assert sorted(line[-3:] for line in lines) == ["  1", " -1"]
    again = split_dataset(Source(root), SplitOptions(seed=1), SplitFiles(force=True))
    assert again.notes == ("delete 8 files of an earlier split, such as cat_test.txt",)


def test_identical_images_stay_in_one_split(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    image = (root / "JPEGImages" / "img00.jpg").read_bytes()
    for i in (3, 8, 11):
        (root / "JPEGImages" / f"img{i:02}.jpg").write_bytes(image)
    for seed in range(5):
        report = split_dataset(Source(root), SplitOptions(seed=seed), SplitFiles(force=True))
        splits = {name for name in ("train", "val", "test") for row in (0, 3, 8, 11) if row in report.splits[name]}
        assert len(splits) == 1
        assert report.notes == ("1 group of identical images: each is in one split",)


def test_identical_raccoons_stay_in_one_split(shared: Path, tmp_path: Path) -> None:
    import shutil

    root = shutil.copytree(shared / "data" / "raccoon", tmp_path / "raccoon")
    report = split_dataset(Source(root))
    stems = np.array(report.dataset.images.stems)
    split = {stem: name for name in ("train", "val", "test") for stem in stems[report.splits[name]]}
    for one, other in ((11, 116), (120, 83), (52, 74), (65, 98)):
        assert split[f"raccoon-{one}"] == split[f"raccoon-{other}"]
    assert {name: len(rows) for name, rows in report.splits.items()} == {
        "trainval": 180,
        "train": 162,
        "val": 18,
        "test": 20,
    }


def test_notes_name_empty_splits_and_missing_labels(make_voc: MakeVoc) -> None:
    root = make_voc({**{f"a{i}": DOG for i in range(9)}, "b": CAT})
    notes = split_dataset(Source(root), SplitOptions(trainval=1.0)).notes
    assert notes == (
        "test is empty, because trainval takes all images: only val is left to evaluate on",
        "val has no objects of cat: annotate more of them",
    )
    assert "val is empty" in split_dataset(Source(root), SplitOptions(train=1.0), SplitFiles(force=True)).notes[0]


def test_split_files_replace_split_folders(make_voc: MakeVoc, tmp_path: Path) -> None:
    for split in ("train", "valid"):
        make_voc({f"{split}{i}": DOG for i in range(5)}, root=tmp_path / "set" / split, layout="flat")
    report = split_dataset(Source(tmp_path / "set"))
    assert report.notes == ("the splits are now in ImageSets, no longer in the folders train, valid",)
    assert {name: len(rows) for name, rows in load_dataset(Source(tmp_path / "set")).dataset.splits.items()} == {
        name: len(rows) for name, rows in report.splits.items()
    }


def test_errors_in_the_data_stop_a_split_before_it_writes(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    (root / "JPEGImages" / "img00.jpg").unlink()
    (root / "Annotations" / "img01.xml").write_text("<annotation>")
    with pytest.raises(ManyErrors):
        split_dataset(Source(root))
    assert not (root / "ImageSets").exists()


def similar(root: Path, first: str, *others: str) -> None:
    """Replace images of a dataset by the first one at other JPEG qualities."""
    with Image.open(root / "JPEGImages" / f"{first}.jpg") as image:
        for quality, stem in enumerate(others, 40):
            image.save(root / "JPEGImages" / f"{stem}.jpg", quality=quality)


def test_near_duplicates_stay_in_one_split(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    similar(root, "img00", "img03", "img08", "img11")
    for seed in range(5):
        report = split_dataset(Source(root), SplitOptions(seed=seed), SplitFiles(force=True))
        splits = {name for name in ("train", "val", "test") for row in (0, 3, 8, 11) if row in report.splits[name]}
        assert len(splits) == 1
        assert report.notes == ("1 group of near-duplicates (4 images): each is in one split",)
    reports = [
        split_dataset(Source(root), SplitOptions(seed=seed, group_by=["identical"]), SplitFiles(force=True))
        for seed in range(5)
    ]
    assert any(len({row in report.splits["train"] for row in (0, 3, 8, 11)}) == 2 for report in reports)


def test_a_long_chain_of_near_duplicates_is_split_unless_grouped_explicitly(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    similar(root, "img00", *(f"img{i:02}" for i in range(1, 18)))
    report = split_dataset(Source(root))
    assert {name: len(rows) for name, rows in report.splits.items()} == {
        "trainval": 18, "train": 16, "val": 2, "test": 2,
    }  # fmt: skip
    (note,) = report.notes
    assert note.startswith("18 of 20 images form one chain of near-duplicates: they are split anyway")
    together = split_dataset(Source(root), SplitOptions(group_by=["similar"]), SplitFiles(force=True))
    assert {name: len(rows) for name, rows in together.splits.items()} == {
        "trainval": 19, "train": 18, "val": 1, "test": 1,
    }  # fmt: skip
    assert "which moved 2 images to another split" in together.notes[0]


def test_images_are_grouped_by_a_pattern(make_voc: MakeVoc) -> None:
    scenes = {f"film{i // 5}_{i % 5}": DOG for i in range(50)}
    report = split_dataset(Source(make_voc({**scenes, "alone": DOG})), SplitOptions(group_by=[r"(film\d)_\d"]))
    stems = report.dataset.images.stems
    for name in ("train", "val", "test"):
        films = [stems[row][:5] for row in report.splits[name] if stems[row] != "alone"]
        assert all(films.count(film) == 5 for film in films)
    assert report.notes[0].startswith(r"10 groups by '(film\d)_\d', of 5 images: each is in one split")
    assert r"'(film\d)_\d' does not match 1 image: each is its own group" in report.notes


def test_images_are_grouped_by_their_folder(make_voc: MakeVoc, tmp_path: Path) -> None:
    for camera in range(6):
        make_voc({f"{camera}_{i}": DOG for i in range(4)}, root=tmp_path / "set" / f"cam{camera}", layout="flat")
    report = split_dataset(Source(tmp_path / "set"), SplitOptions(group_by=["folder"], trainval=0.67, train=0.5))
    assert {name: len(rows) for name, rows in report.splits.items()} == {
        "trainval": 16, "train": 8, "val": 8, "test": 8,
    }  # fmt: skip
    assert all(len(set(rows // 4)) * 4 == len(rows) for rows in report.splits.values())
    assert report.notes == ("6 folders, of 4 images: each is in one split",)


@pytest.mark.parametrize(
    ("group_by", "problem"),
    [
        ("(.)", r"val would have no images, because groups stay together: 1 group by '(.)', of 20 images"),
        ("folder", r"val would have no images, because groups stay together: 1 folder, of 20 images"),
        (
            r"(img[01])",
            r"val would have no images, because groups stay together: 2 groups by '(img[01])', of 10 images",
        ),
        ("x", "'x' matches no image, such as 'img00'"),
        ("(", "'(' is not a regular expression: missing ), unterminated subpattern at position 0"),
    ],
)
def test_groups_that_cannot_be_split_are_an_error_and_write_nothing(
    make_voc: MakeVoc, group_by: str, problem: str
) -> None:
    root = many(make_voc)
    with pytest.raises(SplitError) as caught:
        split_dataset(Source(root), SplitOptions(group_by=[group_by]))
    assert caught.value.problem == problem
    assert caught.value.hint
    assert not (root / "ImageSets").exists()


def test_a_random_split_has_the_same_sizes(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    sizes = {tuple(len(rows) for rows in split_dataset(Source(root), SplitOptions(stratify=False, seed=seed), SplitFiles(force=True)).splits.values())
             for seed in range(5)}  # fmt: skip
    assert sizes == {(18, 16, 2, 2)}


def test_folds_divide_trainval(make_voc: MakeVoc) -> None:
    root = many(make_voc, 24)
    report = split_dataset(Source(root), SplitOptions(kfold=3))
    found = lines(root)
    assert sorted(found) == sorted(
        ["trainval", "train", "val", "test", *(f"fold{k}_{split}" for k in (1, 2, 3) for split in ("train", "val"))]
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
    split_dataset(Source(root), SplitOptions(kfold=4, group_by=[r"(.*)_\d"]))
    for k in range(1, 5):
        films = [stem[:6] for stem in lines(root)[f"fold{k}_val"]]
        assert all(films.count(film) == 3 for film in films)


def test_more_folds_than_images_are_an_error_and_write_nothing(make_voc: MakeVoc) -> None:
    root = many(make_voc, 6)
    with pytest.raises(SplitError, match="5 images cannot be divided into 7 folds"):
        split_dataset(Source(root), SplitOptions(kfold=7))
    assert not (root / "ImageSets").exists()


def test_folds_of_an_earlier_split_are_noted(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    split_dataset(Source(root), SplitOptions(kfold=3))
    assert split_dataset(Source(root), SplitOptions(kfold=2), SplitFiles(force=True)).notes == (
        "delete 2 files of an earlier split, such as fold3_train.txt",
    )


def test_a_dry_run_writes_nothing(make_voc: MakeVoc) -> None:
    root = many(make_voc)
    before = listing(root)
    report = split_dataset(Source(root), files=SplitFiles(dry_run=True))
    assert listing(root) == before
    assert not report.written
    real = split_dataset(Source(root))
    assert real.files == report.files
    assert all(np.array_equal(real.splits[name], report.splits[name]) for name in real.splits)
    assert split_dataset(Source(root), files=SplitFiles(dry_run=True)).notes == (
        "the dataset has split files: `force=True` replaces them",
    )
