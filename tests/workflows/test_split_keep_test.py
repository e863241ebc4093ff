"""An existing trainval is divided into train and val, and test stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import vocdet
from vocdet.errors import SplitError
from vocdet.formats.scan import Source
from vocdet.workflows.load import load_dataset
from vocdet.workflows.split import SplitFiles, SplitOptions, append_to_split, split_dataset

MakeVoc = Callable[..., Path]
DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
STEMS = [f"img{i:02}" for i in range(20)]


def stems(root: Path, name: str) -> list[str]:
    return (root / "ImageSets" / "Main" / f"{name}.txt").read_text().split()


def test_trainval_alone_is_divided_by_default(make_voc: MakeVoc) -> None:
    root = make_voc(dict.fromkeys(STEMS, DOG), splits={"trainval": STEMS[:14], "test": STEMS[14:18]})
    folder = root / "ImageSets" / "Main"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = split_dataset(Source(root), SplitOptions(), SplitFiles())
    assert {path.name for path in report.files} == {"train.txt", "val.txt"}
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert sorted(stems(root, "train") + stems(root, "val")) == STEMS[:14]
    assert stems(root, "val")
    assert report.notes[0] == "14 images divided into train and val; test keeps its 4 images"
    assert report.notes[1].startswith("2 images in no split")


@pytest.mark.parametrize(
    ("splits", "learned"),
    [
        ({"train": STEMS[:14], "test": STEMS[14:]}, STEMS[:14]),
        ({"train": STEMS[:9], "val": STEMS[9:14], "test": STEMS[14:]}, STEMS[:14]),
        ({"test": STEMS[14:]}, STEMS[:14]),
        ({"trainval": STEMS[:14]}, STEMS[:14]),
        ({"train": STEMS[:14]}, STEMS[:14]),
    ],
)
def test_on_request_test_is_never_touched(make_voc: MakeVoc, splits: dict[str, list[str]], learned: list[str]) -> None:
    root = make_voc(dict.fromkeys(STEMS, DOG), splits=splits)
    split_dataset(Source(root), SplitOptions(keep_test=True), SplitFiles(force=True))
    assert stems(root, "test") == splits.get("test", [])
    assert stems(root, "trainval") == learned
    assert sorted(stems(root, "train") + stems(root, "val")) == learned
    assert stems(root, "val")


def test_the_hints_divide_trainval(make_voc: MakeVoc) -> None:
    root = make_voc(dict.fromkeys(STEMS, DOG), splits={"trainval": STEMS[:14], "test": STEMS[14:]})
    for use in (lambda: load_dataset(Source(root), split="train"), lambda: append_to_split(Source(root))):
        with pytest.raises(SplitError, match=r"vocdet\.split\(dataset, keep_test=True\)"):
            use()
    dataset = vocdet.split(root, keep_test=True)
    vocdet.write_splits(dataset, force=True)
    assert stems(root, "test") == STEMS[14:]
    assert load_dataset(Source(root), split="train")
