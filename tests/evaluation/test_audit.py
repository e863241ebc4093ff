"""Mistakes of annotations that detections reveal; the damage is made here."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.evaluation.conftest import Box, Make
from vocdet.evaluation.audit import find_mistakes

LABELS = ("cat", "dog")
BOX: Box = (50.0, 50.0, 150.0, 150.0)
FAR: Box = (300.0, 300.0, 400.0, 400.0)
MOVED: Box = (90.0, 90.0, 190.0, 190.0)  # IoU .22 with BOX
CLOSE: Box = (52.0, 50.0, 152.0, 150.0)

GOOD = [[("cat", BOX), ("dog", FAR)]] * 8
FOUND = [[("cat", 0.5 + 0.05 * i, CLOSE), ("dog", 0.5 + 0.05 * i, FAR)] for i in range(8)]


def mistakes(
    truth: list[list[tuple[Any, ...]]], found: list[list[tuple[str, float, Box]]]
) -> list[tuple[str, int, int, str]]:
    """Kind, image, object and proposed label of the suspicions."""
    dataset = Make().truth(LABELS, [*GOOD, *truth])
    every = find_mistakes(dataset, Make().found(LABELS, [*FOUND, *found]))
    for kind in ("missing", "label", "box"):
        mine = [one.confidence for one in every if one.kind == kind]
        assert mine == sorted(mine, reverse=True)
    return [(one.kind, one.image, one.object, LABELS[one.label]) for one in every]


def test_nothing_is_suspected_of_good_annotations() -> None:
    assert mistakes([], []) == []


def test_a_sure_detection_without_an_object_is_a_missing_one() -> None:
    assert mistakes([[]], [[("cat", 0.84, BOX), ("dog", 0.8, CLOSE)]]) == [("missing", 8, -1, "cat")]


def test_an_unsure_detection_is_no_suspicion() -> None:
    assert mistakes([[]], [[("cat", 0.4, BOX)]]) == []


def test_a_surer_detection_of_another_label_doubts_the_label() -> None:
    assert mistakes([[("dog", BOX)]], [[("cat", 0.9, CLOSE)]]) == [("label", 8, 16, "cat")]
    assert mistakes([[("cat", BOX)]], [[("cat", 0.9, CLOSE), ("dog", 0.7, BOX)]]) == []


def test_a_box_that_fits_worse_than_all_others_is_doubted_and_nothing_is_missing_there() -> None:
    assert mistakes([[("cat", MOVED)]], [[("cat", 0.9, BOX)]]) == [("box", 8, 16, "cat")]


def test_difficult_objects_and_crowds_are_not_doubted() -> None:
    truth = [[("dog", BOX, "difficult")], [("cat", (0.0, 0.0, 400.0, 400.0), "crowd")]]
    assert mistakes(truth, [[("cat", 0.9, CLOSE)], [("cat", 0.9, FAR)]]) == []


def test_the_surest_is_the_most_confident() -> None:
    ranks = [one[1] for one in mistakes([[], [], []], [[("cat", score, BOX)] for score in (0.6, 0.85, 0.7)])]
    assert ranks == [9, 10, 8]


def test_a_label_without_correct_detections_is_left_alone() -> None:
    dataset = Make().truth(LABELS, [[]])
    assert find_mistakes(dataset, Make().found(LABELS, [[("cat", 0.9, BOX)]])) == []
    assert find_mistakes(dataset, Make().found(LABELS, [[]])) == []
    assert np.isfinite([one.confidence for one in find_mistakes(dataset, Make().found(LABELS, [[]]))]).all()


def test_kinds_take_turns() -> None:
    kinds = [one[0] for one in mistakes([[], [], [("dog", BOX)], [("cat", MOVED)]], [[("cat", 0.9, BOX)]] * 4)]
    assert kinds == ["label", "box", "missing", "missing"]


def test_a_label_that_is_often_seen_in_the_background_is_doubted_less() -> None:
    background = [("dog", 0.8, (10.0 + 60 * k, 420.0, 60.0 + 60 * k, 470.0)) for k in range(6)]
    every = mistakes([[], []], [[*background, ("cat", 0.8, BOX)], background])
    assert every[0] == ("missing", 8, -1, "cat")
