"""Detections of a model in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vocdet.boxes import Boxes
from vocdet.data.texts import Texts


@dataclass(frozen=True, slots=True, eq=False)  # arrays do not compare with ==
class Detections:
    """Detections in one image, best score first; row i of every array is detection i."""

    boxes: Boxes  # (N, 4) pixels of the image as it is stored, 0-based, half-open
    scores: NDArray[np.float32]  # (N,) in [0, 1]
    labels: NDArray[np.int64]  # (N,) index into the checkpoint's labels; no background
    masks: Texts | None = None  # N compressed RLEs in the image's pixels, as JSON; None: a model without masks
    ids: NDArray[np.int64] | None = None  # (N,) of objects that are followed in a video, from 1; -1: not yet

    def __post_init__(self) -> None:
        object.__setattr__(self, "boxes", np.array(self.boxes, np.float64).reshape(-1, 4))
        object.__setattr__(self, "scores", np.array(self.scores, np.float32))
        object.__setattr__(self, "labels", np.array(self.labels, np.int64))
        if not len(self.boxes) == len(self.scores) == len(self.labels):
            raise ValueError(f"{len(self.boxes)} boxes, {len(self.scores)} scores, {len(self.labels)} labels")
        if self.masks is not None and len(self.masks) != len(self.scores):
            raise ValueError(f"{len(self.masks)} masks for {len(self.scores)} detections")
        if self.ids is not None and len(self.ids) != len(self.scores):
            raise ValueError(f"{len(self.ids)} ids for {len(self.scores)} detections")
        for array in (self.boxes, self.scores, self.labels):
            array.setflags(write=False)

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float | NDArray[np.float32]) -> Detections:
        """The detections that score at least `threshold`: one number, or one per label (L,)."""
        limit = threshold if isinstance(threshold, float) else threshold[self.labels]
        return self.take(self.scores >= limit)

    def take(self, rows: ArrayLike) -> Detections:
        """These detections (indices or a mask), in this order."""
        chosen = np.asarray(rows)
        if chosen.dtype != np.bool_:
            chosen = chosen.astype(np.int64)  # NumPy makes an empty list float64
        masks = None if self.masks is None else self.masks.take(chosen)
        ids = None if self.ids is None else self.ids[chosen]
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen], masks, ids)
