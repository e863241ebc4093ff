"""Curves of precision and recall, the thresholds chosen from them, and calibration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import examples
from vocdet.evaluation.curves import LabelCurve, Wanted, calibration, label_curves
from vocdet.evaluation.matching import FALSE, IGNORED, TRUE, DetectionTable

# scores .9 right, .8 wrong, .7 right, .7 wrong, .6 ignored, .5 right; 4 objects
OUTCOMES = ((0.9, TRUE), (0.8, FALSE), (0.7, TRUE), (0.7, FALSE), (0.6, IGNORED), (0.5, TRUE))


def curve(outcomes: tuple[tuple[float, int], ...] = OUTCOMES, objects: int = 4) -> LabelCurve:
    count = len(outcomes)
    table = DetectionTable(
        np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros((count, 4)),
        np.array([score for score, _ in outcomes], np.float32), np.arange(count),
    )  # fmt: skip
    kinds = np.array([kind for _, kind in outcomes], np.int8)
    (one,) = label_curves(["cat"], table, kinds, np.array([objects]))
    return one


def test_a_curve_has_a_row_for_every_score_and_no_ignored_detections() -> None:
    one = curve()
    assert one.scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.5])
    assert one.correct.tolist() == [1, 1, 2, 3]
    assert one.false.tolist() == [0, 1, 2, 2]
    assert one.precision.tolist() == pytest.approx([1, 1 / 2, 1 / 2, 3 / 5])
    assert one.recall.tolist() == pytest.approx([1 / 4, 1 / 4, 2 / 4, 3 / 4])
    assert one.f1.tolist() == pytest.approx([2 / 5, 2 / 6, 4 / 8, 6 / 9])


@pytest.mark.parametrize(
    ("wanted", "threshold"),
    [
        (Wanted(), 0.25),  # all of them: F1 is 2/3; halfway to 0
        (Wanted(precision=0.6), 0.25),
        (Wanted(precision=0.61), 0.85),
        (Wanted(recall=0.25), 0.85),
        (Wanted(recall=0.5), 0.25),  # .5 at .7, and .6 from .5 on
        (Wanted(precision=0.5, recall=0.5), 0.25),
        (Wanted(recall=0.76), None),
        (Wanted(precision=0.9, recall=0.5), None),
    ],
)
def test_the_threshold_for_what_is_wanted(wanted: Wanted, threshold: float | None) -> None:
    assert curve().threshold(wanted) == (None if threshold is None else pytest.approx(threshold))


def test_without_a_correct_detection_there_is_no_threshold() -> None:
    assert curve(((0.9, FALSE),)).threshold() is None
    assert curve(()).threshold() is None


row = st.tuples(st.integers(1, 9).map(lambda n: n / 10), st.sampled_from([TRUE, FALSE]))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(row, max_size=8), st.floats(0.1, 1), st.booleans())
def test_no_other_threshold_is_better(rows: list[tuple[float, int]], least: float, by_precision: bool) -> None:
    """Every threshold between 0 and 1 is tried."""
    one = curve(tuple(sorted(rows, reverse=True)), objects=8)
    chosen = one.threshold(Wanted(precision=least) if by_precision else Wanted(recall=least))
    points = []
    for threshold in np.arange(0.05, 1, 0.1):
        right = sum(1 for score, kind in rows if score >= threshold and kind == TRUE)
        kept = sum(1 for score, _ in rows if score >= threshold)
        if right:
            points.append((right / kept, right / 8) if by_precision else (right / 8, right / kept))
    best = max((goal for have, goal in points if have >= least - 1e-9), default=None)
    if chosen is None:
        assert best is None
        return
    correct, false = one.at(chosen)
    assert best == pytest.approx(correct / 8 if by_precision else correct / (correct + false))


def test_calibrated_scores_have_no_error() -> None:
    scores = np.full(10, 0.8, np.float32)
    result = calibration(scores, np.arange(10) < 8)
    assert result.error == pytest.approx(0, abs=1e-6)
    assert [(one.low, one.detections) for one in result.bins if one.detections] == [(0.8, 10)]
    assert result.probability(np.array([0.1, 0.8], np.float32)).tolist() == pytest.approx([0.8, 0.8])


def test_scores_that_are_too_high_are_off_by_their_distance() -> None:
    scores = np.array([0.95] * 4 + [0.35] * 4, np.float32)
    right = np.array([1, 1, 0, 0, 0, 0, 0, 1], np.bool_)  # 50 % and 25 %
    result = calibration(scores, right)
    assert result.error == pytest.approx((0.45 + 0.10) / 2, abs=1e-6)
    assert result.points == ((0.35, 0.25), (0.95, 0.5))


def test_calibration_never_falls() -> None:
    result = calibration(np.array([0.2, 0.9], np.float32), np.array([True, False]))
    assert [share for _, share in result.points] == [0.5, 0.5]


def test_without_detections_nothing_is_known() -> None:
    result = calibration(np.empty(0, np.float32), np.empty(0, np.bool_))
    assert (result.error, result.points) == (None, ())
    assert np.isnan(result.probability(np.array([0.5], np.float32))).all()
