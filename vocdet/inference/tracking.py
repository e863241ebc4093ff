"""Objects of a video followed from frame to frame, and counted where they cross a line.

The ids come from ByteTrack (Zhang et al., 2022) as the package `trackers` has it: one tracker for each label.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet.data.detections import Detections
from vocdet.errors import ArgumentError, DependencyError
from vocdet.inference.draw import draw_line
from vocdet.inputs.images import Image

SURE = 0.6  # confidence from which ByteTrack begins a track; scores are mapped so that it is their threshold
UNSURE = 0.5  # share of the threshold from which a detection may continue a track
LOST = 1.0  # seconds after which a lost object gets a new id
LINE_MARGIN = 0.1  # of the mean side of a box: how far its center must be beyond the line to have crossed it


@dataclass(frozen=True, slots=True)
class Line:
    """A line to count at, from (x1, y1) to (x2, y2): pixels, or fractions of the frame if none is above 1."""

    x1: float
    y1: float
    x2: float
    y2: float

    def in_pixels(self, width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Its ends in a frame of this size."""
        scale = (width, height) if max(self.x1, self.y1, self.x2, self.y2) <= 1 else (1, 1)
        return np.array((self.x1, self.y1)) * scale, np.array((self.x2, self.y2)) * scale


def parse_line(text: str) -> Line:
    """A line from `x1,y1,x2,y2`; an `ArgumentError` for anything else."""
    try:
        x1, y1, x2, y2 = (float(one) for one in text.split(","))
    except ValueError:
        x1 = y1 = x2 = y2 = -1.0
    if not all(0 <= one < 1e6 for one in (x1, y1, x2, y2)) or (x1, y1) == (x2, y2):  # NaN is not
        hint = 'give x1,y1,x2,y2 in pixels, or as fractions of the frame: `count="0.5,0,0.5,1"`'
        raise ArgumentError(f"the line is {text[:60]!r}", hint=hint)
    return Line(x1, y1, x2, y2)


@dataclass(frozen=True, slots=True)
class VideoOptions:
    """What is done with videos, cameras and streams: objects may be followed, and counted at a line."""

    follow: bool = False
    line: Line | None = None  # implies `follow`
    frames: int = 0  # of each; 0: until it ends

    def __post_init__(self) -> None:
        if self.frames < 0:
            raise ArgumentError(f"frames is {self.frames}", hint="give 1 or more, or 0 for all: `frames=100`")

    def start(self, limits: NDArray[np.float32] | float, labels: int, fps: float) -> Tracks | None:
        """The tracks of a video with these thresholds of its labels; None: nothing is followed."""
        if not self.follow and not self.line:
            return None
        return Tracks(np.broadcast_to(np.float32(limits), (labels,)), fps, self.line)


@dataclass(frozen=True, slots=True)
class Crossing:
    """An object that crossed the line."""

    frame: int
    id: int
    label: int
    forward: bool  # from the left of the line to its right, as seen from its first end; in a frame y points down


class Tracks:
    """The objects of one video."""

    def __init__(self, limits: NDArray[np.float32], fps: float, line: Line | None = None) -> None:
        """`limits` (L,) are the scores from which a detection of each label counts."""
        missing = [name for name in ("trackers", "supervision") if find_spec(name) is None]
        if missing:
            hint = "install it: `pip install vocdet[track]`"
            raise DependencyError("following objects needs the package trackers", hint=hint)
        self.limits, self.fps, self.line = np.clip(limits, 1e-3, 1 - 1e-3), fps, line
        self.crossings: list[Crossing] = []
        self.counts: Counter[tuple[int, bool]] = Counter()  # label, forward: crossings
        self._trackers: dict[int, Any] = {}
        self._ids: dict[tuple[int, int], int] = {}  # label and id of its tracker: id
        self._totals: dict[int, tuple[int, int]] = {}  # of frames that are not drawn yet
        self._sides: dict[int, tuple[bool, NDArray[np.float64]]] = {}  # id: side of the line, and where it was

    def update(self, found: Detections, number: int, size: tuple[int, int]) -> Detections:
        """The detections of frame `number` of this (width, height) that count, with ids; -1: not followed yet.

        `found` has those of lower scores, too: they continue a track, but begin none.
        """
        limit = self.limits[found.labels]
        found = found.take(found.scores >= UNSURE * limit)
        ids = np.full(len(found), -1, np.int64)
        for label in {*found.labels.tolist(), *self._trackers}:
            rows = np.flatnonzero(found.labels == label)
            for row, id in self._followed(label, found, rows):
                ids[row] = self._ids.setdefault((label, id), len(self._ids) + 1)
        shown = (found.scores >= self.limits[found.labels]) | (ids >= 0)
        tracked = replace(found.take(shown), ids=ids[shown])
        if self.line:
            self._count(tracked, number, size)
            self._totals[number] = self.totals()
        return tracked

    def totals(self) -> tuple[int, int]:
        """The crossings so far: forward and backward."""
        return tuple(sum(n for (_, way), n in self.counts.items() if way is forward) for forward in (True, False))  # type: ignore[return-value]

    def draw(self, drawn: Image, number: int) -> Image:
        """The drawn frame `number`, with the line and the crossings up to it."""
        if self.line is None:
            return drawn
        ends = [(round(float(x)), round(float(y))) for x, y in self.line.in_pixels(drawn.shape[1], drawn.shape[0])]
        forward, back = self._totals.pop(number, self.totals())
        draw_line(drawn, ends[0], ends[1], f"{forward} forward, {back} back")
        return drawn

    def _followed(self, label: int, found: Detections, rows: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Rows of this label with the ids of its tracker, as far as it has given any."""
        import supervision
        from trackers import ByteTrackTracker

        tracker = self._trackers.get(label)
        if tracker is None:
            buffer = round(30 * LOST)  # frames at 30 a second
            tracker = self._trackers[label] = ByteTrackTracker(
                buffer, self.fps, track_activation_threshold=SURE, high_conf_det_threshold=SURE
            )
        limit, scores = float(self.limits[label]), found.scores[rows].astype(np.float64)
        sure = SURE + (1 - SURE) * (scores - limit) / (1 - limit)
        given = supervision.Detections(
            xyxy=found.boxes[rows].reshape(-1, 4), confidence=np.where(scores >= limit, sure, SURE * scores / limit),
            class_id=np.full(len(rows), label), data={"row": rows},
        )  # fmt: skip
        result = tracker.update(given)
        if not len(result):
            return []
        return [
            (int(r), int(i)) for r, i in zip(result.data["row"], np.asarray(result.tracker_id), strict=True) if i >= 0
        ]

    def _count(self, tracked: Detections, number: int, size: tuple[int, int]) -> None:
        assert self.line and tracked.ids is not None
        start, end = self.line.in_pixels(*size)
        along = (end - start) / max(float(np.linalg.norm(end - start)), 1e-9)
        for box, id, label in zip(tracked.boxes, tracked.ids.tolist(), tracked.labels.tolist(), strict=True):
            if id < 0:
                continue
            center = (box[:2] + box[2:]) / 2
            away = float(along[0] * (center - start)[1] - along[1] * (center - start)[0])  # right of it is positive
            if abs(away) < LINE_MARGIN * float((box[2:] - box[:2]).mean()):
                continue  # on the line: it may turn back
            right = away > 0
            before = self._sides.get(id)
            self._sides[id] = (right, center)
            if before and before[0] != right and _meets(before[1], center, start, end):
                self.crossings.append(Crossing(number, id, label, right))
                self.counts[label, right] += 1


def _meets(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]) -> bool:
    """Whether the way from a to b, whose ends are on different sides of the line through c and d, is between them."""

    def side(p: NDArray[np.float64]) -> float:
        return float((b - a)[0] * (p - a)[1] - (b - a)[1] * (p - a)[0])

    return side(c) * side(d) <= 0
