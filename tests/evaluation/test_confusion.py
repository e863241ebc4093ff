"""The laws of the confusion matrix, and recall by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.conftest import Make
from tests.evaluation.test_errors import LABELS, random_case
from vocdet.evaluation.report import evaluate

if TYPE_CHECKING:
    from vocdet.evaluation.report import EvalReport

THING, NEAR = (10.0, 10.0, 50.0, 50.0), (12.0, 10.0, 52.0, 50.0)
BESIDE, AWAY = (18.0, 10.0, 58.0, 50.0), (200.0, 200.0, 240.0, 240.0)  # IoU of BESIDE with THING: 32 / 48
NOTHING = [0, 0, 0, 0]


def check_laws(report: EvalReport) -> None:
    matrix = report.confusion.matrix
    rows = report.labels
    assert matrix.min() >= 0
    assert matrix[:-1].sum(axis=1).tolist() == [row.objects for row in rows]
    assert matrix[:, :-1].sum(axis=0).tolist() == [row.correct + row.false for row in rows]
    assert np.diag(matrix)[:-1].tolist() == [row.correct for row in rows]
    assert matrix[-1, -1] == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 10_000), st.floats(0, 1))
def test_rows_are_objects_and_columns_detections(seed: int, threshold: float) -> None:
    truth, found = random_case(seed)
    report = evaluate(truth, found, thresholds=np.full(3, threshold, np.float32))
    check_laws(report)
    for by in {group.by for group in report.recall_groups}:
        groups = [group for group in report.recall_groups if group.by == by]
        assert sum(group.objects for group in groups) == report.overall.objects
        assert sum(group.correct for group in groups) == report.overall.correct


def test_a_better_box_of_another_label_does_not_take_the_place_of_the_right_one(make: Make) -> None:
    truth = make.truth(LABELS, [[("cat", THING)]])
    report = evaluate(truth, make.found(LABELS, [[("dog", 0.9, THING), ("cat", 0.5, NEAR)]]))
    assert report.confusion.matrix.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_a_wrong_label_is_counted_once_although_nothing_is_right(make: Make) -> None:
    truth = make.truth(LABELS, [[("cat", THING)]])
    found = make.found(LABELS, [[("dog", 0.9, THING), ("owl", 0.8, NEAR)]])
    report = evaluate(truth, found, thresholds=np.full(3, 0.5, np.float32))
    assert report.confusion.matrix.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    check_laws(report)


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        pytest.param(  # the object is found once; its second detection is false
            [("cat", THING)], [("cat", 0.9, THING), ("cat", 0.8, NEAR)],
            [[1, 0, 0, 0], NOTHING, NOTHING, [1, 0, 0, 0]], id="a duplicate",
        ),
        pytest.param(  # one detection is wrong about one object only: the other is missed
            [("cat", THING), ("cat", BESIDE)], [("dog", 0.9, THING)],
            [[0, 1, 0, 1], NOTHING, NOTHING, NOTHING], id="a wrong label over two objects",
        ),
        pytest.param(  # both overlap their own object by .67, and the other exactly
            [("cat", THING), ("dog", BESIDE)], [("dog", 0.9, THING), ("cat", 0.9, BESIDE)],
            [[1, 0, 0, 0], [0, 1, 0, 0], NOTHING, NOTHING], id="better boxes of the other label",
        ),
        pytest.param(  # the dog overlaps the found cat more, but only the other is free to be its pair
            [("cat", THING), ("cat", BESIDE)], [("cat", 0.9, THING), ("dog", 0.8, NEAR)],
            [[1, 1, 0, 0], NOTHING, NOTHING, NOTHING], id="a wrong label beside a correct detection",
        ),
        pytest.param(  # an object far from the only detection: one missed, one false, neither lost
            [("cat", THING)], [("cat", 0.9, AWAY)],
            [[0, 0, 0, 1], NOTHING, NOTHING, [1, 0, 0, 0]], id="nothing overlaps",
        ),
        pytest.param([("cat", THING)], [], [[0, 0, 0, 1], NOTHING, NOTHING, NOTHING], id="no detection"),
        pytest.param([], [("owl", 0.9, THING)], [NOTHING, NOTHING, NOTHING, [0, 0, 1, 0]], id="no object"),
    ],
)  # fmt: skip
def test_every_object_and_every_detection_is_counted_once(
    make: Make, objects: list[Any], detections: list[Any], expected: list[list[int]]
) -> None:
    found = make.found(LABELS, [detections])
    report = evaluate(make.truth(LABELS, [objects]), found, thresholds=np.full(3, 0.5, np.float32))
    assert report.confusion.matrix.tolist() == expected
    check_laws(report)


def test_difficult_objects_and_their_detections_are_not_counted(make: Make) -> None:
    truth = make.truth(LABELS, [[("cat", THING, "difficult"), ("dog", (60.0, 60.0, 90.0, 90.0), "crowd")]])
    found = make.found(LABELS, [[("cat", 0.9, THING), ("dog", 0.9, (62, 62, 80, 80))]])
    assert not evaluate(truth, found, thresholds=np.full(3, 0.5, np.float32)).confusion.matrix.any()


def test_groups_of_objects(make: Make) -> None:
    small, wide = (100.0, 100.0, 120.0, 120.0), (200.0, 200.0, 400.0, 240.0)
    truth = make.truth(
        LABELS, [[("cat", small), ("cat", wide), ("dog", (0.0, 0.0, 40.0, 80.0)), ("dog", (5.0, 0.0, 45.0, 80.0))]]
    )
    report = evaluate(truth, make.found(LABELS, [[("cat", 0.9, small)]]))
    found = {(group.by, group.group): (group.objects, group.recall) for group in report.recall_groups}
    assert found["size", "small"] == (1, 1.0)
    assert found["shape", "wide"] == (1, 0.0)
    assert found["shape", "tall"][0] == 2
    assert found["crowding", "crowded"][0] == 2
    assert found["crowding", "alone"] == (2, 0.5)
    assert found["position", "edge"][0] == 2
    assert found["position", "middle"][0] == 1  # of 500 pixels, 300 is in the middle third
    assert found["truncated", "yes"] == (0, None)


def test_the_analysis_is_plain(make: Make) -> None:
    truth, found = random_case(1)
    analysis = evaluate(truth, found).analysis()
    assert set(analysis) == {"errors", "confusion", "recall", "calibration"}
    with pytest.raises(ValueError, match="without its detections"):
        _ = type(evaluate(truth, found))(1, (), evaluate(truth, found).overall, {}).errors
