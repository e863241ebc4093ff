"""What training leaves out of its splits, and what it says about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vocdet.data.dataset import Dataset
from vocdet.errors import AnnotationError
from vocdet.formats.scan import Source
from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe, changed
from vocdet.runs.setup import RunOptions
from vocdet.workflows.load import load_dataset
from vocdet.workflows.train_backbone import BackboneStart, backbone_events
from vocdet.workflows.train_detector import DetectorStart, training_events
from vocdet.workflows.training_data import TrainingData

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
CAT, DOG = ("cat", (5.0, 5.0, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 40.0))
AGAIN = "split again with `vocdet.split(dataset)`"


@pytest.fixture
def make(make_voc: MakeVoc) -> Callable[..., Dataset]:
    def made(splits: Mapping[str, Sequence[str]], **objects: Any) -> Dataset:
        return load_dataset(Source(make_voc(objects, splits=splits))).dataset

    return made


def coco(root: Path, crowds: Callable[[int], bool]) -> Path:
    """A COCO folder of eight images for training and two for validation with one square each, some of them crowds."""
    for split, count in (("train", 8), ("valid", 2)):
        (root / split).mkdir(parents=True)
        images, objects = [], []
        for i in range(count):
            pixels = np.full((48, 64, 3), 40 + i, np.uint8)
            pixels[10:40, 8 + i : 38 + i] = (220, 40, 40)
            Image.fromarray(pixels).save(root / split / f"{split}{i}.png")
            images.append({"id": i + 1, "file_name": f"{split}{i}.png", "width": 64, "height": 48})
            objects.append({"id": i + 1, "image_id": i + 1, "category_id": 1 + i % 2, "bbox": [8 + i, 10, 30, 30],
                            "iscrowd": int(crowds(i) and split == "train")})  # fmt: skip
        categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
        content = {"images": images, "annotations": objects, "categories": categories}
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def started(events: Any) -> Any:
    """The first event of a training, which then ends."""
    first = next(events)
    events.close()
    return first


SSD = changed(SsdRecipe(), net="mb1-0.25", size=64, batch=4, epochs=1)
FASTER = changed(MaskRcnnRecipe(), net="mb1-0.25", size=64, batch=4, epochs=1, masks=False, channels=16)


@pytest.mark.parametrize("recipe", [SSD, FASTER])
def test_a_training_says_how_many_crowds_it_ignores_and_records_it(recipe: Any, tmp_path: Path) -> None:
    root, options = coco(tmp_path / "set", lambda i: i >= 4), RunOptions(runs=tmp_path / "runs", device="cpu")
    start, *_ = training_events(Source(root), recipe, options)
    assert isinstance(start, DetectorStart)
    assert sum(row.objects for row in start.recall) == 4
    (note,) = [note for note in start.notes if "crowd" in note]
    assert note == (
        "4 of 8 objects in train are crowds, regions that count neither as object nor as background; "
        'use `crowds="objects"` if they are single objects'
    )
    assert json.loads((start.run / "run.json").read_text())["dataset"]["crowds"] == 4
    as_objects = started(training_events(Source(root, crowds="objects"), recipe, options))
    assert sum(row.objects for row in as_objects.recall) == 8
    assert not any("crowd" in note for note in as_objects.notes)


@pytest.mark.parametrize("task", ["detector", "classifier"])
def test_a_split_of_crowds_alone_is_an_error_that_names_the_way(task: str, tmp_path: Path) -> None:
    source, options = Source(coco(tmp_path / "set", lambda _: True)), RunOptions(runs=tmp_path / "runs", device="cpu")
    classifier = changed(BackboneRecipe(), net="mb1-0.25", size=32, epochs=1, batch=4)
    events: Any = (
        training_events(source, SSD, options) if task == "detector" else backbone_events(source, classifier, options)
    )
    with pytest.raises(AnnotationError, match=r"all 8 objects are crowds \(iscrowd 1\) in the train split") as caught:
        next(events)
    assert 'use `crowds="objects"`' in caught.value.hint
    read = replace(source, crowds="objects")
    again: Any = (
        training_events(read, SSD, options) if task == "detector" else backbone_events(read, classifier, options)
    )
    assert isinstance(started(again), DetectorStart | BackboneStart)


def test_labels_without_objects_to_learn_are_named(make: Callable[..., Dataset]) -> None:
    dataset = make({"train": ["a", "b"], "val": ["c"], "test": ["d"]}, a=[CAT], b=[CAT], c=[CAT, DOG],
                   d=[("cow", (1.0, 1.0, 20.0, 20.0)), ("yak", (1.0, 1.0, 20.0, 20.0))])  # fmt: skip
    data = TrainingData.of(dataset, "train")
    assert data.labels == ("cat",)
    assert data.notes(validates=True) == (
        "no objects in train, but some in val: dog; nothing is learned about them, and all are missed in the "
        f"validation: {AGAIN}",
        "no objects in train: cow, yak; these labels are never detected",
    )
    assert data.record() == {"labels_without_objects": ["cow", "dog", "yak"]}


def test_images_of_val_that_are_also_trained_on_are_counted(make: Callable[..., Dataset]) -> None:
    images: dict[str, Any] = {stem: [CAT] for stem in "abcd"}
    data = TrainingData.of(make({"train": ["a", "b", "c"], "val": ["b", "c", "d"]}, **images), "train")
    assert data.val.images.stems == ("d",)
    assert data.notes(validates=True) == ("2 of 3 images of val are also in train, and left out of the validation",)
    assert data.record() == {"validation_images_in_train": 2}


def test_training_on_trainval_says_why_nothing_is_left_to_validate_on(make: Callable[..., Dataset]) -> None:
    data = TrainingData.of(make({"train": ["a", "b"], "val": ["c"]}, a=[CAT], b=[CAT], c=[CAT]), "trainval")
    assert data.notes(validates=False) == ("1 of 1 image of val is also in trainval, and left out of the validation",)


def test_a_validation_split_without_objects_is_named(make: Callable[..., Dataset]) -> None:
    data = TrainingData.of(make({"train": ["a"], "val": ["b", "c"]}, a=[CAT], b=[], c=[]), "train")
    assert not data.is_measurable
    assert data.notes(validates=False) == (f"no object to validate on in 2 images of val: {AGAIN}, or annotate them",)


def test_a_dataset_without_surprises_has_no_notes(make: Callable[..., Dataset]) -> None:
    data = TrainingData.of(make({"train": ["a"], "val": ["b"]}, a=[CAT, DOG], b=[CAT, DOG]), "train")
    assert data.notes(validates=True) == ()
    assert data.record() == {}


def test_a_classifier_for_one_label_with_objects_is_an_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [CAT], "b": [DOG]}, splits={"train": ["a"], "val": ["b"]})
    with pytest.raises(AnnotationError, match="in train, all objects are cat: a classifier needs two labels"):
        next(backbone_events(Source(root), changed(BackboneRecipe(), net="mb1-0.25"), RunOptions(runs=tmp_path)))
