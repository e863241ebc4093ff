"""The cost of inference: milliseconds per image, multiply-accumulates, parameters."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vocdet.formats.scan import Progress
from vocdet.inference.predictor import predictor_of
from vocdet.inputs.images import Image
from vocdet.runtimes.predictor import Predictor

WARM_UP = 3  # untimed images, in which memory is allocated and kernels are chosen


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds an image; unless said otherwise from an image in memory to its detections, one at a time."""

    median: float
    p90: float  # 90th percentile


@dataclass(frozen=True, slots=True)
class Work:
    """The computation of a network for an image."""

    macs: int  # multiply-accumulates of convolutions and linear layers, mean over images
    parameters: int


def latencies(
    predictors: Sequence[Predictor],
    images: Sequence[Sequence[Image]],
    *,
    rounds: int,
    warm_up: int = WARM_UP,
    progress: Progress | None = None,
) -> list[Latency]:
    """The latency of every predictor over `rounds` rounds.

    In each round every predictor gets the next of its own `images`, in a cycle. Interleaving spreads the load of other
    programs over all predictors; the order rotates from round to round.
    """
    jobs = [partial(_detect_one, *pair) for pair in zip(predictors, images, strict=True)]
    return timed(jobs, rounds=rounds, warm_up=warm_up, progress=progress)


def _detect_one(predictor: Predictor, images: Sequence[Image], number: int) -> None:
    predictor.detect([images[number % len(images)]])


def timed(
    jobs: Sequence[Callable[[int], object]], *, rounds: int, warm_up: int = WARM_UP, progress: Progress | None = None
) -> list[Latency]:
    """The time of every job, which is called with the number of the round; see `latencies`."""
    milliseconds: NDArray[np.float64] = np.empty((len(jobs), rounds))
    for number in range(-warm_up, rounds):
        for place in range(len(jobs)):
            i = (place + number) % len(jobs)
            start = time.perf_counter()
            jobs[i](number)
            if number >= 0:
                milliseconds[i, number] = 1000 * (time.perf_counter() - start)
        if progress:
            progress(number + warm_up + 1, rounds + warm_up)
    return [Latency(float(np.median(row)), float(np.percentile(row, 90))) for row in milliseconds]


def work(model: nn.Module, images: Sequence[Image], predictor: Predictor | None = None) -> Work:
    """Count the operations of a detector for these images, one at a time: region heads run once per region.

    torch counts convolutions and matrix products; norms, activations and NMS are left out. Without the `predictor` of
    the model, `ValueError` for one that is not a detector of vocdet.
    """
    predictor = predictor or predictor_of(model)
    with FlopCounterMode(display=False) as counter:
        for image in images:
            predictor.detect([image])
    macs = counter.get_total_flops() / 2 / max(len(images), 1)
    return Work(round(macs), sum(p.numel() for p in model.parameters()))


def noise(size: tuple[int, int], *, seed: int = 0) -> Image:
    """An image (height, width, 3) of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
