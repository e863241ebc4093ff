"""Match anchors and proposals with objects, and sample those that enter the loss."""

from __future__ import annotations

import torch
from torch import Tensor

from vocdet.models.crowds import in_crowds
from vocdet.models.seeded import Seeded

BACKGROUND, NEITHER = -1, -2  # in place of a row
AT_ONCE = 1 << 21  # overlaps in memory at a time: 375 objects and 250,000 anchors have 94 million


def overlaps(boxes: Tensor, references: Tensor) -> Tensor:
    """IoU of boxes (B, M, 4) with references (B, N, 4), or (1, N, 4) for all: (B, M, N); 0 where both are empty."""
    ax1, ay1, ax2, ay2 = boxes[..., None].unbind(-2)  # (B, M, 1)
    bx1, by1, bx2, by2 = references.transpose(1, 2).contiguous()[:, :, None].unbind(1)  # (B, 1, N)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp_(min=0)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp_(min=0)
    inter = width.mul_(height)
    union = ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)).sub_(inter)
    return inter.div_(union.clamp_(min=1e-9))


@torch.no_grad()
def match(boxes: Tensor, classes: Tensor, references: Tensor, *, high: float, low: float, best: bool = False) -> Tensor:
    """The object of each reference: (B, N), a row of `boxes`, `BACKGROUND` or `NEITHER`.

    `boxes` (B, M, 4) and `classes` (B, M) are padded with class 0; references are (B, N, 4), or (1, N, 4) for all
    images. A reference matches the object that it overlaps most if their IoU is at least `high`, is background below
    `low` and neither between. With `best`, the references with the highest IoU of an object match at any IoU. Ren et
    al. 2015, section 3.1.2.
    """
    images, objects = classes.shape
    number = references.shape[1]
    if objects == 0:
        return torch.full((images, number), BACKGROUND, dtype=torch.int64, device=boxes.device)
    padding = (classes == 0)[..., None]
    step = max(1, AT_ONCE // (images * objects))
    parts, firsts = [], []
    for start in range(0, number, step):
        iou = overlaps(boxes, references[:, start : start + step]).masked_fill_(padding, -1.0)
        most, nearest = iou.max(dim=1)  # (B, n)
        unsure = torch.where(most >= low, NEITHER, BACKGROUND)
        parts.append((torch.where(most >= high, nearest, unsure), nearest))
        if best:
            top = iou.amax(dim=2)  # (B, M)
            found = ((iou == top[..., None]) & (top > 0)[..., None]).nonzero()
            firsts.append((top, found + found.new_tensor([0, 0, start])))
    matched, nearest = (torch.cat(columns, dim=1) for columns in zip(*parts, strict=True))
    if best:
        highest = torch.stack([top for top, _ in firsts]).amax(dim=0)
        for top, found in firsts:
            image, object_, reference = found.unbind(1)
            of = top[image, object_] == highest[image, object_]
            image, reference = image[of], reference[of]
            matched[image, reference] = nearest[image, reference]
    return matched


def outside_crowds(matched: Tensor, references: Tensor, crowds: Tensor | None, *, low: float) -> Tensor:
    """The result of `match` with `NEITHER` in place of background in the crowds (B, K, 4) of an image.

    A reference of which a share of `low` is in a crowd would not be background if the crowd were an object.
    """
    if crowds is None:
        return matched
    return matched.masked_fill((matched == BACKGROUND) & in_crowds(references, crowds, low), NEITHER)


class Sampler(Seeded):
    """A random sample of the references of each image for the loss."""

    def __init__(self, number: int, positives: float) -> None:
        """At most `number` of an image, and at most the share `positives` of them matched with objects."""
        super().__init__()
        self.number, self.positives = number, positives

    def forward(self, matched: Tensor) -> tuple[Tensor, Tensor]:
        """The result of `match` (B, N) to two masks (B, N): sampled references of objects, and of background."""
        keys = torch.rand(matched.shape, generator=self.generator(matched.device), device=matched.device)
        most = torch.full((len(matched),), int(self.number * self.positives), device=matched.device)
        positive = _highest(keys, matched >= 0, most)
        return positive, _highest(keys, matched == BACKGROUND, self.number - positive.sum(1))


def _highest(keys: Tensor, among: Tensor, numbers: Tensor) -> Tensor:
    """The `numbers` (B,) true elements of `among` (B, N) with the highest keys."""
    most = min(int(numbers.amax()), among.shape[1])
    values, rows = keys.masked_fill(~among, -1.0).topk(most, dim=1)
    taken = (values >= 0) & (torch.arange(most, device=keys.device) < numbers[:, None])
    return torch.zeros_like(among).scatter_(1, rows, taken)
