"""What to change where no anchor fits most objects of a label: they are hardly learned, whatever the training does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vocdet.models.anchor_recall import AnchorRecall
from vocdet.recipes.schema import LARGEST
from vocdet.runs.detectors import ObjectTable
from vocdet.wording import listed

ENOUGH = 0.5  # share of a label's objects with an anchor of IoU .5
SIZES = (96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, LARGEST)
SMALL = 16.0  # pixels at the largest input: below, an object is too small, and not of an unusual shape
SAMPLED_OBJECTS = 1600  # in a sample, to which anchors are fitted at several sizes
FEWEST_OF_LABEL = 20
MOST_IN_NOTE = 4  # named in a note


@dataclass(frozen=True, slots=True)
class AnchorFit:
    """The anchors of a detector, and what others would reach."""

    rows: tuple[AnchorRecall, ...]
    size: int  # of the input, pixels
    fitted: bool  # to the training boxes, not taken from weights or torchvision
    rows_at: Callable[[ObjectTable, int], tuple[AnchorRecall, ...]]  # for objects, with anchors fitted at a size
    what: str = "anchors"  # or what takes their place


def anchor_notes(fit: AnchorFit, objects: ObjectTable) -> tuple[str, ...]:
    """A note if anchors reach an IoU of .5 for less than half of a label's objects; it names the size that cures it.

    The size is the smallest of `SIZES` at which anchors that are fitted there reach enough objects of every label.
    """
    poor = {label: recall for label, recall in label_recalls(fit.rows).items() if recall < ENOUGH}
    if not poor:
        return ()
    some = sample_of(objects)
    problem = f"{fit.what} have an IoU of .5 with less than half of the objects of {_shares(poor, poor)}"
    if not fit.fitted and (shares := _cured(fit, some, fit.size, poor)):
        return (f'{problem}: `anchors="fit"` reaches {shares}',)
    for size in (size for size in SIZES if size > fit.size):
        if shares := _cured(fit, some, size, poor):
            return (
                f"{problem}: they are too small at an input of {fit.size} pixels, and `size={size}` reaches {shares}",
            )
    if _median_side(some) < SMALL:
        problem += f": no size up to {LARGEST} cures that; train on tiles of the images, or take photos from closer"
    else:
        problem += f": no size up to {LARGEST} cures that, for their shapes are unusual"
    return (problem,)


def label_recalls(rows: Sequence[AnchorRecall]) -> dict[str, float]:
    """The share of the objects of each label that have an anchor of IoU .5 or more."""
    reached: dict[str, float] = defaultdict(float)
    objects: dict[str, int] = defaultdict(int)
    for row in rows:
        reached[row.label] += row.recall * row.objects
        objects[row.label] += row.objects
    return {label: reached[label] / objects[label] for label in objects}


def sample_of(objects: ObjectTable) -> ObjectTable:
    """About `SAMPLED_OBJECTS` objects, evenly spaced among those of each label."""
    rows = [np.flatnonzero(objects.labels == label) for label in np.unique(objects.labels)]
    most = max(FEWEST_OF_LABEL, SAMPLED_OBJECTS // len(rows))
    chosen = [of[np.unique(np.linspace(0, len(of) - 1, min(len(of), most)).astype(int))] for of in rows]
    keep = np.sort(np.concatenate(chosen))
    return ObjectTable(objects.boxes[keep], objects.labels[keep], objects.images[keep], objects.sides)


def _cured(fit: AnchorFit, objects: ObjectTable, size: int, poor: dict[str, float]) -> str:
    """The shares of all poor labels that anchors fitted at a size reach; "" if one is still too low."""
    shares = label_recalls(fit.rows_at(objects, size))
    return _shares(shares, poor) if min(shares[label] for label in poor) >= ENOUGH else ""


def _shares(shares: dict[str, float], labels: Sequence[str] | dict[str, float]) -> str:
    return listed([f"{label} ({shares[label]:.0%})" for label in labels], most=MOST_IN_NOTE)


def _median_side(objects: ObjectTable) -> float:
    """The median side of the objects at the largest input, in pixels."""
    sides = (objects.boxes[:, 2:] - objects.boxes[:, :2]) * LARGEST
    return float(np.median(np.sqrt(sides.prod(axis=1))))
