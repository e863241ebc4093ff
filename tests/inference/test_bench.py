"""What inference costs: the work of all layers, and timings that are fair to every detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.inference import bench
from vocdet.inference.bench import latencies, noise, work
from vocdet.inference.predictor import predictor_of
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec

LABELS = ("cat", "dog")


@pytest.fixture
def ssd() -> SsdLite:
    torch.manual_seed(0)
    half = (0.5, 0.5, 0.5)
    return SsdLite(SsdSpec(BackboneSpec("mb1", 0.25), LABELS, (64, 64), torchvision_anchors(), half, half)).eval()


@pytest.fixture
def rcnn() -> MaskRcnn:
    torch.manual_seed(0)
    return MaskRcnn(RcnnSpec(BackboneSpec("mb1", 0.25), LABELS, size=96, longest=96, proposals=20)).eval()


def macs_of_layers(model: nn.Module, images: Sequence[NDArray[np.uint8]]) -> float:
    """Multiply-accumulates an image, from the shapes that pass through each layer."""
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        values = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        total += values.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(count)
    predictor = predictor_of(model)
    for image in images:
        predictor.detect([image])
    return total / len(images)


def test_the_work_of_an_ssd_is_that_of_its_layers(ssd: SsdLite) -> None:
    image = noise((64, 64))
    done = work(ssd, [image])
    assert done.macs == macs_of_layers(ssd, [image])
    assert done.parameters == sum(p.numel() for p in ssd.parameters())


def test_the_work_of_a_mask_rcnn_depends_on_the_images(rcnn: MaskRcnn) -> None:
    images = [noise((96, 96)), noise((48, 96), seed=1)]
    assert work(rcnn, images[:1]).macs != work(rcnn, images[1:]).macs
    assert work(rcnn, images).macs == macs_of_layers(rcnn, images)


def test_counting_leaves_no_hook_on_the_model(ssd: SsdLite) -> None:
    work(ssd, [noise((64, 64))])
    assert not any(layer._forward_hooks for layer in ssd.modules())


def test_a_model_that_is_not_a_detector_has_no_predictor() -> None:
    with pytest.raises(ValueError, match="Linear is not a detector"):
        predictor_of(nn.Linear(1, 1))


class Clock:
    """A clock that goes only where it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Slow:
    """A detector that takes these seconds for its images, one after the other."""

    labels = LABELS
    thresholds = np.full(2, 0.5, np.float32)
    levels: Levels | None = None

    def __init__(self, name: str, clock: Clock, seconds: Sequence[float], seen: list[str]) -> None:
        self.name, self.clock, self.seconds, self.seen, self.calls = name, clock, seconds, seen, 0

    def detect(self, images: Sequence[NDArray[np.uint8]], *, score: float = 0.0) -> list[Detections]:
        (image,) = images
        self.seen.append(f"{self.name}{image[0, 0, 0]}")
        self.clock.now += self.seconds[self.calls % len(self.seconds)]
        self.calls += 1
        return []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(bench, "time", clock)
    return clock


def pictures(*values: int) -> list[NDArray[np.uint8]]:
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


def test_medians_and_what_nine_of_ten_take_no_longer_than(clock: Clock) -> None:
    quick = Slow("a", clock, [0.001 * i for i in range(1, 12)], [])
    steady = Slow("b", clock, [0.05], [])
    done = latencies([quick, steady], [pictures(0), pictures(0)], rounds=11, warm_up=0)
    assert [done[0].median, done[0].p90, done[1].median, done[1].p90] == pytest.approx([6, 10, 50, 50])


def test_the_first_images_do_not_count(clock: Clock) -> None:
    cold = Slow("a", clock, [9, 9, *[0.01] * 5], [])
    assert latencies([cold], [pictures(0)], rounds=5, warm_up=2)[0].p90 == pytest.approx(10)


def test_detectors_take_turns_on_the_same_image_and_in_who_begins(clock: Clock) -> None:
    seen: list[str] = []
    both = [Slow(name, clock, [1], seen) for name in "ab"]
    told: list[tuple[int, int]] = []
    latencies(both, [pictures(1, 2, 3)] * 2, rounds=4, warm_up=0, progress=lambda now, of: told.append((now, of)))
    assert seen == ["a1", "b1", "b2", "a2", "a3", "b3", "b1", "a1"]
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_noise_is_the_same_for_the_same_seed() -> None:
    assert noise((5, 7)).shape == (5, 7, 3)
    assert (noise((5, 7)) == noise((5, 7))).all()
    assert (noise((5, 7)) != noise((5, 7), seed=1)).any()
