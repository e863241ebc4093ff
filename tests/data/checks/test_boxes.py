from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vocdet.boxes import area
from vocdet.data.checks.boxes import box_findings, near_twins
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import raise_errors
from vocdet.data.usable import usable
from vocdet.errors import ImageError, ManyErrors
from vocdet.formats.scan import Source
from vocdet.formats.voc.read import read, scan

MakeVoc = Callable[..., Path]
Box = tuple[float, float, float, float]


def one_box(make_voc: MakeVoc, box: Box) -> Path:
    return make_voc({"a": [("dog", box)]})  # in an image of 100×80


@pytest.mark.parametrize(
    ("box", "severity", "code", "problem"),
    [
        ((5, 5, 5, 5), "error", "box.zero_area", "the box of 'dog' 5 5 5 5 has no area"),
        ((5, 5, 5, 9), "error", "box.zero_area", "the box of 'dog' 5 5 5 9 has no area"),
        ((5, 5, 5.5, 9), "warning", "box.tiny", "the box of 'dog' 5 5 5.5 9 is less than a pixel wide or high"),
        (
            (-3, 5, 50, 60),
            "error",
            "box.out_of_image",
            "the box of 'dog' -3 5 50 60 reaches 3 px beyond its image, 100×80",
        ),
        (
            (3, 5, 101, 60),
            "warning",
            "box.out_of_image",
            "the box of 'dog' 3 5 101 60 reaches 1 px beyond its image, 100×80",
        ),
        (
            (300, 5, 350, 60),
            "error",
            "box.out_of_image",
            "the box of 'dog' 300 5 350 60 reaches 250 px beyond its image, 100×80",
        ),
        ((5, 5, 7, 8), "warning", "box.tiny", "the box of 'dog' 5 5 7 8 is 2×3 px"),
    ],
)
def test_a_box_that_cannot_be_right(make_voc: MakeVoc, box: Box, severity: str, code: str, problem: str) -> None:
    root = one_box(make_voc, box)
    (finding,) = box_findings(read(root).dataset)
    assert (finding.severity, finding.code, finding.problem) == (severity, code, problem)
    assert str(finding.place) == f"{root}/Annotations/a.xml:14"
    assert finding.hint


@pytest.mark.parametrize("box", [(0, 0, 100, 80), (1, 1, 2, 5), (96, 79, 100, 80)])
def test_boxes_to_the_very_edge_are_fine(make_voc: MakeVoc, box: Box) -> None:
    dataset = read(one_box(make_voc, box)).dataset
    assert box_findings(dataset) == []
    assert usable(dataset) == (dataset, ())


def test_boxes_are_cut_at_the_edge_and_what_is_left_of_none_goes(make_voc: MakeVoc) -> None:
    boxes = [(-3, 5, 50, 160), (300, 5, 350, 60), (5, 5, 5, 9), (10, 10, 20, 20), (99.5, 5, 120, 60)]
    root = make_voc({"a": [("dog", box) for box in boxes], "b": [("cat", (4, 4, 4, 4))]})
    dataset, changes = usable(read(root).dataset)
    assert dataset.objects.box.tolist() == [[0, 5, 50, 80], [10, 10, 20, 20]]
    assert dataset.labels == ("cat", "dog")
    assert len(dataset) == 2
    assert [(change.severity, change.code) for change in changes] == [
        ("warning", "box.clipped"),
        ("warning", "box.left_out"),
        ("warning", "box.left_out"),
        ("warning", "box.left_out"),
        ("warning", "box.left_out"),
    ]
    assert changes[0].problem == "the box of 'dog' -3 5 50 160 is clipped to the image, 100×80"


def test_a_box_drawn_twice(make_voc: MakeVoc) -> None:
    box, other = (1, 2, 30, 40), (1, 2, 30, 71)
    dataset = read(
        make_voc({"a": [("dog", box), ("dog", other), ("dog", box), ("cat", other)], "b": [("dog", box)]})
    ).dataset
    assert sorted((finding.code, finding.problem) for finding in box_findings(dataset)) == [
        ("box.duplicate", "the box of 'dog' 1 2 30 40 is there twice, see line 14"),
        ("box.two_labels", "the box of 'cat' 1 2 30 71 is also a 'dog', see line 26"),
    ]


@pytest.mark.parametrize(
    ("boxes", "pairs"),
    [
        # By hand: 100 by 100 shifted by 5 share 9500 of 10500; shifted by 6, 9400 of 10600.
        ([(0, 0, 100, 100), (5, 0, 105, 100)], [(0, 1, 9500 / 10500)]),
        ([(0, 0, 100, 100), (6, 0, 106, 100)], []),
        ([(5, 0, 105, 100), (0, 0, 100, 100)], [(0, 1, 9500 / 10500)]),
        ([(0, 0, 100, 100), (0, 0, 100, 100)], []),  # the same: there twice, and not nearly
        ([(0, 0, 100, 100), (0, 0, 100, 99), (0, 0, 100, 98)], [(0, 1, 0.99), (0, 2, 0.98)]),
        ([(0, 0, 100, 100), (0, 5, 100, 105), (0, 10, 100, 110)], [(0, 1, 9500 / 10500), (1, 2, 9500 / 10500)]),
    ],
)
def test_boxes_that_are_nearly_the_same(
    make_voc: MakeVoc, boxes: list[Box], pairs: list[tuple[int, int, float]]
) -> None:
    dataset = read(make_voc({"a": [("dog", box) for box in boxes]}, size=(200, 200))).dataset
    assert rounded(near_twins(dataset)) == rounded(pairs)


def rounded(pairs: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
    return [(first, second, round(iou, 9)) for first, second, iou in pairs]


def test_boxes_of_other_labels_images_and_crowds_are_no_twins(make_voc: MakeVoc) -> None:
    box, other = (0, 0, 50, 50), (0, 0, 50, 49)
    dataset = read(make_voc({"a": [("dog", box), ("cat", other)], "b": [("dog", other)]})).dataset
    assert near_twins(dataset) == []
    both = read(make_voc({"c": [("dog", box), ("dog", other)]}, root=make_voc({}) / "again")).dataset
    assert len(near_twins(both)) == 1
    crowd = replace(both, objects=replace(both.objects, crowd=np.array([False, True])))
    assert near_twins(crowd) == []


@example([(0, 0, 0, 0, 0, 0)] * 6 + [(0, 0, 3, 0, 0, 0)])  # an IoU of .9 to the last digit
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), *[st.integers(0, 3)] * 4), max_size=20))
def test_twins_are_those_that_comparing_all_with_all_finds(rows: list[tuple[int, ...]]) -> None:
    rows.sort(key=lambda row: row[0])
    columns: Any = np.array(rows, np.float64).reshape(-1, 6)
    box = columns[:, 2:] + np.array([0, 0, 30, 30])
    none: Any = np.zeros(len(rows))
    images = Images(("a", "b", "c"), ("a", "b", "c"), np.full(3, 99), np.full(3, 99), ("", "", ""))
    objects = Objects(columns[:, 0], columns[:, 1], box, none, none, none, none, none)
    shared = np.maximum(np.minimum(box[:, None, 2:], box[:, 2:]) - np.maximum(box[:, None, :2], box[:, :2]), 0)
    inter = shared.prod(axis=2)
    iou = inter / (area(box)[:, None] + area(box) - inter)
    expected: list[tuple[int, int, float]] = []
    for second in range(len(rows)):
        for first in range(second):
            same = rows[first][:2] == rows[second][:2] and rows[first] != rows[second]
            if same and iou[first, second] >= 0.9:
                expected.append((first, second, float(iou[first, second])))
                break
    dataset = Dataset(Path(), ("dog", "cat"), images, objects)
    assert rounded(near_twins(dataset)) == rounded(expected)
    with mock.patch("vocdet.data.checks.boxes._CHUNK", 2):
        assert rounded(near_twins(dataset)) == rounded(expected)


def test_a_nearly_duplicated_box_is_reported_with_its_place(make_voc: MakeVoc) -> None:
    dataset = read(make_voc({"a": [("dog", (0, 0, 50, 50)), ("dog", (0, 0, 50, 49))]})).dataset
    (finding,) = box_findings(dataset)
    assert (finding.severity, finding.code) == ("warning", "box.near_duplicate")
    assert finding.problem == "the box of 'dog' 0 0 50 49 is nearly that of line 14 (IoU .98)"
    assert finding.place.line == 26


def test_findings_that_are_errors_are_raised_with_their_kind(make_voc: MakeVoc) -> None:
    root = make_voc({"a": [], "b": []})
    (root / "JPEGImages" / "a.jpg").write_bytes(b"")
    (root / "Annotations" / "b.xml").write_bytes(b"")
    with pytest.raises(ManyErrors) as caught:
        raise_errors(scan(Source(root)).findings)
    assert {type(error).__name__ for error in caught.value.errors} == {"ImageError", "AnnotationError"}
    assert isinstance(scan(Source(root)).findings[0].as_error(), ImageError)


def test_the_boxes_of_the_blood_cells_that_have_no_area(shared: Path) -> None:
    dataset = read(shared / "data" / "bccd").dataset
    empty = [finding for finding in box_findings(dataset) if finding.severity == "error"]
    assert [str(finding.place).rpartition("/")[2] for finding in empty] == [
        "BloodImage_00338.xml:158",
        "BloodImage_00343.xml:50",
    ]
    left, changes = usable(dataset)
    assert (len(left.objects), len(changes)) == (4886, 2)
