"""MobileNetV1's grid of widths and resolutions: what each costs, as in Howard et al. 2017, tables 6 and 7."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from vocdet.formats.scan import Progress
from vocdet.inference.bench import Latency, timed
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.folding import fused

WIDTHS = (1.0, 0.75, 0.5, 0.25)
SIDES = (224, 192, 160, 128)
CLASSES = 1000  # of ImageNet, as in the paper


@dataclass(frozen=True, slots=True)
class GridCell:
    """A classifier of one width at one resolution."""

    width: float
    side: int  # of the input, pixels
    macs: int
    parameters: int
    latency: Latency | None = None  # of one image; None: not measured


def mobilenet_grid(
    *,
    rounds: int = 30,
    widths: Sequence[float] = WIDTHS,
    sides: Sequence[int] = SIDES,
    progress: Progress | None = None,
) -> list[GridCell]:
    """The classifiers of the grid with random weights, timed in rotation on the CPU; without rounds not timed."""
    cells, jobs = [], []
    for width in widths:
        labels = tuple(map(str, range(CLASSES)))
        network = fused(Classifier(ClassifierSpec(BackboneSpec("mb1", width), labels, max(sides)))).eval()
        parameters = sum(p.numel() for p in Classifier(network.spec).parameters())
        for side in sides:
            image = torch.zeros(1, 3, side, side)
            with FlopCounterMode(display=False) as counter, torch.inference_mode():
                network(image)
            cells.append(GridCell(width, side, counter.get_total_flops() // 2, parameters))
            jobs.append(_job(network, image))
    if not rounds:
        return cells
    taken = timed(jobs, rounds=rounds, progress=progress)
    return [
        GridCell(one.width, one.side, one.macs, one.parameters, latency)
        for one, latency in zip(cells, taken, strict=True)
    ]


def _job(network: Classifier, image: torch.Tensor) -> Callable[[int], object]:
    @torch.inference_mode()
    def run(_: int) -> object:
        return network(image)

    return run
