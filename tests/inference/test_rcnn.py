"""A Mask R-CNN at work: images of any shape in, detections with masks in their own pixels out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torchvision.models.detection.roi_heads import paste_masks_in_image

from vocdet.data.detections import Detections
from vocdet.inference.predictor import detect_all, load_predictor
from vocdet.inference.rcnn import RcnnPredictor
from vocdet.inputs.images import resize
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.outputs import BEST
from vocdet.runtimes.predictor import Predictor

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools' decode, with NumPy 2

SPEC = RcnnSpec(BackboneSpec("mb1", 0.25), ("a", "b"), size=64, longest=96, channels=16, hidden=32, proposals=20)


def detector(spec: RcnnSpec = SPEC) -> MaskRcnn:
    """One that says something else of every region: norms that fit their inputs, and large heads."""
    torch.manual_seed(0)
    model = MaskRcnn(spec)
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = 1.0
    scores = model.get_submodule("roi_heads.box_predictor.cls_score")
    assert isinstance(scores, torch.nn.Linear)
    torch.nn.init.normal_(scores.weight, 0, 0.5)
    with torch.no_grad():
        images = torch.from_numpy(np.stack([picture(96, 64, seed) for seed in range(4)])).permute(0, 3, 1, 2)
        boxes, classes = torch.tensor([[[10.0, 10, 50, 50]]]).expand(4, 1, 4), torch.ones(4, 1, dtype=torch.int64)
        for _ in range(2):
            model.train().losses(images, None, boxes, classes, None)
    return model.eval()


def picture(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return resize(coarse, (height, width))


def pixels(found: Detections, row: int) -> NDArray[np.uint8]:
    assert found.masks is not None
    said = json.loads(found.masks[row])
    mask: NDArray[np.uint8] = coco_mask.decode({"size": said["size"], "counts": said["counts"].encode()})
    return mask


def test_masks_are_in_the_pixels_of_each_image_as_torchvision_pastes_them() -> None:
    model = detector()
    image = picture(96, 64)
    large = image.repeat(2, 0).repeat(2, 1)  # shrinks to the very same
    predictor = RcnnPredictor(model)
    (small,), (big,) = (predictor.detect([one], score=0.3) for one in (image, large))
    raw = model.detect(torch.from_numpy(image[None]).permute(0, 3, 1, 2), score=0.3)[0]
    assert len(small) == len(big) == len(raw.scores) > 2
    np.testing.assert_allclose(small.boxes, raw.boxes, atol=1e-4)
    np.testing.assert_allclose(big.boxes, 2 * small.boxes, atol=1e-3)
    assert small.labels.tolist() == (raw.classes - 1).tolist()
    assert raw.masks is not None
    for found, scale in ((small, 1), (big, 2)):
        pasted = paste_masks_in_image(raw.masks[:, None], raw.boxes * scale, (64 * scale, 96 * scale))[:, 0] > 0.5
        for row in range(len(found)):
            assert pixels(found, row).shape == (64 * scale, 96 * scale)
            np.testing.assert_array_equal(pixels(found, row), pasted[row])


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (200, 40), (33, 50), (1, 70)])
def test_an_image_of_any_shape_is_found_in_its_own_pixels(size: tuple[int, int]) -> None:
    width, height = size
    (found,) = RcnnPredictor(detector()).detect([picture(width, height)], score=0.01)
    assert found.masks is not None
    assert len(found.masks) == len(found)
    assert ((found.boxes >= 0) & (found.boxes <= [width, height, width, height])).all()
    assert all(pixels(found, row).shape == (height, width) for row in range(len(found)))
    assert (np.diff(found.scores) <= 0).all()


def test_a_stream_is_detected_in_order_and_every_image_by_itself() -> None:
    predictor = RcnnPredictor(detector())
    images = [picture(50 + 20 * i, 60, seed=i) for i in range(5)]
    alone = [predictor.detect([image])[0] for image in images]
    for batch in (1, 3, 16):
        for one, other in zip(detect_all(predictor, iter(images), batch=batch), alone, strict=True):
            np.testing.assert_array_equal(one.boxes, other.boxes)
            assert (one.masks is not None) == (other.masks is not None)
    assert predictor.detect([]) == list(detect_all(predictor, [])) == []


def test_a_higher_score_finds_a_part_of_it() -> None:
    predictor = RcnnPredictor(detector())
    (everything,) = predictor.detect([picture(96, 64)], score=0.0)
    middle = float(np.median(everything.scores))
    (some,) = predictor.detect([picture(96, 64)], score=middle)
    assert 0 < len(some) < len(everything)
    assert (some.scores > middle).all()


@pytest.mark.parametrize("masks", [True, False])
def test_a_run_gives_the_detector_that_it_is_of(tmp_path: Path, masks: bool) -> None:
    spec = RcnnSpec(SPEC.backbone, SPEC.labels, 64, 96, channels=16, hidden=32, proposals=20, masks=masks)
    model = detector(spec)
    save_checkpoint(tmp_path / BEST, model, CheckpointInfo(vocdet="0", model=spec, thresholds=(0.25, 0.75)))
    predictor: Predictor = load_predictor(tmp_path, device="cpu")
    assert isinstance(predictor, RcnnPredictor)
    assert (predictor.labels, predictor.thresholds.tolist()) == (("a", "b"), [0.25, 0.75])
    (found,), (expected,) = (one.detect([picture(96, 64)], score=0.3) for one in (predictor, RcnnPredictor(model)))
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-3)  # its norms are folded
    np.testing.assert_allclose(np.sort(found.boxes, 0), np.sort(expected.boxes, 0), atol=0.1)  # some score the same
    assert (found.masks is not None) is masks
