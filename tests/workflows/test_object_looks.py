"""Whether objects look alike when mirrored or rotated, on objects of which that is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vocdet.data.dataset import Dataset
from vocdet.formats.scan import Source
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.recipes.plan import Looks
from vocdet.runs.setup import RunOptions
from vocdet.workflows import training_facts
from vocdet.workflows.load import load_dataset
from vocdet.workflows.object_looks import object_looks
from vocdet.workflows.training_facts import looks

MakeVoc = Callable[..., Path]
Box = tuple[float, float, float, float]
SIDE = 60


def half(left: bool) -> np.ndarray:
    """A square that is bright on its left or its right."""
    pixels = np.full((SIDE, SIDE, 3), 40, np.uint8)
    pixels[:, : SIDE // 2] = 220
    return pixels if left else pixels[:, ::-1]


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(ClassifierSpec(parse_net("mb1-0.25"), ("a", "b"), 96))


@pytest.fixture
def paint(make_voc: MakeVoc) -> Callable[..., tuple[Dataset, Dataset]]:
    """Datasets to learn from and to try on: every image shows one object of label a or b, painted over noise."""

    def painted(a: np.ndarray, b: np.ndarray, box: Box = (20, 10, 80, 70)) -> tuple[Dataset, Dataset]:
        stems = [f"img{i:02}" for i in range(40)]
        root = make_voc({stem: [("ab"[i % 2], box)] for i, stem in enumerate(stems)}, suffix=".png")
        x0, y0, x1, y1 = map(int, box)
        for i, stem in enumerate(stems):
            path = root / "JPEGImages" / f"{stem}.png"
            with Image.open(path) as image:
                pixels = np.asarray(image) // 8
            pixels[y0:y1, x0:x1] += np.asarray(Image.fromarray((a, b)[i % 2]).resize((x1 - x0, y1 - y0))) // 2
            pixels[: len(pixels) // 2] += 100  # the upper half of every image is bright
            Image.fromarray(pixels).save(path)
        whole = load_dataset(Source(root)).dataset
        return whole.subset(range(24)), whole.subset(range(24, 40))

    return painted


def test_objects_without_an_orientation_look_alike(
    paint: Callable[..., tuple[Dataset, Dataset]], model: Classifier
) -> None:
    red, blue = (np.full((SIDE, SIDE, 3), color, np.uint8) for color in ((220, 30, 30), (30, 30, 220)))
    found = object_looks(*paint(red, blue), model)
    assert (found.mirrored, found.rotated) == (1.0, 1.0)
    assert not found.has_up  # their boxes are as wide as high


def test_objects_that_are_mirror_images_of_each_other_do_not_look_alike(
    paint: Callable[..., tuple[Dataset, Dataset]], model: Classifier
) -> None:
    found = object_looks(*paint(half(True), half(False)), model)
    assert found.mirrored is not None
    assert found.rotated is not None
    assert found.mirrored < 0.5
    assert found.rotated < 0.8


def test_wide_objects_in_images_with_a_bright_upper_half_have_an_up(
    paint: Callable[..., tuple[Dataset, Dataset]], model: Classifier
) -> None:
    red, blue = (np.full((SIDE, SIDE, 3), color, np.uint8) for color in ((220, 30, 30), (30, 30, 220)))
    assert object_looks(*paint(red, blue, (10, 30, 90, 50)), model).has_up


def test_one_label_or_few_objects_cannot_tell(paint: Callable[..., tuple[Dataset, Dataset]], model: Classifier) -> None:
    train, val = paint(half(True), half(False))
    few = object_looks(train, val.subset(range(4)), model)
    assert (few.mirrored, few.rotated) == (None, None)
    one = object_looks(train.subset(range(0, 24, 2)), val.subset(range(0, 16, 2)), model)
    assert (one.mirrored, one.rotated) == (None, None)


def test_one_label_needs_no_weights(
    paint: Callable[..., tuple[Dataset, Dataset]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val = paint(half(True), half(False))
    monkeypatch.setattr(training_facts, "starting_weights", lambda *_: pytest.fail("weights are searched"))
    one_label = train.subset(range(0, 24, 2)), val.subset(range(0, 16, 2))
    assert looks(*one_label, {}, RunOptions(runs=tmp_path / "runs")) == Looks()


def test_the_features_of_a_detector_cannot_show_that_objects_differ(
    paint: Callable[..., tuple[Dataset, Dataset]], tmp_path: Path
) -> None:
    train, val = paint(half(True), half(False))
    assert looks(train, val, {}, RunOptions(runs=tmp_path / "runs")).mirrored is None
