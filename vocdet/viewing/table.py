"""What the viewer filters: a dataset, its findings and a run's detections as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import area
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.errors import CORRECT, KIND_NAMES, UNCOUNTED, find_errors
from vocdet.evaluation.matching import DetectionTable, box_pairs, match_voc, stack
from vocdet.evaluation.operating_point import IOU, best_thresholds
from vocdet.evaluation.precision import count_objects
from vocdet.evaluation.report import MIN_THRESHOLD

FLAGS = ("difficult", "truncated", "occluded", "crowd")
SIZES = ("small", "medium", "large")  # of boxes: below 32², from 96² square pixels on, and between, as in COCO
MISSED = len(KIND_NAMES)  # beside the kinds of detections
ERROR_NAMES = (*KIND_NAMES, "missed")
ORDERS = ("dataset", "errors", "objects")
NONE = -1  # in no split, without objects, without findings

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which images to show; numbers are indices into the lists of the table, None is no filter.

    Label and size refer to objects, with a score or an error of detections to those.
    """

    label: int | None = None
    split: int | None = None
    flag: int | None = None
    size: int | None = None
    finding: int | None = None
    error: int | None = None
    note: int | None = None
    lowest: float = 0.0  # score
    highest: float = 1.0
    name: str = ""  # within the name of the file
    order: int = 0  # index into `ORDERS`


@dataclass(frozen=True, eq=False)
class Predictions:
    """Detections in some images of a dataset, and their errors at the thresholds."""

    table: DetectionTable  # rows and labels of the dataset
    images: Mask  # (N,) where detections were looked for
    thresholds: NDArray[np.float32]  # (L,)
    kind: NDArray[np.int8]  # (D,) as in `find_errors`; `UNCOUNTED` below the threshold
    missed: Mask  # (M,) objects without a detection at the thresholds

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """(N + 1,) the row of the first detection of every image, and the end."""
        return np.searchsorted(self.table.image, np.arange(len(self.images) + 1))

    @classmethod
    def of(
        cls, dataset: Dataset, detections: Mapping[int, Detections], thresholds: NDArray[np.float32] | None = None
    ) -> Predictions:
        """The detections in images by row; by default, each label gets the threshold with the best F1 on them."""
        rows = np.array(sorted(detections), np.int64)
        part = dataset.subset(rows)
        table = stack([detections[row] for row in rows.tolist()], len(dataset.labels))
        if thresholds is None:
            match = match_voc(box_pairs(part.objects, table, floor=IOU), part.objects, len(table), IOU)
            best = best_thresholds(table, match.outcome, count_objects(part.objects, len(part.labels)))
            thresholds = np.maximum(best, MIN_THRESHOLD)
        shown = np.flatnonzero(table.score >= thresholds[table.label])
        errors = find_errors(part, table.take(shown))
        kind = np.full(len(table), UNCOUNTED, np.int8)
        kind[shown] = errors.kind
        images = np.zeros(len(dataset), np.bool_)
        images[rows] = True
        missed = np.zeros(len(dataset.objects), np.bool_)
        missed[np.flatnonzero(images[dataset.objects.image])[errors.missed]] = True
        columns = (rows[table.image], table.label, table.box, table.score, table.rank, table.mask)
        return cls(DetectionTable(*columns), images, thresholds, kind, missed)


@dataclass(frozen=True, eq=False)
class ViewTable:
    """A dataset to look at."""

    dataset: Dataset
    findings: Mapping[str, Rows] = field(default_factory=dict)  # rows of the images by code
    predictions: Predictions | None = None

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits."""
        return tuple(self.dataset.splits)

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """The flags that an object has."""
        return tuple(name for name in FLAGS if getattr(self.dataset.objects, name).any())

    @cached_property
    def errors(self) -> Mapping[str, int]:
        """The number of detections of each kind at the thresholds, and of missed objects."""
        if self.predictions is None:
            return {}
        counts = np.bincount(self.predictions.kind, minlength=MISSED)
        named = dict(zip(KIND_NAMES, counts.tolist(), strict=True))
        del named[KIND_NAMES[UNCOUNTED]]
        return named | {"missed": int(self.predictions.missed.sum())}

    @cached_property
    def object_counts(self) -> NDArray[np.int64]:
        """(N,) objects of every image."""
        return np.bincount(self.dataset.objects.image, minlength=len(self.dataset))

    @cached_property
    def first_objects(self) -> NDArray[np.int64]:
        """(N + 1,) the row of the first object of every image, and the end."""
        return np.concatenate([[0], np.cumsum(self.object_counts)])

    @cached_property
    def error_counts(self) -> NDArray[np.int64]:
        """(N,) wrong detections at the thresholds and missed objects of every image."""
        found = self.predictions
        if found is None:
            return np.zeros(len(self.dataset), np.int64)
        wrong = found.table.image[(found.kind != CORRECT) & (found.kind != UNCOUNTED)]
        every = np.concatenate([wrong, self.dataset.objects.image[found.missed]])
        return np.bincount(every, minlength=len(self.dataset))

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(file.casefold() for file in self.dataset.images.files)

    @cached_property
    def _object_size(self) -> NDArray[np.int8]:
        return _text_size(area(self.dataset.objects.box))

    def select(self, wanted: Filters, notes: NDArray[np.int8]) -> Rows:
        """The rows of the images that pass, in order; `notes` (N,) are those of the images."""
        keep = np.ones(len(self.dataset), np.bool_)
        if wanted.split is not None:
            keep &= self._among(list(self.dataset.splits.values()), wanted.split)
        if wanted.finding is not None:
            keep &= self._among(list(self.findings.values()), wanted.finding)
        if wanted.note is not None:
            keep &= notes == wanted.note
        if wanted.name:
            part = wanted.name.casefold()
            keep &= np.fromiter((part in name for name in self._names), np.bool_, len(self._names))
        if wanted.label == NONE:
            keep &= self.object_counts == 0
        else:
            keep &= self._with_objects(wanted)
        if self.predictions is not None:
            keep &= self._with_detections(wanted, self.predictions)
        rows = np.flatnonzero(keep)
        if wanted.order:
            by = (self.error_counts, self.object_counts)[wanted.order - 1]
            rows = rows[np.argsort(-by[rows], kind="stable")]
        return rows

    def _among(self, groups: Sequence[Rows], index: int) -> Mask:
        """(N,) the images of one group; `NONE`: of no group."""
        hit = np.zeros(len(self.dataset), np.bool_)
        for rows in groups if index == NONE else groups[index : index + 1]:
            hit[rows] = True
        return ~hit if index == NONE else hit

    def _with_objects(self, wanted: Filters) -> Mask | bool:
        objects, of_objects = self.dataset.objects, wanted.flag is not None or wanted.error == MISSED
        if not of_objects and ((wanted.label is None and wanted.size is None) or self._of_detections(wanted)):
            return True
        keep = np.ones(len(objects), np.bool_)
        if wanted.label is not None:
            keep &= objects.label == wanted.label
        if wanted.size is not None:
            keep &= self._object_size == wanted.size
        if wanted.flag is not None:
            keep &= getattr(objects, self.flags[wanted.flag])
        if wanted.error == MISSED and self.predictions is not None:
            keep &= self.predictions.missed
        return self._among([objects.image[keep].astype(np.int64)], 0)

    def _of_detections(self, wanted: Filters) -> bool:
        scored = wanted.lowest > 0 or wanted.highest < 1
        return self.predictions is not None and (scored or wanted.error not in (None, MISSED))

    def _with_detections(self, wanted: Filters, found: Predictions) -> Mask | bool:
        if not self._of_detections(wanted):
            return True
        table = found.table
        keep = (table.score >= np.float32(wanted.lowest)) & (table.score <= np.float32(wanted.highest))
        if wanted.label not in (None, NONE):
            keep &= table.label == wanted.label
        if wanted.size is not None:
            keep &= _text_size(area(table.box)) == wanted.size
        if wanted.error not in (None, MISSED):
            keep &= found.kind == wanted.error
        return self._among([table.image[keep]], 0)


def _text_size(areas: NDArray[np.float64]) -> NDArray[np.int8]:
    """(M,) index into `SIZES`."""
    return np.digitize(areas, (32.0**2, 96.0**2)).astype(np.int8)
