"""Errors by kind and cost, as TIDE's own package has them.

`tide.json` holds what tidecv 1.0.1 (`TIDE().evaluate(truth, detections, mode=TIDE.BOX)`, values divided by 100) gives for
these cases: crowds as its ignored regions, images in their order, detections in the order of their scores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.evaluation.conftest import Make
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.evaluation.errors import KIND_NAMES, find_errors
from vocdet.evaluation.matching import stack

if TYPE_CHECKING:
    from tests.evaluation.conftest import ReadCase

CASES = ("f01_coco_val2014_fake100_bbox", "f03_odm_sample2", "f05_review_toyexample", "f06_cartucho_sample",
         "f09_torchmetrics_inputs")  # fmt: skip
LABELS = ("cat", "dog", "owl")
EXPECTED = json.loads((Path(__file__).parent / "tide.json").read_text(encoding="utf-8"))


def random_case(seed: int) -> tuple[Dataset, list[Detections]]:
    """25 images with overlapping objects, crowds, images without objects or detections, more than 100 in one image."""
    numbers = np.random.default_rng(seed)
    objects: list[list[tuple[Any, ...]]] = []
    found: list[list[tuple[str, float, Any]]] = []
    scores = numbers.permutation(3000) / 3000  # no two are equal
    used = 0
    for image in range(25):
        objects.append([])
        found.append([])
        for _ in range(numbers.integers(0, 6)):
            low = numbers.integers(0, 60, 2)
            box = (*map(float, low), *map(float, low + numbers.integers(10, 40, 2)))
            objects[-1].append((str(numbers.choice(LABELS)), box, *(("crowd",) if numbers.random() < 0.1 else ())))
        for label, box, *_ in objects[-1] * (int(numbers.integers(0, 4)) if image else 30):
            near = np.array(box) + numbers.integers(-6, 7, 4)
            other = str(numbers.choice(LABELS)) if numbers.random() < 0.3 else label
            found[-1].append((other, float(scores[used]), (*near[:2], *np.maximum(near[2:], near[:2] + 1))))
            used += 1
        for _ in range(numbers.integers(0, 3)):
            low = numbers.integers(0, 80, 2)
            found[-1].append((str(numbers.choice(LABELS)), float(scores[used]), (*low, *(low + 12))))
            used += 1
    found = [sorted(image, key=lambda one: -one[1]) for image in found]
    return Make().truth(LABELS, objects), Make().found(LABELS, found)


def compare(truth: Dataset, found: list[Detections], expected: dict[str, Any]) -> None:
    errors = find_errors(truth, stack(found, len(truth.labels)))
    assert errors.counts() == expected["counts"]
    for name, value in expected["costs"].items():
        assert errors.costs[name] == pytest.approx(value, abs=1e-6), name
    for name in ("ap50", "false_positives", "false_negatives"):
        assert getattr(errors, name) == pytest.approx(expected[name], abs=1e-6), name


@pytest.mark.parametrize("case", CASES)
def test_the_same_costs_as_tide_on_known_results(case: str, shared: Path, read_case: ReadCase) -> None:
    known = read_case(shared / "data/fixtures/parity" / case)
    compare(known.truth, known.found, EXPECTED[case])


@pytest.mark.parametrize("seed", range(4))
def test_the_same_costs_as_tide_on_random_cases(seed: int) -> None:
    compare(*random_case(seed), EXPECTED[f"seed {seed}"])


def test_each_kind_of_error(make: Make) -> None:
    thing = (10.0, 10.0, 50.0, 50.0)
    truth = make.truth(LABELS, [[("cat", thing)]] * 6 + [[("cat", thing), ("dog", (60.0, 60.0, 90.0, 90.0))]])
    found = make.found(LABELS, [
        [("cat", 0.9, thing), ("cat", 0.5, thing)],  # correct, duplicate
        [("cat", 0.9, (10, 10, 50, 25))],  # bad box
        [("dog", 0.9, thing)],  # wrong label
        [("dog", 0.9, (10, 10, 50, 25))],  # label and box
        [("cat", 0.9, (100, 100, 150, 150))],  # background
        [],
        [("owl", 0.9, (0, 0, 9, 9))],
    ])  # fmt: skip
    table = stack(found, 3)
    errors = find_errors(truth, table)
    kinds = [KIND_NAMES[kind] for kind in errors.kind]
    assert kinds == [
        "correct",
        "duplicate",
        "bad box",
        "wrong label",
        "wrong label and box",
        "background",
        "background",
    ]
    assert errors.missed.tolist() == [3, 4, 5, 6, 7]
    assert list(errors.costs.values()) == sorted(errors.costs.values(), reverse=True)


def test_without_anything_nothing_is_an_error(make: Make) -> None:
    errors = find_errors(make.truth(LABELS, [[]]), stack(make.found(LABELS, [[]]), 3))
    assert set(errors.counts().values()) == {0}
    assert set(errors.costs.values()) == {0.0}
