"""Objects keep their ids from frame to frame, and cross a line once."""

from __future__ import annotations

import numpy as np
import pytest

from vocdet.data.detections import Detections
from vocdet.errors import ArgumentError
from vocdet.inference.tracking import Line, Tracks, VideoOptions, parse_line

pytest.importorskip("trackers", reason="the extra track is not installed")

LIMITS = np.array([0.5, 0.3], np.float32)
SIZE = (200, 100)


def found(*objects: tuple[int, float, float, float]) -> Detections:
    """Boxes of 20 by 20 pixels: label, score, and the center."""
    boxes = [(x - 10, y - 10, x + 10, y + 10) for _, _, x, y in objects]
    scores = np.array([score for _, score, _, _ in objects], np.float32)
    return Detections(np.array(boxes, np.float64), scores, np.array([k for k, *_ in objects], np.int64))


def test_two_objects_keep_their_ids_while_they_move() -> None:
    tracks = Tracks(LIMITS, 25.0)
    seen = [tracks.update(found((0, 0.9, 20 + 4 * i, 20), (0, 0.8, 180 - 4 * i, 70)), i, SIZE) for i in range(20)]
    ids = [dict(zip(one.boxes[:, 1].tolist(), (one.ids if one.ids is not None else ()), strict=True)) for one in seen]
    assert {len(one) for one in seen} == {2}
    assert all(one == ids[-1] for one in ids[2:])
    assert sorted(ids[-1].values()) == [1, 2]


def test_labels_are_followed_on_their_own_and_thresholds_count() -> None:
    tracks = Tracks(LIMITS, 25.0)
    for i in range(4):
        last = tracks.update(found((0, 0.9, 50, 50), (1, 0.35, 52, 50), (0, 0.2, 150, 50), (1, 0.2, 90, 50)), i, SIZE)
    assert last.ids is not None
    assert sorted(zip(last.labels.tolist(), last.ids.tolist(), strict=True)) == [(0, 1), (1, 2)]
    weak = tracks.update(found((0, 0.3, 50, 50), (0, 0.3, 150, 50)), 4, SIZE)  # continues a track, but begins none
    assert weak.boxes[:, 0].tolist() == [40]


def test_a_tracker_of_another_video_begins_at_one() -> None:
    for _ in range(2):
        tracks = Tracks(LIMITS, 25.0)
        for i in range(3):
            last = tracks.update(found((0, 0.9, 50, 50)), i, SIZE)
        assert last.ids is not None
        assert last.ids.tolist() == [1]


@pytest.mark.parametrize("line", [Line(100, 0, 100, 99), Line(0.5, 0, 0.5, 0.99)])
def test_crossings_are_counted_once_with_their_direction(line: Line) -> None:
    tracks = Tracks(LIMITS, 25.0, line)
    for i in range(40):  # one to the right, one to the left, one that turns back on the line, one beside its end
        turning = 60 + min(i, 20) * 2 - max(0, i - 20) * 2
        tracks.update(found((0, 0.9, 20 + 4 * i, 15), (1, 0.9, 180 - 4 * i, 50), (0, 0.9, turning, 85)), i, SIZE)
    ways = sorted((one.label, one.forward) for one in tracks.crossings)
    assert ways == [(0, False), (1, True)]  # seen from its upper end, the left of the line is the right of the frame
    assert tracks.totals() == (1, 1)


def test_passing_beside_the_ends_of_a_line_is_no_crossing() -> None:
    tracks = Tracks(LIMITS, 25.0, Line(100, 60, 100, 99))
    for i in range(40):
        tracks.update(found((0, 0.9, 20 + 4 * i, 20)), i, SIZE)
    assert tracks.crossings == []


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5", "1,1,1,1", "-1,0,1,1", "nan,0,1,1", "0,nan,1,1", "1e9,0,1,1"]
)
def test_an_impossible_line_is_an_error(text: str) -> None:
    with pytest.raises(ArgumentError, match="the line is"):
        parse_line(text)


def test_nothing_is_followed_unless_it_is_requested() -> None:
    assert VideoOptions().start(0.5, 2, 25.0) is None
    assert VideoOptions(line=parse_line("0,0,1,1")).start(0.5, 2, 25.0) is not None
