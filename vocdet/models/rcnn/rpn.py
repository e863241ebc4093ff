"""The region proposal network: class-agnostic boxes. Ren et al. 2015, section 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms
from torchvision.ops.misc import Conv2dNormActivation

from vocdet.models.box_coder import decode, encode
from vocdet.models.flat import flat
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.matching import Sampler, match, outside_crowds
from vocdet.models.separable import depthwise, pointwise

_PROPOSAL_FACTORS = (1.0, 1.0, 1.0, 1.0)  # of box offsets
_MATCH_IOU, _BACKGROUND_IOU = 0.7, 0.3  # of an anchor: an object from, background below
_MAX_POSITIVES = 0.5  # share of the sampled anchors
_NMS = 0.7
_MIN_SIDE = 1e-3  # pixels of a proposal
BETA = 1 / 9  # where smooth-L1 becomes linear


class RpnHead(nn.Module):
    """A plain 3x3 convolution shared by all levels; parameter names are torchvision's."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(Conv2dNormActivation(channels, channels, kernel_size=3, norm_layer=None))
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, anchors * 4, 1)
        _initialize_rpn(self)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps (B, C, H_i, W_i) to the logits (B, N) and offsets (B, N, 4) of all anchors, in the order of the grid."""
        hidden = [self.conv(m) for m in maps]
        logits = [self.cls_logits(x).permute(0, 2, 3, 1).flatten(1) for x in hidden]
        offsets = [flat(self.bbox_pred(x), 4) for x in hidden]
        return torch.cat(logits, 1), torch.cat(offsets, 1)


class MobileRpnHead(nn.Module):
    """A depthwise-separable convolution shared by all levels.

    The batch norms see all levels together: the statistics of one level would not fit another, and the coarsest can be
    one pixel.
    """

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.filter = depthwise(channels)
        self.mix = pointwise(channels, channels)
        self.cls_logits = nn.Conv2d(channels, anchors, 1)
        self.bbox_pred = nn.Conv2d(channels, anchors * 4, 1)
        _initialize_rpn(self.cls_logits)
        _initialize_rpn(self.bbox_pred)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The shapes of `RpnHead`."""
        conv, *rest = self.filter
        x = torch.cat([conv(m).flatten(2) for m in maps], 2)[..., None]  # (B, C, cells, 1)
        for layer in rest:
            x = layer(x)
        x = self.mix(x)
        logits = self.cls_logits(x).permute(0, 2, 3, 1).flatten(1)
        return logits, flat(self.bbox_pred(x), 4)


def _initialize_rpn(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """Boxes of a batch, image by image and best first."""

    boxes: Tensor  # (R, 4) pixels of the input
    image: Tensor  # (R,) row of the batch


class Rpn(nn.Module):
    """Anchors, a head that scores and moves them, and their losses."""

    def __init__(
        self, head: nn.Module, anchors: PyramidAnchors, *, candidates: int, proposals: int, sampled: int
    ) -> None:
        """In inference, NMS sees `candidates` of a level and keeps `proposals` of an image; twice that in training."""
        super().__init__()
        self.head, self.anchors = head, anchors
        self.candidates, self.proposals = candidates, proposals
        self.sampler = Sampler(sampled, _MAX_POSITIVES)

    def grid(self, maps: Sequence[Tensor], canvas: tuple[int, int]) -> tuple[Tensor, tuple[int, ...]]:
        """The anchors (N, 4) of a canvas (height, width), and the number on each level."""
        sizes = tuple((m.shape[-2], m.shape[-1]) for m in maps)
        return _grid(self.anchors, sizes, canvas, maps[0].device), tuple(h * w * self.anchors.count for h, w in sizes)

    def forward(self, maps: Sequence[Tensor], canvas: tuple[int, int], sizes: Tensor) -> Proposals:
        """The proposals of a batch in inference; `sizes` (B, 2) are the heights and widths of its images."""
        anchors, counts = self.grid(maps, canvas)
        logits, offsets = self.head(maps)
        return propose(logits, offsets, anchors, counts, sizes, candidates=self.candidates, most=self.proposals)

    def learn(
        self,
        maps: Sequence[Tensor],
        canvas: tuple[int, int],
        sizes: Tensor,
        boxes: Tensor,
        classes: Tensor,
        crowds: Tensor | None = None,
    ) -> tuple[Proposals, dict[str, tuple[Tensor, Tensor]]]:
        """The proposals of a batch in training, and the losses `objectness` and `rpn_box` as totals and counts."""
        anchors, counts = self.grid(maps, canvas)
        logits, offsets = (x.float() for x in self.head(maps))
        matched = match(boxes, classes, anchors[None], high=_MATCH_IOU, low=_BACKGROUND_IOU, best=True)
        matched = outside_crowds(matched, anchors[None], crowds, low=_BACKGROUND_IOU)
        positive, negative = self.sampler(matched)
        image, anchor = positive.nonzero(as_tuple=True)
        wanted = encode(boxes[image, matched[image, anchor]], anchors[anchor], _PROPOSAL_FACTORS)
        box = F.smooth_l1_loss(offsets[image, anchor], wanted, beta=BETA, reduction="sum")
        chosen = positive | negative
        objectness = F.binary_cross_entropy_with_logits(
            logits[chosen], positive[chosen].to(logits.dtype), reduction="sum"
        )
        number = chosen.sum()
        proposals = propose(
            logits, offsets, anchors, counts, sizes, candidates=2 * self.candidates, most=2 * self.proposals
        )
        return proposals, {"objectness": (objectness, number), "rpn_box": (box, number)}


@lru_cache(maxsize=8)  # canvas sizes repeat
def _grid(
    anchors: PyramidAnchors, maps: tuple[tuple[int, int], ...], canvas: tuple[int, int], device: torch.device
) -> Tensor:
    strides = tuple((canvas[0] // height, canvas[1] // width) for height, width in maps)
    with torch.inference_mode(False):  # the next use may be in training
        return torch.from_numpy(anchors.grid(maps, strides)).to(device)


@torch.no_grad()
def propose(
    logits: Tensor,
    offsets: Tensor,
    anchors: Tensor,
    counts: Sequence[int],
    sizes: Tensor,
    *,
    candidates: int,
    most: int,
) -> Proposals:
    """The best boxes of every image: `candidates` of each level, NMS within levels, at most `most` of an image.

    `logits` (B, N), `offsets` (B, N, 4) and `anchors` (N, 4) have `counts` rows of each level. Boxes are clipped to the
    `sizes` (B, 2), height and width, of their image, and dropped if empty.
    """
    rows, levels = [], []
    start = 0
    for level, count in enumerate(counts):
        best = logits[:, start : start + count].topk(min(candidates, count), dim=1).indices + start
        rows.append(best)
        levels.append(torch.full_like(best, level))
        start += count
    row, level_of = torch.cat(rows, 1), torch.cat(levels, 1)  # (B, K)
    scores = logits.gather(1, row).float().sigmoid()
    moved = offsets.gather(1, row[..., None].expand(-1, -1, 4)).float()
    boxes = clipped(decode(moved, anchors[row], _PROPOSAL_FACTORS), sizes[:, None])
    large = ((boxes[..., 2:] - boxes[..., :2]) >= _MIN_SIDE).all(-1)
    image, _ = large.nonzero(as_tuple=True)
    boxes, scores, level_of = boxes[large], scores[large], level_of[large]
    keep = best_of(image, batched_nms(boxes, scores, image * len(counts) + level_of, _NMS), most)
    return Proposals(boxes[keep], image[keep])


def clipped(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Boxes (..., 4) clipped to heights and widths (..., 2)."""
    return torch.minimum(boxes.clamp(min=0), sizes.flip(-1).repeat(*[1] * (sizes.dim() - 1), 2).to(boxes.dtype))


def best_of(image: Tensor, rows: Tensor, most: int) -> Tensor:
    """The first `most` rows of every image, image by image; `rows` are sorted by score, `image` holds their images."""
    owners = image[rows]
    order = owners.argsort(stable=True)
    owners, rows = owners[order], rows[order]
    places = torch.arange(len(rows), device=rows.device)
    return rows[places - torch.searchsorted(owners, owners) < most]
