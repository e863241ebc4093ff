from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vocdet.data.checks.copies import augmented_findings, copy_findings, similar_findings
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.division.similar import Similar


def dataset(count: int) -> Dataset:
    names = tuple(f"{i}.jpg" for i in range(count))
    none: Any = np.zeros(0)
    objects = Objects(none, none, none, none, none, none, none, none)
    size = np.full(count, 9)
    return Dataset(Path("set"), (), Images(tuple(map(str, range(count))), names, size, size, names), objects)


def named(*stems: str) -> Dataset:
    whole = dataset(len(stems))
    return replace(whole, images=replace(whole.images, stems=stems))


def splits(**rows: list[int]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return {name: np.array(some, np.int64) for name, some in rows.items()}


def similar(count: int, *groups: list[int]) -> Similar:
    """Groups of images whose small pictures are the same noise."""
    picture = np.random.default_rng(0).integers(0, 256, (1, 32, 32), np.uint8)
    return Similar(list(groups), np.repeat(picture, count, axis=0))


@pytest.mark.parametrize(
    ("divided", "expected"),
    [
        (splits(), [("image.copy", "0.jpg"), ("image.copy", "0.jpg")]),
        (splits(train=[0, 1, 2]), [("image.copy", "0.jpg"), ("image.copy", "0.jpg")]),
        (splits(train=[0, 1], val=[2]), [("image.copy", "0.jpg"), ("image.copy_across_splits", "0.jpg")]),
        (splits(train=[1], test=[2]), [("image.copy", "0.jpg"), ("image.copy_across_splits", "1.jpg")]),
        (splits(trainval=[0, 1, 2], train=[0, 1, 2]), [("image.copy", "0.jpg"), ("image.copy", "0.jpg")]),
        (splits(trainval=[0], test=[1, 2]), [("image.copy_across_splits", "0.jpg")] * 2),
    ],
)
def test_copies_across_splits_have_their_own_code(
    divided: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]], expected: list[tuple[str, str]]
) -> None:
    findings = copy_findings(dataset(3), [[0, 1, 2]], divided)
    assert [finding.place.path.name for finding in findings] == ["1.jpg", "2.jpg"]
    assert [(finding.code, finding.problem.split("identical to ")[1].split(",")[0]) for finding in findings] == expected


def test_a_copy_names_the_splits_of_both() -> None:
    (finding,) = copy_findings(dataset(2), [[0, 1]], splits(train=[0], test=[1]))
    assert finding.problem == "is identical to 0.jpg, yet one is in train and the other in test"


def folds(*val: list[int]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Images 0 to 2 in train, and folds of them."""
    pairs = {f"fold{k}_{name}": rows for k, some in enumerate(val, 1)
             for name, rows in (("train", sorted({0, 1, 2} - {*some})), ("val", some))}  # fmt: skip
    return splits(train=[0, 1, 2], **pairs)


def test_images_in_the_same_folds_are_not_divided_between_them() -> None:
    divided, alike = folds([0, 1], [2]), similar(3, [0, 1])
    assert [one.code for one in copy_findings(dataset(3), [[0, 1]], divided)] == ["image.copy"]
    assert [one.code for one in similar_findings(dataset(3), alike, [], divided)] == ["image.similar"]
    assert augmented_findings(named("x_jpg.rf.0123456789ab", "x_jpg.rf.0123456789cd", "y"), divided) == []


def test_images_in_train_and_val_of_a_fold_are_divided() -> None:
    divided, alike = folds([0], [1, 2]), similar(3, [0, 1])
    (copy,) = copy_findings(dataset(3), [[0, 1]], divided)
    assert copy.problem == "is identical to 0.jpg, yet one is in fold1_val and the other in fold1_train"
    (found,) = similar_findings(dataset(3), alike, [], divided)
    assert found.code == "image.similar_across_splits" and "1 in fold1_train and 1 in fold1_val, such" in found.problem
    (augmented,) = augmented_findings(named("x_jpg.rf.0123456789ab", "x_jpg.rf.0123456789cd", "y"), divided)
    assert augmented.problem.endswith("augmented copies of one image: 1 in fold1_train and 1 in fold1_val")


def test_a_copy_in_no_split_is_not_divided_from_one_in_two() -> None:
    (found,) = copy_findings(dataset(2), [[0, 1]], splits(train=[0], test=[0]))
    assert found.code == "image.copy"


def test_a_group_of_near_identical_images_is_one_finding() -> None:
    (finding,) = similar_findings(dataset(8), similar(8, [0, 1, 2, 3, 4, 5, 7]), [], splits())
    assert (finding.code, finding.count) == ("image.similar", 7)
    assert finding.problem == "7 near-identical images (0, 1, 2, 3, 4, ...)"
    assert finding.place.path == Path("set/0.jpg")


def test_a_group_across_splits_names_a_pair() -> None:
    divided = splits(trainval=[0, 1, 2], train=[0, 1], val=[2], test=[3])
    (finding,) = similar_findings(dataset(4), similar(4, [0, 1, 2, 3]), [], divided)
    assert finding.code == "image.similar_across_splits"
    assert finding.problem == (
        "4 near-identical images (0, 1, 2, 3): 2 in train and 1 in val and 1 in test, such as 0 in train and 2 in val"
    )


def test_exact_copies_alone_are_not_near_identical() -> None:
    assert similar_findings(dataset(4), similar(4, [0, 1]), [[0, 1]], splits()) == []
    (finding,) = similar_findings(dataset(4), similar(4, [0, 1, 2]), [[0, 1]], splits())
    assert finding.count == 3
