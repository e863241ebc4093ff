from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, SplitError
from vocdet.formats.source import Source
from vocdet.workflows.load import load_dataset

DOG = [("dog", (1.0, 2.0, 30.0, 40.0))]
MakeVoc = Callable[..., Path]


def test_a_dataset_is_loaded_with_its_parts_and_its_boxes_cut(make_voc: MakeVoc) -> None:
    scenes = {"a": [("dog", (-5, 2, 30, 40))], "b": [("dog", (3, 3, 3, 3))], "c": DOG}
    loaded = load_dataset(Source(make_voc(scenes, splits={"train": ["c", "a"], "val": ["b"], "test": []})))
    assert loaded.dataset.objects.box.tolist() == [[0, 2, 30, 40], [1, 2, 30, 40]]
    assert {name: rows.tolist() for name, rows in loaded.splits.items()} == {"train": [2, 0], "val": [1], "test": []}
    assert [finding.code for finding in loaded.warnings] == ["box.clipped", "box.left_out"]
    assert loaded.scan.coordinates == "zero"


def test_trainval_is_train_and_val_where_it_has_no_file(make_voc: MakeVoc) -> None:
    splits = {"train": ["c"], "val": ["a"]}
    root = make_voc({"a": DOG, "b": DOG, "c": DOG}, splits=splits)
    assert load_dataset(Source(root), split="trainval").rows("trainval").tolist() == [0, 2]
    make_voc({}, root=root, splits={"trainval": ["a", "b"]})
    assert load_dataset(Source(root), split="trainval").rows("trainval").tolist() == [0, 1]


def test_parts_that_are_missing_or_empty_tell_the_cure(make_voc: MakeVoc) -> None:
    root = make_voc({"a": DOG})
    assert load_dataset(Source(root)).splits == {}
    with pytest.raises(SplitError, match=r"ImageSets/Main: there is no train\.txt \(run vocdet split\)"):
        load_dataset(Source(root), split="train")
    make_voc({}, root=root, splits={"train": ["a"], "val": []})
    assert load_dataset(Source(root), split="train").warnings == ()
    with pytest.raises(SplitError, match="val has no images"):
        load_dataset(Source(root), split="val")


def test_a_part_that_names_a_missing_stem_is_an_error(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, splits={"train": ["img1", "Img1"]})
    with pytest.raises(
        SplitError, match=r"train\.txt:2: names 'Img1', which is not in the dataset \(did you mean 'img1'\?\)"
    ):
        load_dataset(Source(root))


def test_a_part_that_names_an_image_without_annotation_says_so(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG, "img2": DOG}, splits={"train": ["img1", "img2"]})
    (root / "Annotations" / "img2.xml").unlink()
    with pytest.raises(SplitError, match=r"train\.txt:2: names 'img2', whose image has no annotation \(delete"):
        load_dataset(Source(root))


def test_a_part_that_is_not_there_is_named_with_those_that_are(make_voc: MakeVoc) -> None:
    root = make_voc({"img1": DOG}, splits={"trainval": ["img1"], "val": []})
    with pytest.raises(SplitError, match=r"there is no train\.txt \(run vocdet split --force\)"):
        load_dataset(Source(root), split="train")
    with pytest.raises(SplitError, match=r"there is no test\.txt \(run .*, or take another part: trainval\)"):
        load_dataset(Source(root), split="test")
    with pytest.raises(SplitError, match=r"val has no images \(run .*, or take another part: trainval\)"):
        load_dataset(Source(root), split="val")


def test_a_dataset_without_objects_cannot_be_trained_on(make_voc: MakeVoc) -> None:
    with pytest.raises(AnnotationError, match="no objects in any annotation"):
        load_dataset(Source(make_voc({"a": [], "b": []})))
