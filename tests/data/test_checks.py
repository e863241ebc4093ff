from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.data.checks import box_findings, label_findings, raise_errors, usable
from vocdet.errors import ImageError, ManyErrors
from vocdet.formats.voc_tree import read, scan

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
    ],
)
def test_a_box_that_cannot_be_right(make_voc: MakeVoc, box: Box, severity: str, code: str, problem: str) -> None:
    root = one_box(make_voc, box)
    (finding,) = box_findings(read(root).dataset)
    assert (finding.severity, finding.code, finding.problem) == (severity, code, problem)
    assert str(finding.place) == f"{root}/Annotations/a.xml:14"
    assert finding.hint


@pytest.mark.parametrize("box", [(0, 0, 100, 80), (1, 1, 2, 2), (99, 79, 100, 80)])
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
    box, other = (1, 2, 30, 40), (1, 2, 30, 41)
    dataset = read(
        make_voc({"a": [("dog", box), ("dog", other), ("dog", box), ("cat", other)], "b": [("dog", box)]})
    ).dataset
    assert sorted((finding.code, finding.problem) for finding in box_findings(dataset)) == [
        ("box.duplicate", "the box of 'dog' 1 2 30 40 is there twice, see line 14"),
        ("box.two_labels", "the box of 'cat' 1 2 30 41 is also a 'dog', see line 26"),
    ]


@pytest.mark.parametrize(
    ("labels", "code", "problem"),
    [
        (("Dog", "dog"), "label.alike", "labels that look alike: 'Dog' (1 object), 'dog' (1 object)"),
        (("hot dog", "hotdog"), "label.alike", "labels that look alike: 'hot dog' (1 object), 'hotdog' (1 object)"),
        (("a/b",), "label.path_char", "the label 'a/b' cannot be part of a file name everywhere"),
        (("background",), "label.background", "'background' is used as a label"),
        (("x" * 101,), "label.too_long", f"the label '{'x' * 40}...' has 101 characters"),
    ],
)
def test_labels_that_look_wrong(make_voc: MakeVoc, labels: tuple[str, ...], code: str, problem: str) -> None:
    dataset = read(make_voc({"a": [(label, (i, 2, 30, 40)) for i, label in enumerate(labels)]})).dataset
    assert [(finding.code, finding.problem) for finding in label_findings(dataset)] == [(code, problem)]


def test_labels_of_other_alphabets_are_not_alike(make_voc: MakeVoc) -> None:
    dataset = read(
        make_voc({"a": [("кот", (1, 2, 30, 40)), ("собака", (2, 2, 30, 40)), ("+", (3, 2, 30, 40))]})
    ).dataset
    assert label_findings(dataset) == []


def test_a_listed_label_without_objects_is_named(make_voc: MakeVoc, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\nzebra\n")
    dataset = read(one_box(make_voc, (1, 2, 30, 40)), labels=tmp_path / "labels.txt").dataset
    assert [finding.problem for finding in label_findings(dataset)] == ["no object has the label 'zebra'"]


def test_findings_that_are_errors_are_raised_with_their_kind(make_voc: MakeVoc) -> None:
    root = make_voc({"a": [], "b": []})
    (root / "JPEGImages" / "a.jpg").write_bytes(b"")
    (root / "Annotations" / "b.xml").write_bytes(b"")
    with pytest.raises(ManyErrors) as caught:
        raise_errors(scan(root).findings)
    assert {type(error).__name__ for error in caught.value.errors} == {"ImageError", "AnnotationError"}
    assert isinstance(scan(root).findings[0].as_error(), ImageError)


def test_the_boxes_of_the_blood_cells_that_have_no_area(shared: Path) -> None:
    dataset = read(shared / "data" / "bccd").dataset
    assert [str(finding.place).rpartition("/")[2] for finding in box_findings(dataset)] == [
        "BloodImage_00338.xml:158",
        "BloodImage_00343.xml:50",
    ]
    left, changes = usable(dataset)
    assert (len(left.objects), len(changes)) == (4886, 2)
