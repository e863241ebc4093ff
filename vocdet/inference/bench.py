"""What a detector costs at work: milliseconds an image, multiply-accumulates, parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vocdet.inference.mask_predictor import MaskPredictor
from vocdet.inference.predictor import Detector, Predictor
from vocdet.inputs.images import Image
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.models.ssd.model import SsdLite

WARM_UP = 3  # images before the clock counts: memory is found, and kernels are chosen

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from an image in memory to its detections, one image at a time."""

    median: float
    p90: float  # nine of ten images take no longer


@dataclass(frozen=True, slots=True)
class Work:
    """What a network does for an image."""

    macs: int  # multiply-accumulates of convolutions and linear layers, a mean over images
    parameters: int


def latencies(
    detectors: Sequence[Detector],
    pictures: Sequence[Sequence[Image]],
    *,
    rounds: int,
    warm_up: int = WARM_UP,
    progress: Progress | None = None,
) -> list[Latency]:
    """The latency of every detector, in `rounds` rounds.

    In a round each detector gets one image of its own `pictures`, which come again when all have had their turn. So
    what else the machine does meanwhile slows all of them down; who begins changes from round to round.
    """
    taken: NDArray[np.float64] = np.empty((len(detectors), rounds))
    for number in range(-warm_up, rounds):
        for place in range(len(detectors)):
            i = (place + number) % len(detectors)
            image = pictures[i][number % len(pictures[i])]
            start = time.perf_counter()
            detectors[i].detect([image])
            if number >= 0:
                taken[i, number] = 1000 * (time.perf_counter() - start)
        if progress:
            progress(number + warm_up + 1, rounds + warm_up)
    return [Latency(float(np.median(one)), float(np.percentile(one, 90))) for one in taken]


def work(model: nn.Module, images: Sequence[Image]) -> Work:
    """Count what a detector does for these images, one by one: heads of regions work as often as there are regions.

    Norms, activations and what is no layer, as NMS, are left out. ValueError for a model that is no detector.
    """
    total = 0

    def count(layer: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.ConvTranspose2d):
            total += given[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            total += out.numel() * layer.weight[0].numel()

    kinds = nn.Conv2d | nn.Linear | nn.ConvTranspose2d
    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, kinds)]
    detector = plain_detector(model)
    try:
        for image in images:
            detector.detect([image])
    finally:
        for hook in hooks:
            hook.remove()
    return Work(round(total / max(len(images), 1)), sum(p.numel() for p in model.parameters()))


def plain_detector(model: nn.Module) -> Detector:
    """A detector of a model as it is, norms and all; ValueError for one that is none."""
    if isinstance(model, MaskRcnn):
        return MaskPredictor(model)
    if isinstance(model, SsdLite):
        return Predictor(model)
    raise ValueError(f"{type(model).__name__} is no detector")


def noise(size: tuple[int, int], *, seed: int = 0) -> Image:
    """A picture of noise of this height and width."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True, slots=True)
class Cost:
    """For one image."""

    macs: int  # multiply-accumulates of convolutions and linear layers; norms and activations are left out
    parameters: int


def cost(model: nn.Module, size: tuple[int, int]) -> Cost:
    """Count what one forward pass over an image of `size` (height, width) costs.

    A Mask R-CNN is counted with as many proposals and detections as there can be.
    """
    macs = 0

    def count(layer: nn.Module, inputs: Any, out: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, _COUNTED)
        # a transposed convolution takes each of its inputs to as many outputs as its weights are for one
        values = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else out
        macs += values.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in model.modules() if isinstance(layer, _COUNTED)]
    training = model.training
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, *size, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return Cost(macs, sum(p.numel() for p in model.parameters()))
