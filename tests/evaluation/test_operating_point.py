"""Thresholds, and what is correct, wrong and missed there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import examples
from vocdet.evaluation.matching import FALSE, TRUE, box_pairs, match_voc, stack
from vocdet.evaluation.operating_point import OperatingPoint, best_thresholds, operating_point
from vocdet.evaluation.precision import count_objects

if TYPE_CHECKING:
    from tests.evaluation.conftest import Box, Make

A, B, C, D = (0, 0, 10, 10), (50, 0, 60, 10), (0, 50, 10, 60), (50, 50, 60, 60)
LABELS = ("cat", "dog")


@pytest.fixture
def point_at(make: Make) -> PointAt:
    return PointAt(make)


class PointAt:
    """The operating point of one image at these thresholds."""

    def __init__(self, make: Make) -> None:
        self.make = make

    def __call__(
        self, objects: Sequence[tuple[object, ...]], found: Sequence[tuple[str, float, Box]], *thresholds: float
    ) -> OperatingPoint:
        truth = self.make.truth(LABELS, [objects])
        table = stack(self.make.found(LABELS, [found]), 2)
        match = match_voc(box_pairs(truth.objects, table, floor=0.5), truth.objects, len(table), 0.5)
        limits = np.array(thresholds or (0.5, 0.5), np.float32)
        return operating_point(truth.objects, table, match, limits)


def test_a_detection_on_an_object_is_correct(point_at: PointAt) -> None:
    point = point_at([("cat", A), ("dog", B)], [("cat", 0.9, A), ("dog", 0.9, B)])
    assert [*point.correct, *point.wrong, *point.missed, *point.false] == [1, 1, 0, 0, 0, 0, 0, 0]


def test_an_object_under_another_label_is_wrong(point_at: PointAt) -> None:
    point = point_at([("cat", A)], [("dog", 0.9, A)])
    assert [*point.correct, *point.wrong, *point.missed, *point.false] == [0, 0, 1, 0, 0, 0, 0, 1]


def test_an_object_that_is_hit_badly_is_wrong_and_one_hardly_touched_is_missed(point_at: PointAt) -> None:
    assert point_at([("cat", A)], [("cat", 0.9, (0, 0, 10, 4))]).wrong[0] == 1  # IoU .4
    assert point_at([("cat", A)], [("cat", 0.9, (0, 9, 10, 19))]).missed[0] == 1  # IoU .05


def test_a_detection_is_held_against_the_object_it_overlaps_most_alone(point_at: PointAt) -> None:
    between = (0, 0, 10, 14)  # IoU 10/14 with A and 4/20 with the one below
    point = point_at([("cat", A), ("cat", (0, 10, 10, 20))], [("cat", 0.9, A), ("cat", 0.8, between)])
    assert (point.correct[0], point.wrong[0], point.missed[0], point.false[0]) == (1, 0, 1, 1)


def test_detections_below_the_threshold_of_their_label_do_not_count(point_at: PointAt) -> None:
    objects, found = [("cat", A), ("dog", B)], [("cat", 0.6, A), ("dog", 0.6, B), ("dog", 0.6, C)]
    point = point_at(objects, found, 0.7, 0.6)
    assert [*point.correct, *point.wrong, *point.missed, *point.false] == [0, 1, 0, 0, 1, 0, 0, 1]


def test_difficult_objects_and_crowds_are_in_no_count(point_at: PointAt) -> None:
    objects = [("cat", A, "difficult"), ("cat", (100, 100, 300, 300), "crowd")]
    point = point_at(objects, [("dog", 0.9, A), ("cat", 0.9, (110, 110, 130, 130))])
    assert [*point.correct, *point.wrong, *point.missed, *point.false] == [0, 0, 0, 0, 0, 0, 0, 1]


def test_a_crowd_region_does_not_hide_the_object_that_is_hit_badly(point_at: PointAt) -> None:
    objects = [("cat", (0, 0, 5, 10), "crowd"), ("cat", (8, 0, 18, 10))]
    point = point_at(objects, [("cat", 0.9, (0, 0, 12, 10))])  # 5/12 in the crowd, IoU 4/18 with the cat
    assert (point.wrong[0], point.missed[0]) == (1, 0)


def thresholds_of(make: Make, objects: int, outcomes: list[tuple[float, int]]) -> float:
    """The threshold for one label with so many objects and detections of these scores and outcomes."""
    table = stack(make.found(["cat"], [[("cat", score, A) for score, _ in outcomes]]), 1)
    outcome = np.array([kind for _, kind in sorted(outcomes, key=lambda pair: -pair[0])], np.int8)
    return float(best_thresholds(table, outcome, np.array([objects]))[0])


def test_the_threshold_is_halfway_to_the_next_detection(make: Make) -> None:
    assert thresholds_of(make, 2, [(0.75, TRUE), (0.5, TRUE), (0.25, FALSE)]) == 0.375


def test_the_threshold_is_half_of_the_last_score_when_all_are_kept(make: Make) -> None:
    assert thresholds_of(make, 1, [(0.5, TRUE)]) == 0.25


def test_of_equal_f1_the_highest_threshold_is_taken(make: Make) -> None:
    # 1 of 1 for 2 objects and 2 of 4 for 2 objects: F1 2/3 both times.
    assert thresholds_of(make, 2, [(1.0, TRUE), (0.5, FALSE), (0.4, FALSE), (0.3, TRUE)]) == 0.75


def test_equal_scores_are_kept_or_dropped_together(make: Make) -> None:
    outcomes = [(1.0, TRUE), (0.5, FALSE), (0.5, FALSE), (0.5, FALSE), (0.5, FALSE), (0.5, TRUE)]
    assert thresholds_of(make, 2, outcomes) == 0.75


def test_a_threshold_between_neighboring_numbers_still_keeps_the_upper_one(make: Make) -> None:
    upper = np.float32(0.5)
    lower = np.nextafter(upper, np.float32(0))
    assert thresholds_of(make, 1, [(float(upper), TRUE), (float(lower), FALSE)]) == upper


def test_scores_below_0_have_a_threshold_too(make: Make) -> None:
    assert thresholds_of(make, 1, [(-2.0, TRUE)]) == -2.0


def test_a_label_of_which_nothing_is_found_gets_the_default(make: Make) -> None:
    assert thresholds_of(make, 1, [(0.9, FALSE)]) == pytest.approx(0.5)
    assert thresholds_of(make, 0, []) == pytest.approx(0.5)


grid = st.integers(0, 4).map(lambda n: 5 * n)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), grid, grid, st.just(10), st.sampled_from([10, 15]))
labels = st.sampled_from(LABELS)


@settings(deadline=None, max_examples=examples(100))
@given(
    objects=st.lists(st.tuples(labels, boxes, st.sampled_from(["", "difficult"])), max_size=5),
    found=st.lists(st.tuples(labels, st.sampled_from([0.2, 0.4, 0.6, 0.8]), boxes), max_size=8),
)
def test_no_cut_has_a_better_f1_and_every_object_is_counted_once(
    make: Make, objects: list[tuple[str, Box, str]], found: list[tuple[str, float, Box]]
) -> None:
    truth = make.truth(LABELS, [objects])
    table = stack(make.found(LABELS, [found]), 2)
    match = match_voc(box_pairs(truth.objects, table, floor=0.5), truth.objects, len(table), 0.5)
    count = count_objects(truth.objects, 2)

    def f1(point: OperatingPoint, label: int) -> float:
        kept = point.correct[label] + point.false[label]
        return float(2 * point.correct[label] / max(kept + count[label], 1))

    best = operating_point(truth.objects, table, match, best_thresholds(table, match.outcome, count))
    assert (best.correct + best.wrong + best.missed == count).all()
    assert (np.stack([best.correct, best.wrong, best.missed, best.false]) >= 0).all()
    for cut in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        other = operating_point(truth.objects, table, match, np.full(2, cut, np.float32))
        assert all(f1(best, label) >= f1(other, label) for label in range(2))
