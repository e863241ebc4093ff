"""Detections of other tools: files of the VOC devkit, VOC XML, YOLO text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inference.test_coco_results import NAMES, dataset
from vocdet.errors import AnnotationError, VocdetError
from vocdet.formats.scan import Coordinates
from vocdet.inference.detection_files import DetectionFiles, kind_of, read_detections


def read(path: Path, rows: tuple[int, ...] = (0, 1), coordinates: Coordinates = "zero") -> DetectionFiles:
    return read_detections(path, dataset(labels=("cat", "hot dog")), NAMES, rows, coordinates=coordinates)


def devkit(folder: Path, text: str, name: str = "comp3_det_test_hot dog.txt") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_devkits_lines_are_read_as_the_annotations_are(tmp_path: Path) -> None:
    path = devkit(tmp_path, "b 0.5 11 21 30 40\nb 0.9 1 1 5 5\n\na 1e-1 1.5 2 3 4\n")
    first, second = read(path, coordinates="one").detections
    assert first.boxes.tolist() == [[0.5, 1, 3, 4]]
    assert second.boxes.tolist() == [[0, 0, 5, 5], [10, 20, 30, 40]]
    assert second.labels.tolist() == [1, 1]
    assert read(path).detections[1].boxes.tolist() == [[1, 1, 5, 5], [11, 21, 30, 40]]


def test_a_folder_has_a_file_for_each_label(tmp_path: Path) -> None:
    devkit(tmp_path, "a 0.5 1 2 3 4\n")
    devkit(tmp_path, "a 0.6 1 2 3 4\n", "comp3_det_test_cat.txt")
    assert read(tmp_path).detections[0].labels.tolist() == [0, 1]


def test_images_of_another_split_are_counted(tmp_path: Path) -> None:
    found = read(devkit(tmp_path, "a 0.5 1 2 3 4\nb 0.5 1 2 3 4\n"), rows=(1,))
    assert (len(found.detections), found.outside) == (1, 1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("c 0.5 1 2 3 4", "is of the image 'c', which the dataset does not have"),
        ("a 0.5 1 2 3", "has 5 columns, not stem, score, xmin, ymin, xmax and ymax"),
        ("a nan 1 2 3 4", "has the score 'nan', not a number"),
        ("a 0.5 1 2 3 1e999", "has the ymax '1e999', not a number"),
        ("a 0.5 9 2 3 4", "has the box 9 2 3 4, with a negative width or height"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = devkit(tmp_path, f"a 0.5 1 2 3 4\n{text}\n")
    with pytest.raises(AnnotationError) as caught:
        read(path)
    assert (caught.value.problem, str(caught.value.place)) == (problem, f"{path}:2")


def test_a_file_of_an_unknown_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no label of the dataset is in the name"):
        read(devkit(tmp_path, "", "comp3_det_test_owl.txt"))


def test_xml_with_scores(tmp_path: Path) -> None:
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4.5</ymax></bndbox>"
    objects = [f"<object><name>{name}</name><{tag}>{score}</{tag}>{box}</object>"
               for name, tag, score in (("cat", "score", 0.5), ("hot  dog", "confidence", 0.75))]  # fmt: skip
    (tmp_path / "a.xml").write_text(f"<annotation>{''.join(objects)}</annotation>")
    first = read(tmp_path).detections[0]
    assert first.labels.tolist() == [1, 0]
    assert first.boxes.tolist() == [[1, 2, 3, 4.5]] * 2
    (tmp_path / "a.xml").write_text(f"<annotation>\n<object><name>cat</name>{box}</object></annotation>")
    with pytest.raises(AnnotationError, match="has no score") as caught:
        read(tmp_path)
    assert str(caught.value.place) == f"{tmp_path / 'a.xml'}:2"
    (tmp_path / "a.xml").write_text("<annotation><object><name>dgo</name></object>")
    with pytest.raises(AnnotationError, match="not well-formed"):
        read(tmp_path)
    (tmp_path / "a.xml").write_text("<annotation><object><name>hot_dog</name></object></annotation>")
    with pytest.raises(AnnotationError, match="the dataset has no label 'hot_dog'"):
        read(tmp_path)


def test_yolo_text_with_scores(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "classes.txt").write_text("cat\nhot dog\n")
    (tmp_path / "labels/a.txt").write_text("1 0.5 0.5 0.2 0.4 0.75\n0 0.1 0.1 0.2 0.2 0.875\n")
    found = read(tmp_path)
    assert found.kind == "yolo"
    assert found.detections[0].labels.tolist() == [0, 1]
    assert found.detections[0].boxes[1].tolist() == pytest.approx([40, 30, 60, 70])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0 .5 .5 .2 .2", "is a box without a score, not class, cx, cy, width, height and score"),
        ("0 25 25 30 30 .9", "has the box 25 25 30 30, not in fractions of the image"),
        ("7 .5 .5 .2 .2 .9", "has the class '7', but the dataset has 2 labels"),
        ("² .5 .5 .2 .2 .9", "has the class '²', but the dataset has 2 labels"),
        (f"{'1' * 5000} .5 .5 .2 .2 .9", f"has the class '{'1' * 80}'..., but the dataset has 2 labels"),
        ("0 .5 .5 -.2 .2 .9", "has the box 60 40 40 60, with a negative width or height"),
        ("0 .5 .5 .2 .2 nan", "has the score 'nan', not a number"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError) as caught:
        read(tmp_path)
    assert (caught.value.problem, str(caught.value.place)) == (problem, f"{tmp_path / 'a.txt'}:1")


def test_other_files_are_no_detections(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", tmp_path / "x.csv"):
        with pytest.raises(VocdetError, match=r"holds no detections|no such file"):
            kind_of(path)
