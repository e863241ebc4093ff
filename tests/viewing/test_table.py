"""The filters of the viewer: which images pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.evaluation.conftest import Make
from vocdet.evaluation.errors import KIND_NAMES
from vocdet.viewing.table import ERROR_NAMES, MISSED, NONE, Filters, Predictions, ViewTable

CAT, DOG = 0, 1
SMALL, LARGE = (0.0, 0.0, 20.0, 20.0), (50.0, 50.0, 200.0, 200.0)
BACKGROUND = KIND_NAMES.index("background")


@pytest.fixture
def table() -> ViewTable:
    """Image 0: a small cat, found; 1: a small dog and a large cat, which is missed; 2: nothing, but a dog is detected;
    3: a large dog, in no split, in which nothing was looked for; 4: no object."""
    dataset = Make().truth(("cat", "dog"), [
        [("cat", SMALL)], [("dog", SMALL), ("cat", LARGE)], [], [("dog", LARGE)], [],
    ])  # fmt: skip
    difficult = np.array([False, False, True, False])
    dataset = replace(
        dataset, objects=replace(dataset.objects, truncated=difficult),
        splits={"train": np.array([0, 1]), "test": np.array([2, 4])},
    )  # fmt: skip
    found = Make().found(("cat", "dog"), [
        [("cat", 0.9, SMALL), ("dog", 0.2, LARGE)], [("dog", 0.8, SMALL), ("cat", 0.3, LARGE)], [("dog", 0.7, LARGE)], [],
    ])  # fmt: skip
    rows = dict(zip((0, 1, 2, 4), found, strict=True))
    predictions = Predictions.of(dataset, rows, np.full(2, 0.5, np.float32))
    return ViewTable(dataset, {"box.tiny": np.array([0, 1])}, predictions)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"label": CAT}, [0, 1]),
        ({"label": NONE}, [2, 4]),
        ({"label": CAT, "size": 0}, [0]),  # of one and the same object
        ({"size": 2}, [1, 3]),
        ({"split": 0}, [0, 1]),
        ({"split": NONE}, [3]),
        ({"flag": 0}, [1]),
        ({"flag": 0, "label": DOG}, []),
        ({"finding": 0}, [0, 1]),
        ({"finding": NONE}, [2, 3, 4]),
        ({"finding": 7}, []),
        ({"error": MISSED}, [1]),  # not the dog of image 3, where nothing was looked for
        ({"error": MISSED, "label": DOG}, []),
        ({"error": BACKGROUND}, [2]),  # not the dog of image 0, which is below the threshold
        ({"error": BACKGROUND, "label": CAT}, []),
        ({"lowest": 0.75}, [0, 1]),
        ({"highest": 0.25}, [0]),
        ({"lowest": 0.1, "highest": 0.25, "label": DOG, "size": 2}, [0]),  # of one and the same detection
        ({"name": "3"}, [3]),
        ({"note": 2}, [4]),
        ({"order": 1}, [1, 2, 0, 3, 4]),  # most errors
        ({"order": 2}, [1, 0, 3, 2, 4]),  # most objects
    ],
)  # fmt: skip
def test_the_images_that_pass(table: ViewTable, wanted: dict[str, Any], rows: list[int]) -> None:
    notes = np.array([1, 0, 0, 0, 2], np.int8)
    assert table.select(Filters(**wanted), notes).tolist() == rows


def test_errors_are_counted_at_the_thresholds(table: ViewTable) -> None:
    counts = {name: count for name, count in table.errors.items() if count}
    assert counts == {"correct": 2, "background": 1, "missed": 1}
    assert set(table.errors) < set(ERROR_NAMES)


def test_without_thresholds_each_label_has_the_one_with_the_best_f1(table: ViewTable) -> None:
    assert table.predictions is not None
    found = Make().found(("cat", "dog"), [[("cat", 0.9, SMALL)], [("cat", 0.3, LARGE), ("dog", 0.2, LARGE)]])
    predictions = Predictions.of(table.dataset, dict(enumerate(found)))
    assert predictions.thresholds[CAT] <= 0.3
    assert predictions.kind.tolist().count(0) == 2
