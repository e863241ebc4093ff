"""The last layers of heads: the label of every row, and the anchors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.ssd.anchors import Anchors

# an SSD's: class_head.0.1.weight, or class_head.0.weight where heads are one convolution; a classifier's: classifier.3
# of V3, whose classifier.0 is a hidden layer, and classifier.1 of V1 and V2
_LAST_LAYERS = re.compile(r"(?:(class_head|box_head)\.(\d+)\.(?:1\.)?|classifier\.[13]\.)(?:weight|bias)")
# an SSD's with a neck: one row of each class
_CELLS = re.compile(r"head\.class_out\.\d+\.(?:weight|bias)")
# a Mask R-CNN's: one row of each class, or four next to each other
_REGIONS = re.compile(r"roi_heads\.(?:box_predictor\.(?:cls_score|(bbox_pred))|mask_predictor\.mask_fcn_logits)\.\w+")
_PROPOSALS = re.compile(r"rpn\.head\.(?:cls_logits|bbox_pred)\.(?:weight|bias)")
OTHER_ANCHORS = "made for other anchors"


@dataclass(frozen=True, slots=True)
class Heads:
    """The labels and anchors of the last layers."""

    labels: tuple[str, ...] | None  # without background; "": a row without a label; None: unknown
    anchors: Anchors | PyramidAnchors | None = None  # of a detector, if known


@dataclass(frozen=True, slots=True)
class Carried:
    """The tensor for a model, made from that of a file."""

    tensor: Tensor | None  # of the model's shape; None: unusable
    why: str = ""  # it differs from the tensor of the file
    labels: tuple[str, ...] = ()  # with rows from the file


def same_label(name: str) -> str:
    """The normalized name of a label: without case, and with one separator for space, `_` and `-`.

    `Traffic-Light`, `traffic light` and `trafficlight` are equal, `1-1` and `11` are not.
    """
    parted = re.sub(r"[\s_-]+", " ", name).strip().casefold()
    return re.sub(r"(?<=\D) (?=\D)", "", parted) or name  # a label can be a single dash


def matching_rows(theirs: Sequence[str], ours: Sequence[str]) -> list[int]:
    """For each of our labels its row among theirs, or -1; an exact match takes precedence over a normalized one."""
    exact = {name: i for i, name in reversed(list(enumerate(theirs))) if name}
    alike = {same_label(name): i for i, name in reversed(list(enumerate(theirs))) if name}
    return [exact.get(name, alike.get(same_label(name), -1)) for name in ours]


def carried(name: str, given: Tensor, fresh: Tensor, theirs: Heads | None, ours: Heads) -> Carried:
    """The tensor for a model in place of `fresh`, made from the tensor of the same name in a file.

    The last layer of a head for the same anchors takes the rows of common labels and of background; the other rows
    remain those of `fresh`. A tensor of another shape is unusable.
    """
    if theirs is None:
        return _whole_layer(given, fresh)
    if _PROPOSALS.fullmatch(name):
        known = theirs.anchors is not None and ours.anchors is not None
        return Carried(None, OTHER_ANCHORS) if known and theirs.anchors != ours.anchors else _whole_layer(given, fresh)
    if _CELLS.fullmatch(name):
        return _label_layer(given, fresh, theirs, ours, background=1, each=1)
    if regions := _REGIONS.fullmatch(name):
        return _label_layer(given, fresh, theirs, ours, background=1, each=4 if regions[1] else 1)
    match = _LAST_LAYERS.fullmatch(name)
    if match is None:
        return _whole_layer(given, fresh)
    if match[1] and _differ(theirs.anchors, ours.anchors, int(match[2])):
        return Carried(None, OTHER_ANCHORS)
    if match[1] == "box_head":
        return _whole_layer(given, fresh)
    return _label_layer(given, fresh, theirs, ours, background=1 if match[1] else 0, each=1)


def _differ(theirs: object, ours: object, level: int) -> bool:
    """Whether the known anchors of an SSD differ on a map."""
    return isinstance(theirs, Anchors) and isinstance(ours, Anchors) and theirs.shapes[level] != ours.shapes[level]


def _label_layer(given: Tensor, fresh: Tensor, theirs: Heads, ours: Heads, *, background: int, each: int) -> Carried:
    """A last layer with `each` rows of every label and of background, made from another."""
    whole = _whole_layer(given, fresh)
    if theirs.labels is None or ours.labels is None:
        return Carried(whole.tensor, whole.why or "its labels are unknown, and taken in their order")
    if theirs.labels == ours.labels:
        return whole if whole.tensor is None else Carried(given, labels=ours.labels)
    return _by_label(given, fresh, theirs.labels, ours.labels, background=background, each=each)


def _whole_layer(given: Tensor, fresh: Tensor) -> Carried:
    if given.shape != fresh.shape:
        return Carried(None, f"of another shape: {tuple(given.shape)} in the file")
    return Carried(given)


def _by_label(
    given: Tensor, fresh: Tensor, theirs: tuple[str, ...], ours: tuple[str, ...], *, background: int, each: int
) -> Carried:
    """`given` (shapes * (background + theirs) * each, ...) and `fresh` with ours, shapes first."""
    had, wanted = background + len(theirs), background + len(ours)
    shapes = fresh.shape[0] // (wanted * each)
    if given.shape != (shapes * had * each, *fresh.shape[1:]):
        return Carried(None, f"of another shape: {tuple(given.shape)} in the file")
    rows = [*range(background), *(row + background if row >= 0 else -1 for row in matching_rows(theirs, ours))]
    known = [k for k, row in enumerate(rows) if row >= 0]
    labels = tuple(ours[k - background] for k in known if k >= background)
    if not known:
        return Carried(None, f"no label of its {len(theirs)} is here")
    mixed = fresh.detach().clone().reshape(shapes, wanted, each, *fresh.shape[1:])
    mixed[:, known] = given.to(fresh.dtype).reshape(shapes, had, each, *fresh.shape[1:])[:, [rows[k] for k in known]]
    why = f"{len(labels)} of {len(ours)} labels by name" if labels else "background only, no label by name"
    return Carried(mixed.reshape(fresh.shape), why, labels)
