"""With the same weights and the same images, our SSD-lite says what torchvision's says."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from vocdet.models.ssd.detect import detect
from vocdet.models.ssd.loss import ssd_sums
from vocdet.models.ssd.model import SsdLite
from vocdet.models.weights.transfer import our_names

Targets = list[dict[str, Tensor]]
close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-5)
SIDE = 320


def raw(pair: Any) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """torchvision's outputs of the head, its anchors, and its feature maps."""
    with torch.no_grad():
        images, _ = pair.theirs.transform(pair.inputs)
        maps = list(pair.theirs.backbone(images.tensors).values())
        return pair.theirs.head(maps), pair.theirs.anchor_generator(images, maps), maps


def padded(targets: Targets) -> tuple[Tensor, Tensor]:
    """Boxes (B, M, 4) and classes (B, M) with class 0 as padding."""
    most = max(len(t["labels"]) for t in targets)
    boxes, classes = torch.zeros(len(targets), most, 4), torch.zeros(len(targets), most, dtype=torch.int64)
    for i, target in enumerate(targets):
        boxes[i, : len(target["boxes"])] = target["boxes"]
        classes[i, : len(target["labels"])] = target["labels"]
    return boxes, classes


def our_losses(model: SsdLite, images: Tensor, targets: Targets) -> dict[str, Tensor]:
    offsets, logits = model(images)
    boxes, classes = padded(targets)
    totals, count = ssd_sums(offsets, logits, model.grid, boxes, classes, min_negatives=0)
    return {name: total / count.clamp(min=1) for name, total in totals.items()}


def objects(boxes: Sequence[Sequence[float]], classes: Sequence[int]) -> dict[str, Tensor]:
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(classes).long()}


def many(count: int, seed: int = 0) -> dict[str, Tensor]:
    """Boxes of all sizes all over the image."""
    generator = torch.Generator().manual_seed(seed)
    size = 4 + torch.rand(count, 2, generator=generator) ** 3 * 250
    corner = torch.rand(count, 2, generator=generator) * (SIDE - size)
    return {
        "boxes": torch.cat([corner, corner + size], 1),
        "labels": torch.randint(1, 21, (count,), generator=generator),
    }


FEW = objects([[10, 20, 90, 100], [50, 60, 300, 310], [5, 5, 25, 30]], [1, 2, 20])
NONE = objects([], [])
# all smaller than any anchor, in one cell: the same anchor is the best for each of them
CROWDED = objects([[100, 100, 110, 110], [101, 101, 111, 111], [102, 100, 112, 110], [99, 99, 109, 109]], [4, 5, 6, 7])
BATCHES = {
    "few": [FEW, many(5, 1), many(2, 2), objects([[0, 0, 320, 320]], [3])],
    "an image without objects": [FEW, NONE, many(3, 3), NONE],
    "no objects at all": [NONE] * 4,
    "objects with the same best anchor": [CROWDED, FEW, CROWDED, NONE],
    "many objects": [many(200, 4), many(1, 5), many(90, 6), FEW],
    "the same box twice": [objects([[30, 30, 90, 90], [30, 30, 90, 90]], [1, 2])] * 4,
}


def test_every_tensor_is_loaded(pair: Any) -> None:
    assert {t.fate for t in pair.transfer.tensors} == {"loaded"}
    assert pair.transfer.count("loaded") == len(pair.theirs.state_dict())


def test_raw_outputs_agree(pair: Any) -> None:
    heads, _, _ = raw(pair)
    with torch.no_grad():
        offsets, logits = pair.ours(pair.images)
    assert logits.std() > 0.5  # they say something
    close(offsets, heads["bbox_regression"])
    close(logits, heads["cls_logits"])


def test_anchors_agree(pair: Any) -> None:
    _, anchors, maps = raw(pair)
    assert [tuple(m.shape[-2:]) for m in maps] == [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    assert len(pair.ours.grid) == len(anchors[0]) == 3234
    # as shares of the input: 320 pixels in float32 are no finer than 3e-5
    torch.testing.assert_close(pair.ours.grid / SIDE, anchors[0] / SIDE, rtol=0, atol=1e-6)


@pytest.mark.parametrize("targets", BATCHES.values(), ids=BATCHES.keys())
def test_losses_agree(pair: Any, targets: Targets) -> None:
    heads, anchors, _ = raw(pair)
    matched = [
        pair.theirs.proposal_matcher(box_iou(t["boxes"], anchors[0]))
        if len(t["boxes"])
        else torch.full((len(anchors[0]),), -1)
        for t in targets
    ]
    expected = pair.theirs.compute_loss(targets, heads, anchors, matched)
    with torch.no_grad():
        losses = our_losses(pair.ours, pair.images, targets)
    close(losses["box"], expected["bbox_regression"])
    close(losses["class"], expected["classification"])


def test_a_training_step_has_the_same_losses_gradients_and_statistics(pair: Any) -> None:
    targets = BATCHES["few"]
    theirs, ours = copy.deepcopy(pair.theirs).train(), copy.deepcopy(pair.ours).train()
    expected = theirs(pair.inputs, targets)
    losses = our_losses(ours, pair.images, targets)
    close(losses["box"], expected["bbox_regression"])
    close(losses["class"], expected["classification"])
    sum(expected.values()).backward()
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    names = our_names(theirs.state_dict(), ours.spec.backbone)
    reference = {names[name]: p.grad for name, p in theirs.named_parameters()}
    length = torch.cat([g.flatten() for g in reference.values()]).norm()
    for name, parameter in ours.named_parameters():
        # of the whole gradient's length: that of a bias before a batch norm is nothing but rounding
        assert (parameter.grad - reference[name]).norm() < 1e-5 * length, name
    statistics = {names[name]: buffer for name, buffer in theirs.named_buffers()}
    for name, buffer in ours.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            close(buffer, statistics[name])


def test_detections_agree(pair: Any) -> None:
    with torch.no_grad():
        expected = pair.theirs(pair.inputs)
        offsets, logits = pair.ours(pair.images)
        found = detect(offsets, logits, pair.ours.grid, (SIDE, SIDE))
    for theirs, ours in zip(expected, found, strict=True):
        assert len(ours.scores) == len(theirs["scores"]) > 50
        assert theirs["scores"].std() > 0.01  # no ties
        assert torch.equal(ours.classes, theirs["labels"])
        close(ours.scores, theirs["scores"])
        close(ours.boxes / SIDE, theirs["boxes"] / SIDE)
