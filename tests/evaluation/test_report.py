"""The report of an evaluation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.evaluation.scores import coco_score, mean_ap, mean_ap07, voc_score
from vocdet.evaluation.report import evaluate

if TYPE_CHECKING:
    from tests.evaluation.conftest import Make

A, B, C = (0, 0, 10, 10), (50, 0, 60, 10), (0, 50, 10, 60)
LABELS = ("cat", "dog", "owl")
TRUTH = [
    [("cat", A), ("cat", B), ("dog", C, "difficult")],
    [("dog", A), ("dog", (100, 100, 300, 300), "crowd")],
    [],
]
FOUND = [
    [("cat", 0.75, A), ("dog", 0.5, B), ("dog", 0.5, C)],
    [("dog", 0.25, (0, 0, 10, 9)), ("dog", 0.5, (120, 120, 130, 130))],
    [("cat", 0.25, A), ("owl", 0.125, A)],
]


def test_a_row_for_every_label(make: Make) -> None:
    report = evaluate(make.truth(LABELS, TRUTH), make.found(LABELS, FOUND))
    cat, dog, owl = report.labels
    assert [row.label for row in report.labels] == list(LABELS)
    assert (cat.images, cat.objects, cat.difficult, cat.threshold) == (1, 2, 0, 0.5)
    assert (cat.precision, cat.recall) == (1, 0.5)
    assert cat.f1 == pytest.approx(2 / 3)
    assert (cat.correct, cat.wrong, cat.missed, cat.false) == (1, 1, 0, 0)  # B is taken for a dog
    assert (dog.images, dog.objects, dog.difficult, dog.threshold) == (1, 1, 2, 0.125)
    assert (dog.correct, dog.wrong, dog.missed, dog.false) == (1, 0, 0, 1)
    assert (owl.objects, owl.ap, owl.ap_voc, owl.recall, owl.f1, owl.precision) == (0, None, None, None, None, None)
    assert owl.threshold == 0.5
    assert report.thresholds.dtype == np.float32
    assert report.thresholds.tolist() == [0.5, 0.125, 0.5]


def test_all_labels_together(make: Make) -> None:
    report = evaluate(make.truth(LABELS, TRUTH), make.found(LABELS, FOUND))
    overall = report.overall
    assert report.images == 3
    assert (overall.images, overall.objects, overall.difficult) == (2, 3, 2)
    assert (overall.correct, overall.wrong, overall.missed, overall.false) == (2, 1, 0, 1)
    assert overall.precision == overall.recall == overall.f1 == pytest.approx(2 / 3)


def test_average_precision_is_that_of_the_protocols(make: Make) -> None:
    truth, found = make.truth(LABELS, TRUTH), make.found(LABELS, FOUND)
    report, voc, coco = evaluate(truth, found), voc_score(truth, found), coco_score(truth, found)
    assert report.coco == coco.summary
    assert report.overall.ap == coco.summary["AP"]
    assert report.overall.ap50 == coco.summary["AP50"]
    assert (report.overall.ap_voc, report.overall.ap_voc07) == (mean_ap(voc), mean_ap07(voc))
    for row, *values in zip(report.labels[:2], voc.ap07, voc.ap, coco.ap, coco.ap50, strict=False):
        assert [row.ap_voc07, row.ap_voc, row.ap, row.ap50] == values


def test_thresholds_that_are_given_are_used(make: Make) -> None:
    truth, found = make.truth(LABELS, TRUTH), make.found(LABELS, FOUND)
    report = evaluate(truth, found, thresholds=np.array([0.8, 0.5, 0.1], np.float32))
    assert report.thresholds.tolist() == pytest.approx([0.8, 0.5, 0.1])
    cat, dog, owl = report.labels
    assert (cat.correct, cat.wrong, cat.missed, cat.precision, cat.f1) == (0, 1, 1, None, 0)
    assert (dog.correct, dog.missed, dog.false) == (0, 1, 1)
    assert (owl.false, owl.precision) == (1, 0)
    assert report.coco == evaluate(truth, found).coco


def test_the_thresholds_keep_what_the_report_counts(make: Make) -> None:
    found = make.found(LABELS, FOUND)
    report = evaluate(make.truth(LABELS, TRUTH), found)
    kept = sum(len(one.above(report.thresholds)) for one in found)
    ignored = 2  # one in the crowd, one on the difficult dog
    assert kept == report.overall.correct + report.overall.false + ignored


def test_as_dict_is_plain_json_without_nan(make: Make) -> None:
    report = evaluate(make.truth(LABELS, TRUTH), make.found(LABELS, FOUND))
    text = json.dumps(report.as_dict(), allow_nan=False)
    read = json.loads(text)
    assert read["labels"][0]["label"] == "cat"
    assert read["labels"][2]["ap"] is None
    assert read["coco"] == report.coco
    assert read["overall"]["objects"] == 3


def test_nothing_at_all_can_be_evaluated(make: Make) -> None:
    report = evaluate(make.truth((), []), [])
    assert report.labels == ()
    assert set(report.coco.values()) == {None}
    assert report.overall.ap is None
    json.dumps(report.as_dict(), allow_nan=False)


def test_an_empty_model_finds_nothing(make: Make) -> None:
    report = evaluate(make.truth(LABELS, TRUTH), make.found(LABELS, [[], [], []]))
    assert (report.overall.missed, report.overall.ap, report.overall.ap_voc) == (3, 0, 0)
    assert report.overall.precision is None
    assert report.overall.f1 == 0


def test_wrong_numbers_of_images_and_thresholds_are_refused(make: Make) -> None:
    truth = make.truth(LABELS, TRUTH)
    with pytest.raises(ValueError, match="detections of 2 images for a dataset of 3"):
        evaluate(truth, make.found(LABELS, FOUND[:2]))
    with pytest.raises(ValueError, match="1 thresholds for 3 labels"):
        evaluate(truth, make.found(LABELS, FOUND), thresholds=np.array([0.5], np.float32))
