"""The shapes of CVAT's files: those of an image, and those of tracks, frame by frame."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from lxml import etree

from vocdet.formats.shared.values import NUMBER
from vocdet.formats.shared.xml import Note

MOST_SHAPES = 10_000_000  # that tracks may become

_SIDES = ("xtl", "ytl", "xbr", "ybr")


@dataclass(frozen=True, slots=True)
class CvatShape:
    """One shape in one image, before its numbers are checked."""

    kind: str  # its tag: box, polygon, ellipse, mask, ...
    label: str
    values: Mapping[str, str]  # its XML attributes
    attributes: Mapping[str, str]
    line: int
    track: str = ""  # the id of its track


def is_frame_number(text: str) -> bool:
    """Whether a text is the number of a frame, of nine digits at most."""
    return text.isdecimal() and len(text) < 10


def shape_of(element: etree._Element, label: str | None = None, track: str = "") -> CvatShape:
    """The shape of an element; in a track, the label is that of the track."""
    values = {str(name): str(value) for name, value in element.attrib.items()}
    attributes = {child.get("name", ""): (child.text or "").strip() for child in element if child.tag == "attribute"}
    return CvatShape(str(element.tag), values.get("label", "") if label is None else label, values, attributes,
                 int(element.sourceline or 0), track)  # fmt: skip


def shapes_by_frame(root: etree._Element, frames: Sequence[int], note: Note) -> dict[int, list[CvatShape]]:
    """The visible shapes of all tracks in the frames of a video, which rise.

    Between two shapes of a track, a box moves in a straight line, and it turns the shorter way; after the last one, a
    shape stays. A shape that is `outside` hides the track until the next one.
    """
    found: dict[int, list[CvatShape]] = defaultdict(list)
    count = 0
    for track in root.iter("track"):
        for frame, shape in _track(track, frames, note):
            found[frame].append(shape)
            count += 1
            if count > MOST_SHAPES:
                hint = "export shorter tasks"
                note("cvat.track.large", "error", f"has more than {MOST_SHAPES} shapes in tracks", 0, hint)
                return found
    return found


def _track(track: etree._Element, frames: Sequence[int], note: Note) -> Iterator[tuple[int, CvatShape]]:
    line, label, number = int(track.sourceline or 0), track.get("label", ""), track.get("id", "")
    known: dict[int, CvatShape] = {}
    for element in track:
        text = element.get("frame", "")
        if element.tag == "attribute":
            continue
        if not is_frame_number(text):
            hint = "write the number of a frame"
            note("cvat.track.frame", "error", f"its frame is {text[:40]!r}", int(element.sourceline or 0), hint)
            continue
        known[int(text)] = shape_of(element, label, number)
    order = sorted(known)
    skipped = 0
    for frame, after in zip_longest(order, order[1:]):
        shape = known[frame]
        if shape.values.get("outside") == "1":
            continue
        yield frame, shape
        first = bisect_right(frames, frame)
        between = frames[first : len(frames) if after is None else bisect_left(frames, after)]
        if after is None:
            yield from ((other, shape) for other in between)
        elif shape.kind == known[after].kind == "box":
            yield from ((other, _between(shape, known[after], (other - frame) / (after - frame))) for other in between)
        else:
            skipped += len(between)
    if skipped:
        problem = f"its shapes between keyframes are missing in {skipped} frames: only boxes are interpolated"
        note("cvat.track.keyframes", "warning", problem, line, "export the task again: CVAT writes every frame")


def _between(shape: CvatShape, after: CvatShape, share: float) -> CvatShape:
    """A box on its way to the next one. Shapes with invalid numbers stay, so that they are findings."""
    texts = [(shape.values.get(side, ""), after.values.get(side, "")) for side in _SIDES]
    if not all(NUMBER.fullmatch(text) for pair in texts for text in pair):
        return shape
    sides = {
        side: repr(round(float(one) + (float(other) - float(one)) * share, 6))
        for side, (one, other) in zip(_SIDES, texts, strict=True)
    }
    turn, goal = (float(text) if NUMBER.fullmatch(text) else 0.0
                  for text in (shape.values.get("rotation", ""), after.values.get("rotation", "")))  # fmt: skip
    if turn or goal:
        sides["rotation"] = repr(round((turn + ((goal - turn + 180) % 360 - 180) * share) % 360, 6))
    return replace(shape, values={**shape.values, **sides})
