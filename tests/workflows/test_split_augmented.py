"""Augmented copies of one image stay in one split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.formats.scan import Source
from vocdet.workflows.check import check_dataset
from vocdet.workflows.split import SplitOptions, split_dataset

MakeVoc = Callable[..., Path]
DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
ROBOFLOW = [f"shot{i}_jpg.rf.{k:x}{i:031x}" for i in range(8) for k in range(3)]
BESIDE = [name for i in range(8) for name in (f"shot{i}", f"shot{i}_flip", f"shot{i}_aug2")]


def distinct(root: Path) -> Path:
    """Give every image other pixels, so that only names tell what belongs together."""
    for i, path in enumerate(sorted((root / "JPEGImages").iterdir())):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (80, 100, 3), np.uint8)).save(path)
    return root


@pytest.mark.parametrize("stems", [ROBOFLOW, BESIDE])
def test_augmented_copies_stay_in_one_split(make_voc: MakeVoc, stems: list[str]) -> None:
    root = distinct(make_voc(dict.fromkeys(stems, DOG)))
    report = split_dataset(Source(root), SplitOptions(trainval=0.7, train=0.7))
    split_of = {report.dataset.images.stems[row]: name
                for name in ("train", "val", "test") for row in report.splits[name]}  # fmt: skip
    assert set(split_of.values()) == {"train", "val", "test"}
    for i in range(8):
        copies = [split for stem, split in split_of.items() if stem.split("_")[0] == f"shot{i}"]
        assert len(copies) == 3
        assert len(set(copies)) == 1
    assert any("8 groups of augmented copies by their names, of 3 images" in note for note in report.notes)
    assert check_dataset(Source(root)).warnings == ()


def test_names_that_only_look_augmented_are_not_grouped(make_voc: MakeVoc) -> None:
    stems = [f"film_rot{i}" for i in range(6)] + [f"a_{i}" for i in range(6)]
    report = split_dataset(Source(distinct(make_voc(dict.fromkeys(stems, DOG)))), SplitOptions())
    assert not any("augmented" in note for note in report.notes)


def test_copies_across_splits_are_a_finding(make_voc: MakeVoc) -> None:
    root = distinct(make_voc(dict.fromkeys(ROBOFLOW[:6], DOG), splits={"train": ROBOFLOW[:4], "val": ROBOFLOW[4:6]}))
    (found,) = check_dataset(Source(root)).warnings
    assert found.code == "image.augmented_across_splits"
    assert found.problem.endswith("is one of 3 augmented copies of one image: 1 in train and 2 in val")


def test_a_label_that_train_lacks_is_a_finding(make_voc: MakeVoc) -> None:
    cat, bird = [("cat", (40.0, 2.0, 70.0, 40.0))], [("bird", (40.0, 2.0, 70.0, 40.0))]
    scenes = {"a": [*DOG, *bird], "b": DOG, "c": DOG, "d": [*DOG, *cat]}
    root = distinct(make_voc(scenes, splits={"train": ["a", "b"], "val": ["c", "d"]}))
    (found,) = check_dataset(Source(root)).warnings
    assert (found.code, found.problem) == (
        "label.not_in_train", "the label 'cat' has no object in train, but 1 object in val",
    )  # fmt: skip
