"""Intervals over images: every resample's figures are those of the dataset of its images."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.evaluation.scores import coco_score
from vocdet.boxes import area
from vocdet.data.dataset import Dataset, Objects
from vocdet.data.detections import Detections
from vocdet.evaluation import bootstrap as paired_module
from vocdet.evaluation import resamples as module
from vocdet.evaluation.bootstrap import Interval, bootstrap, paired_difference, paired_test
from vocdet.evaluation.coco_score import score_pairs
from vocdet.evaluation.matching import box_pairs, match_voc, stack
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.evaluation.resamples import Resampling

if TYPE_CHECKING:
    from tests.evaluation.conftest import Make

LABELS = ("cat", "dog", "owl")


@pytest.fixture
def samples(make: Make) -> tuple[Dataset, list[Detections]]:
    """Nine images with cats, dogs, difficult and crowds; all scores are different. Owls are found, but there are none."""
    numbers = np.random.default_rng(3)
    objects: list[list[tuple[Any, ...]]] = []
    found: list[list[tuple[str, float, Any]]] = []
    for _ in range(9):
        objects.append([])
        found.append([])
        for _ in range(numbers.integers(1, 9)):
            low = numbers.uniform(0, 300, 2)
            box = np.concatenate([low, low + numbers.uniform(20, 200, 2)])
            name, flag = (
                numbers.choice(LABELS[:2], p=[0.8, 0.2]),
                numbers.choice(["", "difficult", "crowd"], p=[0.8, 0.1, 0.1]),
            )
            objects[-1].append((str(name), tuple(box), str(flag)))
            for _ in range(numbers.integers(0, 4)):
                moved = box + numbers.normal(0, 12, 4)
                found[-1].append((str(name), numbers.random(), tuple(moved)))
        found[-1].append(("owl", numbers.random(), (0.0, 0.0, 9.0, 9.0)))
    return make.truth(LABELS, objects), make.found(LABELS, found)


def interval_of(objects: Objects, found: list[Detections], drawing: Resampling) -> Interval:
    """The interval of the averages."""
    table = stack(found, len(LABELS))
    pairs = box_pairs(objects, table, floor=0.5)
    voc = match_voc(pairs, objects, len(table), 0.5).outcome
    coco = score_pairs(pairs, table, objects, len(LABELS), area(objects.box))
    return bootstrap(coco, voc, table, objects, drawing, len(LABELS))


def drawn(truth: Dataset, found: list[Detections], images: np.ndarray[Any, Any], make: Make) -> dict[str, float | None]:
    """The figures of the dataset of these images, some of them many times."""
    objects = [
        [
            (LABELS[k], box, "difficult" if difficult else "crowd" if crowd else "")
            for k, box, difficult, crowd in zip(
                sample.objects.label, sample.objects.box, sample.objects.difficult, sample.objects.crowd, strict=True
            )
        ]
        for sample in (truth[int(i)] for i in images)
    ]
    return coco_score(make.truth(LABELS, objects), [found[int(i)] for i in images]).summary


def test_the_bounds_are_percentiles_of_the_figures_of_datasets_of_the_drawn_images(
    samples: tuple[Dataset, list[Detections]], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, found = samples
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 300)  # several pieces
    done = interval_of(truth.objects, found, Resampling(len(truth), 40, 5))
    numbers = np.random.default_rng(5)
    figures = [drawn(truth, found, numbers.integers(0, 9, 9), make) for _ in range(40)]
    for name in done.bounds:
        expected = np.percentile([value for one in figures if (value := one[name]) is not None], (2.5, 97.5))
        assert done.bounds[name] == pytest.approx(expected.tolist(), abs=1e-12)
    low, high = done.bounds["AP"] or (1, 0)
    assert 0 < low < high < 1


def test_the_metric_of_all_images_is_within_the_interval(samples: tuple[Dataset, list[Detections]]) -> None:
    report = evaluate(*samples, resamples=200)
    assert report.interval is not None
    assert (report.interval.share, report.interval.resamples, report.interval.seed) == (0.95, 200, 0)
    for name, value in report.coco.items():
        bounds = report.interval.bounds[name]
        assert (bounds is None) == (value is None)
        assert bounds is None or bounds[0] < (value or 0) < bounds[1] or not value, name


def test_the_same_seed_gives_the_same_interval(samples: tuple[Dataset, list[Detections]]) -> None:
    first, again, other = (evaluate(*samples, resamples=30, seed=seed).interval for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_it_narrows_with_more_images(samples: tuple[Dataset, list[Detections]]) -> None:
    truth, found = samples
    many = truth.subset(np.arange(9)), found
    width = []
    for times in (1, 9):
        rows = np.tile(np.arange(9), times)
        objects = _repeated(many[0], times)
        done = interval_of(objects, [found[i] for i in rows], Resampling(9 * times, 200))
        low, high = done.bounds["AP"] or (0, 0)
        width.append(high - low)
    assert width[1] == pytest.approx(width[0] / 3, rel=0.3)  # as one over the root of nine


def _repeated(truth: Dataset, times: int) -> Any:
    objects = truth.objects
    rows = np.tile(np.arange(len(objects)), times)
    return objects.take(rows, objects.image[rows] + 9 * np.repeat(np.arange(times), len(objects)))


def test_masks_have_an_interval_of_their_own(make: Make) -> None:
    mask = json.dumps([[10, 10, 50, 10, 50, 50, 10, 50]]).encode()
    half = json.dumps([[10, 10, 50, 10, 50, 34, 10, 34]]).encode()  # of an IoU of .6
    box = (10.0, 10.0, 50.0, 50.0)
    truth = make.truth(("cat",), [[("cat", box)]] * 6, masks=[[mask]] * 6)
    found = make.found(("cat",), [[("cat", 0.9 - i / 10, box)] for i in range(6)], masks=[[mask]] * 3 + [[half]] * 3)
    report = evaluate(truth, found, resamples=100)
    assert report.interval is not None
    assert report.interval.bounds["AP"] == pytest.approx((1, 1))
    assert report.masks is not None
    assert report.masks.interval is not None
    low, high = report.masks.interval.bounds["AP"] or (0, 0)
    assert 0 < low < (report.masks.overall.ap or 0) < high <= 1
    read = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert read["interval"]["bounds"]["AP50"] == pytest.approx([1, 1])
    assert read["masks"]["interval"]["bounds"]["AP"] == [low, high]


@pytest.mark.parametrize("images", [0, 3])
def test_where_there_is_nothing_to_find_there_are_no_bounds(make: Make, images: int) -> None:
    report = evaluate(make.truth(LABELS, [[]] * images), make.found(LABELS, [[]] * images), resamples=5)
    assert report.interval is not None
    assert set(report.interval.bounds.values()) == {None}


def test_without_detections_the_bounds_are_0(make: Make) -> None:
    truth = make.truth(LABELS, [[("cat", (0.0, 0.0, 9.0, 9.0))], []])
    report = evaluate(truth, make.found(LABELS, [[], []]), resamples=20)
    assert report.interval is not None
    larger = {"APm", "APl", "ARm", "ARl"}
    assert report.interval.bounds == {name: None if name in larger else (0.0, 0.0) for name in report.coco}


def found_in(count: int, images: int, make: Make) -> list[Detections]:
    """The object of each of the first `count` images, and nothing in the others."""
    return make.found(LABELS, [[("cat", 0.9, (0.0, 0.0, 50.0, 50.0))] if i < count else [] for i in range(images)])


@pytest.mark.parametrize(
    ("before", "after", "lowest"),
    [
        (6, 12, (0.1, 0.4)),  # a resample without any of six images: 1 in 4,096
        (11, 12, (0.0, 0.0)),  # without the one image: (11/12)^12, a third of all resamples
        (12, 6, (-0.9, -0.6)),
        (7, 7, (0.0, 0.0)),
    ],
)
def test_a_difference_is_certain_where_many_images_show_it(
    make: Make, before: int, after: int, lowest: tuple[float, float]
) -> None:
    truth = make.truth(LABELS, [[("cat", (0.0, 0.0, 50.0, 50.0), "")]] * 12)
    bounds = paired_difference(truth, found_in(before, 12, make), found_in(after, 12, make), "AP50")
    assert bounds is not None
    assert lowest[0] - 1e-12 <= bounds[0] <= lowest[1] + 1e-12


def test_a_difference_is_of_the_same_drawn_images(
    samples: tuple[Dataset, list[Detections]], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, found = samples
    fewer = [one.above(np.full(len(LABELS), 0.5, np.float32)) for one in found]
    monkeypatch.setattr(paired_module, "RESAMPLES", 40)
    bounds = paired_difference(truth, fewer, found, "AP", seed=5)
    numbers = np.random.default_rng(5)
    both = [[drawn(truth, each, images, make)["AP"] or 0.0 for each in (fewer, found)]
            for images in (numbers.integers(0, 9, 9) for _ in range(40))]  # fmt: skip
    expected = np.percentile([after - before for before, after in both], (2.5, 97.5))
    assert bounds == pytest.approx(expected.tolist(), abs=1e-12)


def test_every_figure_of_a_label_has_an_interval(
    samples: tuple[Dataset, list[Detections]], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, found = samples
    limits = np.array([0.3, 0.4, 0.9], np.float32)
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", 300)
    report = evaluate(truth, found, thresholds=limits, resamples=25, seed=5)
    interval = report.interval
    assert interval is not None
    numbers = np.random.default_rng(5)
    drawn: list[EvalReport] = []
    for _ in range(25):
        rows = numbers.integers(0, 9, 9)
        objects = _repeated_rows(truth, rows)
        drawn.append(evaluate(replace(truth, objects=objects), [found[i] for i in rows], thresholds=limits))
    for i, bounds in enumerate((*interval.labels, interval.overall)):
        rows_of = [(*one.labels, one.overall)[i] for one in drawn]
        for name, known in bounds.items():
            values = [value for row in rows_of if (value := getattr(row, name)) is not None]
            expected = np.percentile(values, (2.5, 97.5)).tolist() if values else None
            assert known == (None if expected is None else pytest.approx(expected, abs=1e-12)), (i, name)
    assert interval.overall.keys() == asdict(report.overall).keys() - {"images", "objects", "difficult"}
    assert interval.bounds.keys() == report.coco.keys()
    assert interval.labels[2]["ap50"] is None  # no owl


def percentiles(values: list[float | None]) -> Any:
    """The bounds that these values of the resamples should have."""
    known = [value for value in values if value is not None]
    return pytest.approx(np.percentile(known, (2.5, 97.5)).tolist(), abs=1e-9) if known else None


def test_errors_groups_calibration_and_false_alarms_have_intervals(make: Make) -> None:
    numbers = np.random.default_rng(11)
    objects, found = [], []
    for image in range(12):
        boxes = [np.concatenate([low, low + size]) for low, size in numbers.uniform(9, 200, (image % 4, 2, 2))]
        objects.append([(str(numbers.choice(LABELS)), tuple(box)) for box in boxes])
        near = [box + numbers.normal(0, 9, 4) for box in boxes for _ in range(numbers.integers(3))]
        near += [np.array([0.0, 0.0, 20.0, 20.0])] * int(numbers.integers(3))
        found.append([(str(numbers.choice(LABELS)), numbers.random(), tuple(box)) for box in near])
    truth, detected = make.truth(LABELS, objects), make.found(LABELS, found)
    limits = np.full(3, 0.3, np.float32)
    report = evaluate(truth, detected, thresholds=limits, resamples=20, seed=7)
    interval, numbers = report.interval, np.random.default_rng(7)
    assert interval is not None
    drawn: list[EvalReport] = []
    for _ in range(20):
        rows = numbers.integers(0, 12, 12)
        subset = replace(truth, objects=_repeated_rows(truth, rows))
        drawn.append(evaluate(subset, [detected[i] for i in rows], thresholds=limits))
    for kind, bounds in interval.errors.items():
        assert bounds["ap50"] == percentiles([one.errors.costs[kind] for one in drawn]), kind
        assert bounds["count"] == percentiles([one.errors.counts()[kind] for one in drawn]), kind
    for i, group in enumerate(report.recall_groups):
        assert interval.recall[i] == percentiles([one.recall_groups[i].recall for one in drawn]), group
    assert interval.calibration == percentiles([one.calibration.error for one in drawn])
    assert interval.false_alarms.keys() == {"alarmed", "detections", "per_image"}
    for name, known in interval.false_alarms.items():
        assert known == percentiles([getattr(one.false_alarms, name) for one in drawn]), name


def _repeated_rows(truth: Dataset, images: np.ndarray[Any, Any]) -> Any:
    """The objects of these images, as those of the first, second, .. image."""
    mine = [np.flatnonzero(truth.objects.image == image) for image in images]
    return truth.objects.take(np.concatenate(mine), np.repeat(np.arange(len(images)), [len(one) for one in mine]))


def test_a_paired_test_draws_seeds_as_well_as_images() -> None:
    numbers = np.random.default_rng(0)
    images = numbers.normal(0.5, 0.05, 1000)  # the same for all
    bounds, p = paired_test(images[None], images[None] + 0.02)
    assert bounds == pytest.approx((0.02, 0.02))
    assert p == pytest.approx(2 / 1001)
    seeds = np.array([[0.0], [0.03], [0.06]])
    bounds, p = paired_test(images + seeds, images + seeds + 0.01)
    assert bounds is not None
    assert p is not None
    assert bounds[0] < -0.02 < 0.04 < bounds[1]  # the seeds differ more than the runs
    assert p > 0.3
    assert paired_test(np.full((1, 9), np.nan), images[None, :9]) == (None, None)
