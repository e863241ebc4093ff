"""Training a Mask R-CNN: with polygons and without, its results, and how it resumes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vocdet.errors import AnnotationError, CheckpointError, RecipeError
from vocdet.formats.scan import Source
from vocdet.formats.voc.masks import palette_png
from vocdet.inference.predictor import load_predictor
from vocdet.inference.rcnn import RcnnPredictor
from vocdet.models.backbones.backbone import Backbone, parse_net
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint, read_info, save_checkpoint
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import MaskRcnnRecipe, RcnnTrain, SsdTrain, changed
from vocdet.runs.setup import RunOptions
from vocdet.runs.validation import reaches_target
from vocdet.training.loop import Epoch, Step
from vocdet.training.state import STATE, read_record
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_run
from vocdet.workflows.train_detector import DetectorResult, DetectorStart, training_events

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
COLORS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def diamonds(root: Path, *, train: int = 8, valid: int = 2, change: Callable[[Any], object] = lambda _: None) -> Path:
    """A COCO folder of images, lying and standing ones, with a red and a blue diamond each, whose polygons are known.

    `change` may spoil what is written of the training images.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("valid", valid)):
        (root / split).mkdir(parents=True)
        images: list[Any] = []
        objects: list[Any] = []
        for i in range(count):
            width, height = ((64, 56), (56, 64))[i % 2]
            pixels = np.full((height, width, 3), rng.integers(90, 160), np.uint8)
            for k, color in enumerate(COLORS.values()):
                r = int(rng.integers(8, 13))
                x = int(rng.integers(r + 1, width - r - 1))
                y = k * height // 2 + height // 4 + int(rng.integers(-1, 2))
                corners = [x, y - r, x + r, y, x, y + r, x - r, y]
                cv2.fillPoly(pixels, [np.array(corners).reshape(-1, 2)], color)
                objects.append({"id": len(objects) + 1, "image_id": i + 1, "category_id": k + 1, "iscrowd": 0,
                                "bbox": [x - r, y - r, 2 * r, 2 * r], "segmentation": [corners]})  # fmt: skip
            Image.fromarray(pixels).save(root / split / f"{split}{i}.png")
            images.append({"id": i + 1, "file_name": f"{split}{i}.png", "width": width, "height": height})
        content = {"images": images, "annotations": objects,
                   "categories": [{"id": k + 1, "name": name} for k, name in enumerate(COLORS)]}  # fmt: skip
        if split == "train":
            change(content)
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return diamonds(tmp_path_factory.mktemp("diamonds") / "set")


def recipe(**requested: Any) -> MaskRcnnRecipe:
    usual: dict[str, Any] = {
        "net": "mb1-0.25", "weights": "none", "size": 64, "channels": 16, "batch": 4, "epochs": 2, "warm": 2,
        "freeze_norm": False, "save_every": 0.0,
    }  # fmt: skip
    return changed(MaskRcnnRecipe(), **(usual | requested))


def train(
    root: Path, runs: Path, requested: MaskRcnnRecipe, *, skip_bad: bool = False, **more: Any
) -> tuple[DetectorStart, list[Any], Path]:
    source = Source(root, skip_bad=skip_bad)
    started, *between, finished = training_events(source, requested, RunOptions(runs=runs, device="cpu", **more))
    assert isinstance(started, DetectorStart)
    assert isinstance(finished, DetectorResult)
    return started, between, finished.run


def stopped_after(steps: int) -> Callable[[], bool]:
    left = iter([False] * (steps - 1))
    return lambda: next(left, True)


def test_a_run_has_its_recipe_its_metrics_and_its_best_weights(root: Path, tmp_path: Path) -> None:
    started, between, run = train(root, tmp_path / "runs", recipe())
    assert (run, started.images, started.validation_images) == (tmp_path / "runs" / "maskrcnn-mb1-0.25-1", 8, 2)
    assert (started.labels, started.notes, started.weights) == (("red", "blue"), (), "from scratch")
    assert {row.label for row in started.recall} == {"red", "blue"}
    epochs = [event for event in between if isinstance(event, Epoch)]
    assert list(epochs[0].losses) == ["objectness", "rpn_box", "class", "box", "mask"]
    assert epochs[0].metrics.keys() == {"ap50", "ap", "f1", "mask_ap50", "mask_ap"}
    assert load_recipe("maskrcnn", str(run)).recipe == recipe()
    with (run / "metrics.csv").open(newline="") as file:
        assert next(csv.DictReader(file)).keys() >= {"train_mask", "train_objectness", "val_ap", "val_mask_ap"}
    model, about = load_checkpoint(run / "best.safetensors")
    assert isinstance(model, MaskRcnn)
    assert (about.task, about.size, about.model) == ("maskrcnn", (64, 64), model.spec)
    assert started.anchor_shapes == 5 * model.spec.anchors.count
    assert msgspec.convert(about.recipe, MaskRcnnRecipe) == recipe()
    assert about.scores.keys() == {"ap50", "ap", "mask_ap50", "mask_ap"}
    assert about.thresholds is not None
    assert (run / "batches.png").is_file()


def test_it_learns_boxes_and_masks(tmp_path: Path) -> None:
    root = diamonds(tmp_path / "set", train=2, valid=0)
    requested = recipe(
        epochs=70, batch=2, lr=6e-3, average=0.9, backbone_lr=1.0, color=0.0, whole=1.0, flip=False, scales=(1.0, 1.0),
        copy_paste=0.0, save_every=1e6,
    )  # fmt: skip
    _, between, run = train(root, tmp_path / "runs", requested)
    epochs = [event for event in between if isinstance(event, Epoch)]
    first, last = (sum(event.losses.values()) for event in (epochs[0], epochs[-1]))
    assert last < 0.25 * first
    report = evaluate_run(run, Source(root), EvalOptions(split="train"), detector=DetectorOptions("cpu")).report
    assert report.masks is not None
    assert (report.overall.ap50 or 0) > 0.5  # by chance it would be nothing
    assert (report.masks.overall.ap50 or 0) > 0.3


def test_a_stopped_run_resumes_bit_for_bit(root: Path, tmp_path: Path) -> None:
    requested, steps = recipe(batch=8), 1  # trained in two shards
    _, _, whole = train(root, tmp_path / "whole", requested)
    _, _, run = train(root, tmp_path / "runs", requested, stop=stopped_after(steps))
    assert read_record(run / STATE).progress.steps == steps
    started, _, again = train(root, tmp_path / "runs", requested, resume=run)
    assert (again, started.transfer) == (run, None)
    for name in ("best.safetensors", "last.safetensors"):
        mine, theirs = load_file(run / name), load_file(whole / name)
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
        assert mine.keys() == theirs.keys()
    assert not (run / STATE).exists()


def test_boxes_alone_are_refused_unless_masks_are_off(make_voc: MakeVoc, tmp_path: Path) -> None:
    boxes = [("cat", (5.0, 5.0, 40.0, 50.0))]
    root = make_voc({"a": boxes, "b": boxes}, size=(64, 64), splits={"train": ["a"], "val": ["b"]})
    with pytest.raises(AnnotationError, match="no object of the train split has a mask") as caught:
        next(training_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs", device="cpu")))
    assert "`masks=False`" in caught.value.hint
    assert not (tmp_path / "runs").exists()
    _, between, run = train(root, tmp_path / "runs", recipe(masks=False, batch=1, epochs=1))
    assert all("mask" not in event.losses for event in between if isinstance(event, Step))
    predictor = load_predictor(run, device="cpu")
    assert isinstance(predictor, RcnnPredictor)
    (found,) = predictor.detect([np.zeros((50, 70, 3), np.uint8)], score=0.0)
    assert found.masks is None


def spoiled(content: Any) -> None:
    objects = content["annotations"]
    objects[0]["segmentation"] = [[1, 1, 9, 9]]  # two points
    objects[1]["segmentation"] = {"size": [56, 64], "counts": [5, 10]}  # adds up to 15 pixels
    objects[2]["segmentation"] = {"size": [9, 9], "counts": [41, 40]}  # of another size
    objects[3]["segmentation"] = []
    objects[4]["segmentation"] = [[10, 10, 30, 30, 30, 10, 10, 30]]  # crosses itself
    objects[5] |= {"iscrowd": 1, "segmentation": {"size": [56, 64], "counts": [0, 56 * 64]}}


def test_invalid_masks_are_reported_and_their_boxes_used(tmp_path: Path) -> None:
    root = diamonds(tmp_path / "set", change=spoiled)
    started, between, _ = train(root, tmp_path / "runs", recipe(epochs=1), skip_bad=True)
    crowd, masks = started.notes
    assert crowd.startswith("1 of 16 objects in train is a crowd")
    assert masks == "4 of 15 objects have no usable mask: only their boxes are used"
    assert all(np.isfinite(event.losses["mask"]) for event in between if isinstance(event, Step))


def test_a_png_of_another_size_than_its_image_is_an_immediate_error(make_voc: MakeVoc, tmp_path: Path) -> None:
    root = make_voc({"a": [("cat", (5.0, 5.0, 40.0, 50.0))]}, size=(64, 64), splits={"train": ["a"]})
    (root / "SegmentationObject").mkdir()
    (root / "SegmentationObject" / "a.png").write_bytes(palette_png(np.ones((50, 60), np.uint8)))
    with pytest.raises(AnnotationError, match=r"a\.png: is 60×50, but its image is 64×64") as caught:
        next(training_events(Source(root), recipe(), RunOptions(runs=tmp_path / "runs", device="cpu")))
    assert caught.value.hint == "export the masks again"


def test_a_trained_backbone_is_loaded_key_for_key(root: Path, tmp_path: Path) -> None:
    spec = parse_net("mb1-0.25")
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    classifier = Classifier(ClassifierSpec(spec, ("x", "y"), 64, mean, std))
    about = CheckpointInfo(vocdet="0", model=classifier.spec)
    save_checkpoint(tmp_path / "runs" / "b" / "best.safetensors", classifier, about)
    requested = recipe(weights="auto", freeze_norm=True, freeze=4, epochs=1, average=0.0)
    started, _, run = train(root, tmp_path / "runs", requested)
    assert started.transfer is not None
    loaded = {row.name for row in started.transfer.tensors if row.fate == "loaded"}
    assert loaded == {f"backbone.{name}" for name in classifier.backbone.state_dict()}
    assert (read_info(run / "best.safetensors").mean, started.notes) == (mean, ())
    model, _ = load_checkpoint(run / "last.safetensors")
    assert isinstance(model, MaskRcnn)
    images, net = torch.rand(1, 3, 64, 64), model.backbone
    assert isinstance(net, Backbone)
    mine, theirs = (one.eval().features[:4](images) for one in (net, classifier.backbone))
    torch.testing.assert_close(
        mine, theirs, rtol=1e-4, atol=1e-5
    )  # up to stride 4, whether its norms are folded or not


def test_from_scratch_the_norms_are_trained_with_a_note(root: Path, tmp_path: Path) -> None:
    started = next(
        training_events(Source(root), recipe(freeze_norm=True), RunOptions(runs=tmp_path / "runs", device="cpu"))
    )
    assert isinstance(started, DetectorStart)
    assert "freeze_norm is off" in started.notes[0]
    assert started.recipe.train.freeze_norm is False


def test_the_coco_weights_are_for_standard_heads_on_resnet50(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the COCO weights need standard heads"):
        next(
            training_events(
                Source(root), recipe(net="resnet50", weights="coco"), RunOptions(runs=tmp_path, device="cpu")
            )
        )
    with pytest.raises(CheckpointError, match=r"is on resnet50, not on mb1-0\.25"):
        next(
            training_events(
                Source(root), recipe(weights="coco", heads="standard"), RunOptions(runs=tmp_path, device="cpu")
            )
        )


def test_an_open_batch_becomes_one_that_fits(root: Path, tmp_path: Path) -> None:
    started = next(training_events(Source(root), recipe(batch=0), RunOptions(runs=tmp_path / "runs", device="cpu")))
    assert isinstance(started, DetectorStart)
    assert started.recipe.train.batch == 4  # on a CPU no more than the usual


@pytest.mark.parametrize(
    ("box", "mask", "enough"),
    [(0.377, 0.339, True), (0.377, 0.338, False), (0.376, 0.4, False), (0.5, 0.5, True), (0.0, 0.0, False)],
)
def test_training_stops_when_boxes_and_masks_reach_their_targets(box: float, mask: float, enough: bool) -> None:
    wanted = RcnnTrain(stop_at_ap=0.377, stop_at_mask_ap=0.339)
    assert reaches_target(wanted, {"ap": box, "mask_ap": mask}) is enough
    assert reaches_target(SsdTrain(stop_at_ap=0.377), {"ap": box}) is (box >= 0.377)
    assert not reaches_target(RcnnTrain(), {"ap": 1.0, "mask_ap": 1.0})
