"""A checkpoint at work: images of any size in, detections in their own pixels out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from vocdet.errors import CheckpointError, DeviceError
from vocdet.inference.predictor import choose_device, detect_all, load_predictor
from vocdet.inference.ssd import SsdPredictor
from vocdet.inputs.images import resize
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.detect import detect
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.outputs import BEST

SPEC = SsdSpec(BackboneSpec("mb1", 0.25), ("a", "b"), (64, 96), torchvision_anchors())


def detector() -> SsdLite:
    """One that scores every anchor differently: norms that fit their inputs, and large heads."""
    torch.manual_seed(0)
    model = SsdLite(SPEC)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = 1.0
    for head in model.class_head:
        nn.init.normal_(head[-1].weight, 0, 0.2)  # type: ignore[index]
    with torch.no_grad():
        pixels = np.stack([picture(96, 64, seed) for seed in range(8)])
        model.train()(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    return model.eval()


def about(thresholds: tuple[float, ...] | None = None) -> CheckpointInfo:
    return CheckpointInfo(vocdet="0", model=SPEC, thresholds=thresholds)


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return resize(coarse, (height, width))


def test_boxes_are_in_the_pixels_of_each_image() -> None:
    model = detector()
    predictor = SsdPredictor(model)
    image = picture(96, 64)
    large = image.repeat(4, 0).repeat(2, 1)  # 192 wide, 256 high: shrinks to the very same
    (small,), (big,) = predictor.detect([image]), predictor.detect([large])
    assert len(small) > 5
    assert small.scores.std() > 0.05
    with torch.no_grad():
        offsets, logits = model(torch.from_numpy(image[None]).permute(0, 3, 1, 2))
        (expected,) = detect(offsets, logits, model.grid, SPEC.size)
    np.testing.assert_allclose(small.boxes, expected.boxes, atol=1e-5)
    np.testing.assert_allclose(small.scores, expected.scores, atol=1e-6)
    assert small.labels.tolist() == (expected.classes - 1).tolist()
    np.testing.assert_allclose(big.boxes, small.boxes * [2, 4, 2, 4], atol=1e-4)
    for image_alone, together in zip((small, big), predictor.detect([image, large]), strict=True):
        np.testing.assert_allclose(together.boxes[:5], image_alone.boxes[:5], atol=0.05)


def test_a_stream_is_detected_in_order_for_any_batch_size() -> None:
    predictor = SsdPredictor(detector())
    images = [picture(50 + 10 * i, 40, seed=i) for i in range(7)]
    alone = [predictor.detect([image])[0] for image in images]
    for batch in (1, 3, 7, 16):
        found = list(detect_all(predictor, iter(images), batch=batch))
        assert len(found) == 7
        for one, other in zip(found, alone, strict=True):
            np.testing.assert_allclose(one.boxes[:5], other.boxes[:5], atol=0.01)
            np.testing.assert_allclose(one.scores[:5], other.scores[:5], atol=1e-4)


def test_no_images_are_no_detections() -> None:
    predictor = SsdPredictor(detector())
    assert predictor.detect([]) == []
    assert list(detect_all(predictor, [])) == []


def test_a_higher_score_finds_a_part_of_it() -> None:
    predictor = SsdPredictor(detector())
    image = picture(96, 64)
    (everything,) = predictor.detect([image])
    middle = float(np.median(everything.scores))
    (some,), (nothing,) = (predictor.detect([image], score=score) for score in (middle, 0.9999999))
    assert 0 == len(nothing) < len(some) < len(everything)
    assert (some.scores > middle).all()
    assert np.array_equal(some.scores, everything.scores[: len(some)])


def test_a_run_and_its_checkpoint_give_the_same_detector(tmp_path: Path) -> None:
    model = detector()
    save_checkpoint(tmp_path / BEST, model, about(thresholds=(0.25, 0.75)))
    image = picture(96, 64)
    (expected,) = SsdPredictor(model).detect([image])
    for path in (tmp_path, tmp_path / BEST):
        predictor = load_predictor(path, device="cpu")
        assert isinstance(predictor, SsdPredictor)
        assert (predictor.labels, predictor.size) == (("a", "b"), (64, 96))
        assert predictor.thresholds.tolist() == [0.25, 0.75]
        (found,) = predictor.detect([image])
        np.testing.assert_allclose(found.boxes[:5], expected.boxes[:5], atol=0.01)  # its norms are folded
        np.testing.assert_allclose(found.scores[:5], expected.scores[:5], atol=1e-4)


def test_without_thresholds_every_label_has_a_half(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / BEST, detector(), about())
    assert load_predictor(tmp_path, device="cpu").thresholds.tolist() == [0.5, 0.5]


def test_a_classifier_is_no_detector(tmp_path: Path) -> None:
    spec = ClassifierSpec(SPEC.backbone, ("a", "b"))
    save_checkpoint(tmp_path / BEST, Classifier(spec), CheckpointInfo(vocdet="0", model=spec))
    with pytest.raises(CheckpointError, match="is a classifier, not a detector") as caught:
        load_predictor(tmp_path, device="cpu")
    assert caught.value.hint == "train a detector from it with `vocdet.train_detector(dataset)`"


def test_the_error_for_a_folder_without_a_checkpoint_names_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint") as caught:
        load_predictor(tmp_path)
    assert "`vocdet.train_detector(dataset)`" in caught.value.hint


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_is_not_there_is_one_error(name: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{name}' is not available") as caught:
        choose_device(name)
    assert caught.value.hint == 'use `device="auto"` or `device="cpu"`'


def test_a_device_is_found_where_none_is_named() -> None:
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
