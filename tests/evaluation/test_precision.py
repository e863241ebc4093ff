"""PASCAL VOC's average precision, against hand-computed cases, the devkit's rules and published figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.evaluation.scores import mean_ap, mean_ap07, voc_score
from tests.strategies import examples
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.precision import average_precision_11, average_precision_area

if TYPE_CHECKING:
    from tests.evaluation.conftest import Box, Make, ReadCase

A, B, C = (0, 0, 10, 10), (50, 0, 60, 10), (0, 50, 10, 60)


def test_two_of_three_found_after_a_false_one(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", A), ("cat", B)], [("cat", C)]])
    found = make.found(["cat"], [[("cat", 0.8, A), ("cat", 0.9, C)], [("cat", 0.7, C)]])
    score = voc_score(truth, found)
    # After each detection: precision 0, 1/2, 2/3 at recall 0, 1/3, 2/3; the best from every point on is 2/3.
    assert mean_ap(score) == pytest.approx(2 / 3 * 2 / 3)
    assert mean_ap07(score) == pytest.approx(7 * 2 / 3 / 11)  # recalls 0, .1, .. .6


def test_a_detection_whose_best_object_is_taken_is_false_though_another_is_free(make: Make) -> None:
    near = (0, 0, 10, 11)  # overlaps (0, 0, 10, 10) by 10/11 and (0, 3, 10, 13) by 8/13
    truth = make.truth(["cat"], [[("cat", A), ("cat", (0, 3, 10, 13))]])
    found = make.found(["cat"], [[("cat", 0.9, A), ("cat", 0.8, near)]])
    assert mean_ap(voc_score(truth, found)) == pytest.approx(0.5)


def test_of_equal_overlaps_the_first_object_is_meant(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", (0, 1, 10, 11)), ("cat", (0, 3, 10, 13))]])
    found = make.found(["cat"], [[("cat", 0.9, (0, 2, 10, 12)), ("cat", 0.8, (0, 0, 10, 10))]])
    assert mean_ap(voc_score(truth, found)) == pytest.approx(0.5)  # the second one's object is taken


def test_the_overlap_may_equal_the_threshold(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", A)]])
    half = make.found(["cat"], [[("cat", 0.9, (0, 0, 10, 5))]])
    assert mean_ap(voc_score(truth, half, iou=0.5)) == 1
    assert mean_ap(voc_score(truth, half, iou=0.51)) == 0


def test_inclusive_adds_a_pixel_to_widths_and_heights(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", (1, 1, 10, 10))]])  # 10 x 10 pixels in the devkit's numbers
    found = make.found(["cat"], [[("cat", 0.9, (1, 1, 10, 5))]])  # 10 x 5 pixels
    assert mean_ap(voc_score(truth, found, inclusive=True)) == 1
    assert mean_ap(voc_score(truth, found)) == 0  # 9 x 4 of 9 x 9


def test_difficult_objects_are_neither_found_nor_missed(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", A), ("cat", B, "difficult")]])
    found = make.found(["cat"], [[("cat", 0.9, B), ("cat", 0.8, B), ("cat", 0.7, A)]])
    assert mean_ap(voc_score(truth, found)) == 1
    assert mean_ap(voc_score(truth, make.found(["cat"], [[("cat", 0.7, A)]]))) == 1


def test_detections_inside_a_crowd_are_not_false_positives(make: Make) -> None:
    truth = make.truth(["cat"], [[("cat", (100, 100, 300, 300), "crowd"), ("cat", A)]])
    found = make.found(["cat"], [[("cat", 0.9, (120, 120, 140, 140)), ("cat", 0.8, A)]])
    assert mean_ap(voc_score(truth, found)) == 1


def test_a_label_that_is_never_found_counts_0_and_one_without_objects_does_not_count(make: Make) -> None:
    labels = ["bird", "cat", "dog"]
    truth = make.truth(labels, [[("cat", A), ("dog", B)]])
    score = voc_score(truth, make.found(labels, [[("cat", 0.9, A), ("bird", 0.9, C)]]))
    assert np.array_equal(score.ap, [np.nan, 1, 0], equal_nan=True)
    assert mean_ap(score) == mean_ap07(score) == 0.5


def test_no_objects_at_all_have_no_average_precision(make: Make) -> None:
    score = voc_score(make.truth(["cat"], [[]]), make.found(["cat"], [[("cat", 0.9, A)]]))
    assert mean_ap(score) is None
    assert mean_ap07(score) is None


def test_a_recall_of_3_in_10_does_not_reach_the_devkits_fourth_point() -> None:
    recall, precision = np.array([0.1, 0.2, 0.3]), np.ones(3)
    assert average_precision_11(recall, precision) == pytest.approx(3 / 11)
    assert average_precision_area(recall, precision) == pytest.approx(0.3)


def test_a_label_the_dataset_does_not_have_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match=r"label 1\.\.1 of 1 labels"):
        voc_score(make.truth(["cat"], [[]]), make.found(["cat", "dog"], [[("dog", 0.9, A)]]))


def test_a_score_that_is_not_a_number_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="not finite"):
        voc_score(make.truth(["cat"], [[]]), make.found(["cat"], [[("cat", float("nan"), A)]]))


def devkit(truth: Dataset, found: Sequence[Detections], label: int, iou: float) -> tuple[float, float]:
    """VOCdevkit/VOCcode/VOCevaldet.m line by line, for one label with objects and half-open boxes: AP 2007, 2010."""
    lines = [
        (image, float(one.scores[i]), one.boxes[i])
        for image, one in enumerate(found)
        for i in np.flatnonzero(one.labels == label)
    ]
    lines = [lines[i] for i in np.argsort([-score for _, score, _ in lines], kind="stable")]
    samples = [truth[image].objects.take(truth[image].objects.label == label) for image in range(len(truth))]
    detected = [np.zeros(len(sample), bool) for sample in samples]
    tp, fp = np.zeros(len(lines)), np.zeros(len(lines))
    for d, (image, _, bb) in enumerate(lines):
        ovmax, jmax = -np.inf, -1
        for j, bbgt in enumerate(samples[image].box):
            iw = min(bb[2], bbgt[2]) - max(bb[0], bbgt[0])
            ih = min(bb[3], bbgt[3]) - max(bb[1], bbgt[1])
            if iw > 0 and ih > 0:
                ua = (bb[2] - bb[0]) * (bb[3] - bb[1]) + (bbgt[2] - bbgt[0]) * (bbgt[3] - bbgt[1]) - iw * ih
                if iw * ih / ua > ovmax:
                    ovmax, jmax = iw * ih / ua, j
        if ovmax >= iou:
            if not samples[image].difficult[jmax]:
                tp[d], fp[d] = not detected[image][jmax], detected[image][jmax]
                detected[image][jmax] = True
        else:
            fp[d] = 1
    npos = sum(int((~sample.difficult).sum()) for sample in samples)
    return devkit_ap(np.cumsum(tp), np.cumsum(fp), npos)


def devkit_ap(tp: NDArray[np.float64], fp: NDArray[np.float64], npos: int) -> tuple[float, float]:
    rec = tp / npos
    prec = np.array([t / (t + f) if t + f else 0.0 for t, f in zip(tp, fp, strict=True)])
    ap07 = sum(max(prec[rec >= i * 0.1], default=0.0) / 11 for i in range(11))
    mrec, mpre = [0.0, *rec, 1.0], [0.0, *prec, 0.0]
    for i in range(len(mpre) - 2, -1, -1):
        mpre[i] = max(mpre[i], mpre[i + 1])
    return float(ap07), float(sum((mrec[i] - mrec[i - 1]) * mpre[i] for i in range(1, len(mrec))))


corner = st.integers(0, 6)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), corner, corner, st.integers(1, 6), st.integers(1, 6))
labels = st.sampled_from(["cat", "dog"])
scores = st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
objects = st.tuples(labels, boxes, st.sampled_from(["", "", "difficult"]))
samples = st.tuples(st.lists(objects, max_size=5), st.lists(st.tuples(labels, scores, boxes), max_size=8))


@settings(deadline=None, max_examples=examples(150))
@given(images=st.lists(samples, max_size=4), iou=st.sampled_from([0.1, 0.3, 0.5, 0.75]))
def test_equals_the_devkit(
    make: Make,
    images: list[tuple[list[tuple[str, Box, str]], list[tuple[str, float, Box]]]],
    iou: float,
) -> None:
    truth = make.truth(["cat", "dog"], [image[0] for image in images])
    found = make.found(["cat", "dog"], [image[1] for image in images])
    score = voc_score(truth, found, iou=iou)
    for label in range(2):
        if ((truth.objects.label == label) & ~truth.objects.difficult).any():
            expected = devkit(truth, found, label, iou)
            assert (score.ap07[label], score.ap[label]) == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(score.ap[label])


def test_published_figures_of_object_detection_metrics(shared: Path, read_case: ReadCase) -> None:
    case = read_case(shared / "data/fixtures/parity/f03_odm_sample2")
    for iou, expected in case.expected["octave_vocdevkit"].items():
        score = voc_score(case.truth, case.found, iou=float(iou), inclusive=True)
        assert score.ap07[0] == pytest.approx(expected["voc07"], abs=1e-12)
        assert score.ap[0] == pytest.approx(expected["voc10"], abs=1e-12)
        assert score.ap07[0] == pytest.approx(case.expected["voc07_11point"][iou], abs=1e-10)
        assert score.ap[0] == pytest.approx(case.expected["voc10_area"][iou], abs=1e-10)


def test_published_figures_of_the_review_papers_toy_example(shared: Path, read_case: ReadCase) -> None:
    case = read_case(shared / "data/fixtures/parity/f05_review_toyexample")
    for iou, expected in case.expected["octave_means"].items():
        score = voc_score(case.truth, case.found, iou=float(iou), inclusive=True)
        assert mean_ap07(score) == pytest.approx(expected["mAP07"], abs=1e-12)
        assert mean_ap(score) == pytest.approx(expected["mAP10"], abs=1e-12)


def test_published_figures_of_cartucho(shared: Path, read_case: ReadCase) -> None:
    case = read_case(shared / "data/fixtures/parity/f06_cartucho_sample")
    score = voc_score(case.truth, case.found, inclusive=True)
    expected = case.expected["octave_vocdevkit"]
    assert set(expected) == set(case.truth.labels)
    for name, ap07, ap in zip(case.truth.labels, score.ap07, score.ap, strict=True):
        if expected[name]["npos"]:
            assert ap07 == pytest.approx(expected[name]["ap07"], abs=1e-12)
            assert ap == pytest.approx(expected[name]["ap10"], abs=1e-12)
            assert ap == pytest.approx(case.expected["cartucho_main_py"]["per_class"][name], abs=5.1e-5)
        else:
            assert np.isnan(ap)
    assert mean_ap(score) == pytest.approx(case.expected["octave_means"]["mAP10"], abs=1e-12)
    assert mean_ap07(score) == pytest.approx(case.expected["octave_means"]["mAP07"], abs=1e-12)


def test_published_figures_of_tensorflows_pascal_case(shared: Path, read_case: ReadCase) -> None:
    case = read_case(shared / "data/fixtures/parity/f10_tf_pascal")
    score = voc_score(case.truth, case.found)
    expected = case.expected["voc10_area@0.5"]
    assert score.ap == pytest.approx([expected[name] for name in case.truth.labels], abs=1e-8)
    assert mean_ap(score) == pytest.approx(expected["mAP"], abs=1e-8)
