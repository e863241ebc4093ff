"""torchvision's SSD-lite with weights that make it say something, and ours with the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from vocdet.models.backbones.backbone import parse_net
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.transfer import Transfer, transfer

LABELS = 20

Cost = Callable[[nn.Module, tuple[int, int]], tuple[int, int]]


@pytest.fixture(scope="session")
def cost() -> Cost:
    """Multiply-accumulates of one image of (height, width), as torch counts them, and the number of parameters."""

    def count(model: nn.Module, size: tuple[int, int]) -> tuple[int, int]:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model.eval()(torch.zeros(1, 3, *size))
        return counter.get_total_flops() // 2, sum(p.numel() for p in model.parameters())

    return count


@dataclass(frozen=True)
class Pair:
    theirs: Any  # torchvision.models.detection.ssd.SSD
    ours: SsdLite
    transfer: Transfer
    images: Tensor  # (B, 3, 320, 320) uint8

    @property
    def inputs(self) -> list[Tensor]:
        """The images as torchvision wants them."""
        return list(self.images.float() / 255)


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """Both networks in eval mode; whoever trains them works on copies."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        coarse = torch.rand(4, 3, 10, 10)
        images = (255 * nn.functional.interpolate(coarse, size=(320, 320), mode="bilinear")).to(torch.uint8)
        theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=1 + LABELS)
        _make_lively(theirs, images)
        spec = SsdSpec(
            parse_net("mb3-large", reduced_tail=True), tuple(map(str, range(LABELS))), (320, 320), torchvision_anchors()
        )
        ours = SsdLite(spec)
        moved = transfer(ours, theirs.state_dict(), spec.backbone, source="torchvision")
    yield Pair(theirs.eval(), ours.eval(), moved, images)


def _make_lively(model: Any, images: Tensor) -> None:
    """Random norms whose statistics fit their inputs, and large heads: fresh ones score everything the same."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = 1.0
    for branch, std in ((model.head.classification_head, 0.1), (model.head.regression_head, 0.1)):
        for head in branch.module_list:
            nn.init.normal_(head[-1].weight, 0, std)
            nn.init.normal_(head[-1].bias, 0, std)
    model.train()
    with torch.no_grad():
        # two images and their negatives differ enough on the last map, which is one pixel
        model.head(list(model.backbone(model.transform(list(images.float() / 255))[0].tensors).values()))
    for norm in norms:
        norm.momentum = 0.03
