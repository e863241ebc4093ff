from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from vocdet.errors import OutputError, SplitError
from vocdet.formats.scan import Source
from vocdet.workflows.split import SplitFiles, SplitOptions, append_to_split, split_dataset

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


def similar(root: Path, first: str, *others: str) -> None:
    """Replace images of a dataset by the first one at other JPEG qualities."""
    with Image.open(root / "JPEGImages" / f"{first}.jpg") as image:
        for quality, stem in enumerate(others, 40):
            image.save(root / "JPEGImages" / f"{stem}.jpg", quality=quality)


def grown(
    make_voc: MakeVoc,
    before: int = 20,
    after: int = 30,
    options: SplitOptions = SplitOptions(),
    files: SplitFiles = SplitFiles(),
) -> Path:
    """A dataset that was split before images were added."""
    root = many(make_voc, before)
    split_dataset(Source(root), options, files)
    return many(make_voc, after, root=root)


def test_appending_moves_no_image(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    before = lines(root)
    report = append_to_split(Source(root))
    after = lines(root)
    for name in ("trainval", "train", "val", "test"):
        assert set(before[name]) <= set(after[name])
    assert {name: len(stems) for name, stems in after.items()} == {"trainval": 27, "train": 24, "val": 3, "test": 3}
    assert sorted(after["trainval"] + after["test"]) == [f"img{i:02}" for i in range(30)]
    assert report.objects()[0].tolist() in ([13, 14], [14, 13])
    assert report.notes == ("10 new images: 8 to train, 1 to val, 1 to test; all others are unchanged",)


def test_appending_is_idempotent(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    append_to_split(Source(root))
    before = lines(root)
    report = append_to_split(Source(root), SplitOptions(seed=5))
    assert lines(root) == before
    assert report.notes == ("there are no new images: every image has a split",)


def test_appending_keeps_the_current_shares_by_default(make_voc: MakeVoc) -> None:
    root = grown(make_voc, 20, 40, SplitOptions(trainval=0.5, train=0.5))
    assert {name: len(rows) for name, rows in append_to_split(Source(root), files=SplitFiles(dry_run=True)).splits.items()} == {
        "trainval": 20, "train": 10, "val": 10, "test": 20,
    }  # fmt: skip
    given = append_to_split(Source(root), SplitOptions(trainval=0.75, train=0.5))
    assert [len(given.splits[name]) for name in ("train", "val", "test")] == [15, 15, 10]


def test_appending_extends_folds_and_files_per_label(make_voc: MakeVoc) -> None:
    root = grown(make_voc, options=SplitOptions(kfold=3), files=SplitFiles(per_label=True))
    before = lines(root)
    append_to_split(Source(root))
    after = lines(root)
    assert before.keys() == after.keys()
    for name in before:
        assert set(before[name]) <= set(after[name])
    assert sorted(stem for k in (1, 2, 3) for stem in after[f"fold{k}_val"]) == after["trainval"]
    with pytest.raises(SplitError, match="the dataset has 3 folds, not 4"):
        append_to_split(Source(root), SplitOptions(kfold=4))


@pytest.mark.parametrize("missing", [(2, 3), (1,), (2,)])
def test_folds_of_which_some_are_missing_are_not_extended(make_voc: MakeVoc, missing: tuple[int, ...]) -> None:
    root = grown(make_voc, options=SplitOptions(kfold=3))
    for number in missing:
        for name in ("train", "val"):
            (root / "ImageSets" / "Main" / f"fold{number}_{name}.txt").unlink()
    before = lines(root)
    with pytest.raises(SplitError, match="other folds are missing"):
        append_to_split(Source(root))
    assert lines(root) == before


@pytest.mark.parametrize("keep_test", [False, True])
def test_images_that_are_left_out_because_of_errors_keep_their_splits(make_voc: MakeVoc, keep_test: bool) -> None:
    root = grown(make_voc, options=SplitOptions(kfold=2))
    before = lines(root)
    bad = before["test"][0], before["train"][0]
    for stem in bad:
        (root / "JPEGImages" / f"{stem}.jpg").write_bytes(b"no image")
    source = Source(root, skip_bad=True)
    if keep_test:
        split_dataset(source, SplitOptions(keep_test=True), SplitFiles(force=True))
        assert sorted(lines(root)["test"]) == sorted(before["test"])
    else:
        append_to_split(source)
        after = lines(root)
        assert all({*before[name]} <= {*after[name]} for name in ("trainval", "train", "val", "test", "fold1_val"))
        assert all(len({*stems}) == len(stems) for stems in after.values())


def test_the_files_of_a_label_named_like_a_fold_are_no_fold(make_voc: MakeVoc) -> None:
    boxes = [("fold1", (1.0, 2.0, 30.0, 40.0))]
    root = make_voc({f"img{i:02}": boxes if i % 2 else CAT for i in range(20)})
    split_dataset(Source(root), files=SplitFiles(per_label=True))
    make_voc({"new": CAT}, root=root)
    assert append_to_split(Source(root)).folds == ()


def test_new_images_join_the_split_of_their_group(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    test = lines(root)["test"]
    similar(root, test[0], "img20", "img21", "img22", "img23")
    append_to_split(Source(root))
    assert {"img20", "img21", "img22", "img23"} <= set(lines(root)["test"])


def test_a_group_in_several_splits_remains_there_with_a_note(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    before = lines(root)
    similar(root, before["train"][0], before["test"][0])
    assert append_to_split(Source(root)).notes[1:] == (
        "1 group of images remains in several splits: `vocdet.write_splits(vocdet.split(dataset), force=True)` reunites them",
    )
    assert before["test"][0] in lines(root)["test"]


def test_appending_leaves_out_missing_images(make_voc: MakeVoc) -> None:
    root = grown(make_voc)
    gone = lines(root)["train"][3]
    for path in (root / "Annotations" / f"{gone}.xml", root / "JPEGImages" / f"{gone}.jpg"):
        path.unlink()
    report = append_to_split(Source(root))
    assert report.notes[0] == "1 line names an image that is no longer in the dataset and left out (train.txt:4)"
    assert all(gone not in stems for stems in lines(root).values())
    assert len(report.dataset) == 29


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        ({}, "there is no train split to add images to"),
        ({"val": ["img00"]}, "there is no train split to add images to"),
        ({"trainval": ["img00", "img01"], "test": ["img02"]}, "there is no train split to add images to"),
        ({"train": ["img00", "img01"], "val": ["img01"]}, "1 image (img01) is in several of train, val and test"),
        (
            {"trainval": [f"img0{i}" for i in range(8)], "train": ["img00"], "val": ["img01"]},
            "6 images (img02, img03, img04 and 3 more) are only in trainval",
        ),
    ],
)
def test_splits_that_cannot_be_extended_are_an_error_and_unchanged(
    make_voc: MakeVoc, splits: Mapping[str, Sequence[str]], problem: str
) -> None:
    root = many(make_voc, splits=splits)
    before = listing(root)
    with pytest.raises(SplitError) as caught:
        append_to_split(Source(root))
    assert caught.value.problem == problem
    assert "vocdet.split(dataset" in caught.value.hint
    assert listing(root) == before


def test_a_full_disk_leaves_the_old_split_when_appending(make_voc: MakeVoc, monkeypatch: pytest.MonkeyPatch) -> None:
    root = grown(make_voc)
    before = listing(root / "ImageSets")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device"):
        append_to_split(Source(root))
    assert listing(root / "ImageSets") == before
