"""A training says where anchors miss its objects, and names the size at which they do not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from tests.conftest import save_image
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.formats.scan import Scan
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.heads import Heads
from vocdet.recipes.schema import MaskRcnnRecipe, SsdRecipe, changed
from vocdet.runs.anchor_notes import SIZES, label_recalls
from vocdet.runs.detectors import ObjectTable
from vocdet.runs.setup import RunOptions
from vocdet.runs.ssd import create_ssd
from vocdet.runs.start import StartingWeights
from vocdet.workflows.load import Loaded
from vocdet.workflows.train_detector import DetectorStart, training_events

SSD = changed(SsdRecipe(), net="mb1-0.25", weights="none", size=64, batch=2, epochs=1)
FASTER = changed(MaskRcnnRecipe(), net="mb1-0.25", weights="none", size=64, channels=16, masks=False, batch=2, epochs=1)


def objects_of(root: Path, side: float, *, ratio: float = 1.0, large: int = 0) -> Loaded:
    """Two images of 320 pixels with twenty `screw`s of this side each, and with some large `nut`s."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 320 - side * max(1.0, ratio), (40, 2))
    small = np.concatenate([corner, corner + np.array([side * ratio, side])], axis=1)
    boxes = np.concatenate(
        [small[:20], np.tile([20.0, 20, 180, 180], (large, 1)), small[20:], np.tile([90.0, 90, 260, 260], (large, 1))]
    )
    n = len(boxes) // 2
    no, labels = np.zeros(2 * n, np.bool_), np.array([1] * 20 + [0] * large, np.int32)
    for name in ("a", "b"):
        save_image(root / f"{name}.png", (320, 320))
    images = Images(("a", "b"), ("a.png", "b.png"), np.full(2, 320), np.full(2, 320), ("", ""))
    objects = Objects(np.repeat([0, 1], n), np.tile(labels, 2), boxes, no, no, no, no, np.zeros(2 * n, np.int32))
    dataset = Dataset(root, ("nut", "screw"), images, objects, splits={"train": np.array([0, 1])})
    return Loaded(dataset, (), Scan(dataset, (), "zero", ""))


def start(loaded: Loaded, runs: Path, recipe: Any) -> DetectorStart:
    events: Any = training_events(loaded, recipe, RunOptions(runs=runs, device="cpu"))
    first = next(events)
    events.close()
    assert isinstance(first, DetectorStart)
    return first


def anchor_note(started: DetectorStart) -> str:
    return "".join(note for note in started.notes if "anchors have" in note)


def test_cells_larger_than_most_objects_name_the_size_that_cures_it(tmp_path: Path) -> None:
    recipe = changed(SSD, neck="pan", neck_channels=8)
    small = start(objects_of(tmp_path, 16.0), tmp_path / "runs", recipe)  # 3.2 pixels at 64, in cells of 8
    (note,) = (note for note in small.notes if "cells" in note)
    assert note == (
        "cells of the finest map have an IoU of .5 with less than half of the objects of screw (0%): they are too small at "
        "an input of 64 pixels, and `size=128` reaches screw (100%)"
    )
    large = start(objects_of(tmp_path, 40.0), tmp_path / "runs", recipe)
    assert not any("cells" in note for note in large.notes)


@pytest.mark.parametrize("recipe", [SSD, FASTER])
@pytest.mark.parametrize("side", [6.0, 14.0])
def test_the_size_that_cures_small_objects_is_named_and_does(recipe: Any, side: float, tmp_path: Path) -> None:
    loaded = objects_of(tmp_path, side, large=2)
    note = anchor_note(start(loaded, tmp_path / "runs", recipe))
    assert note.startswith("anchors have an IoU of .5 with less than half of the objects of screw (")
    assert ": they are too small at an input of 64 pixels, and `size=" in note
    size = int(re.findall(r"`size=(\d+)`", note)[0])
    at_size = start(loaded, tmp_path / "runs", changed(recipe, size=size))
    assert label_recalls(at_size.recall)["screw"] >= 0.5
    assert anchor_note(at_size) == ""
    smaller = max([64, *(other for other in SIZES if other < size)])
    assert label_recalls(start(loaded, tmp_path / "runs", changed(recipe, size=smaller)).recall)["screw"] < 0.5


def test_at_the_named_size_the_anchors_of_the_network_overlap_the_objects(tmp_path: Path) -> None:
    loaded = objects_of(tmp_path, 10.0)
    size = int(re.findall(r"`size=(\d+)`", anchor_note(start(loaded, tmp_path / "runs", SSD)))[0])
    reached = {}
    for side in (64, size):
        run, objects = RunOptions(runs=tmp_path), ObjectTable.of(loaded.dataset)
        model = create_ssd(changed(SSD, size=side), run, loaded.dataset, objects).model
        boxes = torch.tensor(loaded.dataset.objects.box, dtype=torch.float32) * side / 320
        reached[side] = float((box_iou(boxes, model.grid).amax(dim=1) >= 0.5).float().mean())
    assert reached[64] < 0.5 <= reached[size]


def test_anchors_that_were_not_fitted_are_fitted_first(tmp_path: Path) -> None:
    loaded = objects_of(tmp_path, 40.0)
    note = anchor_note(start(loaded, tmp_path / "runs", changed(SSD, size=160, anchors="torchvision")))
    assert '`anchors="fit"` reaches screw (' in note
    assert anchor_note(start(loaded, tmp_path / "runs", changed(SSD, size=160, anchors="fit"))) == ""


@pytest.mark.parametrize(
    ("side", "ratio", "way"), [(0.5, 1.0, "train on tiles of the images"), (6.0, 40.0, "their shapes are unusual")]
)
def test_objects_that_no_size_cures_get_another_way(side: float, ratio: float, way: str, tmp_path: Path) -> None:
    note = anchor_note(start(objects_of(tmp_path, side, ratio=ratio), tmp_path / "runs", SSD))
    assert "no size up to 2048 cures that" in note
    assert way in note
    assert "`size=" not in note


def test_objects_that_fit_have_no_note(tmp_path: Path) -> None:
    assert anchor_note(start(objects_of(tmp_path, 100.0), tmp_path / "runs", changed(SSD, size=128))) == ""


@pytest.mark.parametrize(
    ("side", "weights", "kept"), [(8.0, "auto", False), (8.0, "x.pth", True), (200.0, "auto", True)]
)
def test_weights_that_were_not_named_bring_their_anchors_only_where_these_reach_the_objects(
    side: float, weights: str, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, net = objects_of(tmp_path, side), parse_net("mb1-0.25")
    theirs = torchvision_anchors()  # the smallest is a fifth of the image
    made = SsdLite(SsdSpec(net, ("screw",), (320, 320), theirs)).state_dict()
    found = StartingWeights("x", "weights", net, tensors=made, heads=Heads(("screw",), theirs), name="x", sha256="1")
    monkeypatch.setattr("vocdet.runs.ssd.starting_weights", lambda *_, **__: found)
    recipe = changed(SSD, size=320, weights=weights)
    initial = create_ssd(recipe, RunOptions(runs=tmp_path), loaded.dataset, ObjectTable.of(loaded.dataset))
    assert (initial.model.spec.anchors == theirs) is kept
    assert ("with their anchors" in initial.weights) is kept
    assert initial.transfer is not None
    assert initial.transfer.common == (("screw",) if kept else ())
