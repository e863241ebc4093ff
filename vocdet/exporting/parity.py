"""How much the detections of an exported model differ from those of the model in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

from vocdet.data.detections import Detections
from vocdet.inputs.images import Image, decode, resize

LEAST_SCORE = 0.05  # score of a detection that is compared
_COUNTERPART = 0.1  # of the longer side of a box: a counterpart is not further
_UPRIGHT_PHONE = 6  # the EXIF orientation of a phone held upright


@dataclass(frozen=True, slots=True)
class Difference:
    """The detections of one model compared with those of another; the largest differences count."""

    detections: int  # that were compared
    boxes: float  # pixels of the image, between two sides
    scores: float
    missing: int  # detections without a counterpart of their label at their place, on either side


@dataclass(frozen=True, slots=True)
class Scores:
    """Average precision of boxes, and with masks of masks."""

    ap: float | None
    ap50: float | None
    mask_ap: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """An exported detector beside the model, on the same images."""

    split: str  # "": made images alone
    images: int  # of the split
    trained_on: bool  # whether the model was trained on any of them, so that its scores say nothing about new images
    model: Scores
    exported: Scores  # through vocdet, which resizes as in training
    alone: Scores  # the file itself, which gets whole images
    difference: Difference  # through vocdet
    difference_alone: Difference
    by_label: dict[str, tuple[float | None, float | None]]  # AP50 of the model and of the export
    interval: dict[str, tuple[float, float] | None]  # of AP and AP50 of the export, 95 % of resamples
    model_ms: float  # median from an image in memory to its detections
    exported_ms: float
    tolerance: float

    @property
    def change(self) -> dict[str, float]:
        """The change of AP, AP50 and mask AP, where they are known."""
        pairs = {name: (getattr(self.model, name), getattr(self.exported, name)) for name in ("ap", "ap50", "mask_ap")}
        return {name: after - before for name, (before, after) in pairs.items() if None not in (before, after)}


def difference(before: Sequence[Detections], after: Sequence[Detections]) -> Difference:
    """Compare the detections of the same images that score at least `LEAST_SCORE`."""
    boxes, scores, missing, count = 0.0, 0.0, 0, 0
    for one, other in zip(before, after, strict=True):
        first, second = one.above(LEAST_SCORE), other.above(LEAST_SCORE)
        count += len(first)
        missing += _alone(second, one)
        taken = np.zeros(len(other), np.bool_)
        for box, score, label in zip(first.boxes, first.scores, first.labels, strict=True):
            apart = np.abs(other.boxes - box).max(axis=1, initial=0)
            near = np.flatnonzero((apart <= _reach(box[None])) & (other.labels == label) & ~taken)
            if not len(near):
                missing += 1
                continue
            # boxes that overlap much have scores of their own
            nearest = near[(apart[near] / _reach(box[None]) + np.abs(other.scores[near] - score)).argmin()]
            taken[nearest] = True
            boxes = max(boxes, float(apart[nearest]))
            scores = max(scores, abs(float(other.scores[nearest] - score)))
    return Difference(count, boxes, scores, missing)


def _alone(some: Detections, others: Detections) -> int:
    """The number of detections that have no other of their label near them."""
    apart = np.abs(some.boxes[:, None] - others.boxes[None]).max(axis=2, initial=0)  # (N, M)
    near = (apart <= _reach(some.boxes)[:, None]) & (some.labels[:, None] == others.labels)
    return int((~near.any(axis=1)).sum())


def _reach(
    boxes: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(np.maximum(_COUNTERPART * (boxes[:, 2:] - boxes[:, :2]).max(axis=1), 2.0))


def unusual_images(image: Image, folder: Path) -> Iterator[tuple[str, Image]]:
    """The image as five files that programs often read differently, each with its name and as vocdet decodes it.

    The files are written into `folder`: a tall, a wide, a tiny and a gray one, and one with an EXIF orientation.
    """
    height, width = image.shape[:2]
    variants = {
        "tall": resize(image, (height * 2, max(width // 3, 1))),
        "wide": resize(image, (max(height // 3, 1), width * 2)),
        "tiny": resize(image, (17, 23)),
        "gray": np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)),
        "rotated": image,
    }
    for name, pixels in variants.items():
        path = folder / f"{name}.{'png' if name == 'gray' else 'jpg'}"
        made = PIL.Image.fromarray(pixels)
        exif = made.getexif()
        if name == "rotated":
            exif[0x0112] = _UPRIGHT_PHONE
        made.save(path, exif=exif, quality=95)
        yield name, decode(path, oriented=True)
