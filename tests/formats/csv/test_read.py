"""CSV files in the orders that tools write; expected boxes are computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import save_image
from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError
from vocdet.formats import registry
from vocdet.formats.csv import read as csv_read
from vocdet.formats.csv.layout import looks_like
from vocdet.formats.scan import Scan, Source

SIZE = (100, 80)
TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def make(root: Path, files: dict[str, str], *, images: tuple[str, ...] = ("a.jpg",)) -> Path:
    """A folder with these texts, and images of 100×80 pixels."""
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(root / name, SIZE, seed=len(name))
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())
    return root


def read(root: Path) -> Scan:
    return csv_read.scan(Source(root))


def boxes(scan: Scan) -> list[tuple[str, str, list[float]]]:
    """The stem, label and box of every object."""
    return [
        (one.stem, scan.dataset.labels[label], box)
        for one in scan.dataset
        for label, box in zip(one.objects.label.tolist(), one.objects.box.tolist(), strict=True)
    ]


def only(scan: Scan) -> Finding:
    (finding,) = scan.findings
    return finding


CUP = [("a", "cup", [10, 20, 50, 60])]


@pytest.mark.parametrize(
    "text",
    [
        TENSORFLOW + "a.jpg,100,80,cup,10,20,50,60\n",
        "a.jpg,100,80,cup,10,20,50,60\n",  # TensorFlow's, without names
        "a.jpg,10,20,50,60,cup\n",  # RetinaNet's
        "filename,xmin,ymin,xmax,ymax,class\r\na.jpg,10,20,50,60,cup\r\n",
        "filename;xmin;ymin;xmax;ymax;class\na.jpg;10;20;50;60;cup\n",
        "image\tx1\ty1\tx2\ty2\tlabel\na.jpg\t10\t20\t50\t60\tcup\n",
        "image,label,x,y,w,h\na.jpg,cup,10,20,40,40\n",
        "image,x,y,width,height,label\na.jpg,10,20,40,40,cup\n",
        "cup,10,20,40,40,a.jpg,100,80\n",  # makesense.ai
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\ncup,10,20,40,40,a.jpg,100,80\n",
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax\na,verification,cup,1,0.1,0.5,0.25,0.75\n",
        "path,x1,y1,x2,y2,class_name\na.jpg,0.1,0.25,0.5,0.75,cup\n",  # fractions: not all of them are whole
        "TRAIN,gs://bucket/set/a.jpg,cup,0.1,0.25,,,0.5,0.75,,\n",  # AutoML Vision
        "\ufefffilename, width, height, class, xmin, ymin, xmax, ymax\na.jpg, 100, 80, cup, 10, 20, 50, 60\n",
        '"filename","xmin","ymin","xmax","ymax","class"\n\n"a.jpg","10","20","50","60","cup"\n',
    ],
)
def test_every_order_gives_the_same_box(tmp_path: Path, text: str) -> None:
    root = make(tmp_path, {"labels.csv": text})
    found = read(root)
    assert boxes(found) == CUP
    assert [finding.code for finding in found.findings if finding.code != "image.renamed"] == []
    assert registry.readings(root)[0].format == registry.readings(root / "labels.csv")[0].format == "csv"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_long_file_may_have_any_line_ends(tmp_path: Path, end: str) -> None:
    rows = [f"a.jpg,{x % 9},20,50,60,cup" for x in range(1000)]
    text = end.join(["filename,xmin,ymin,xmax,ymax,class", *rows, ""])
    make(tmp_path, {})
    (tmp_path / "all.csv").write_bytes(text.encode())
    assert len(read(tmp_path).dataset.objects) == 1000


def test_pixels_of_a_tiny_box_stay_pixels(tmp_path: Path) -> None:
    found = read(make(tmp_path, {"a.csv": "a.jpg,0,0,1,1,cup\n"}))
    assert boxes(found) == [("a", "cup", [0, 0, 1, 1])]


def test_an_empty_row_is_an_image_without_objects(tmp_path: Path) -> None:
    text = "a.jpg,10,20,50,60,cup\nb.jpg,,,,,\n"
    found = read(make(tmp_path, {"a.csv": text}, images=("a.jpg", "b.jpg")))
    assert found.dataset.images.stems == ("a", "b")
    assert boxes(found) == CUP
    assert found.findings == ()


def test_an_image_that_no_row_names_is_left_out(tmp_path: Path) -> None:
    found = read(make(tmp_path, {"a.csv": "a.jpg,10,20,50,60,cup\n"}, images=("a.jpg", "b.jpg")))
    assert found.dataset.images.stems == ("a",)
    assert only(found).code == "image.unannotated"
    assert found.left_out == {"b": "whose image has no annotation"}


def test_files_are_splits_and_classes_give_the_order(tmp_path: Path) -> None:
    files = {
        "train_labels.csv": TENSORFLOW + "a.jpg,100,80,cup,10,20,50,60\n",
        "test_labels.csv": TENSORFLOW + "b.jpg,100,80,ball,10,20,50,60\n",
        "classes.csv": "cup,0\nball,1\nvase,2\n",
    }
    found = read(make(tmp_path, files, images=("images/a.jpg", "images/b.jpg")))
    assert {name: rows.tolist() for name, rows in found.dataset.splits.items()} == {"test": [0], "train": [1]}
    assert found.dataset.labels == ("cup", "ball", "vase")
    assert found.findings == ()


def test_a_file_of_all_beside_its_splits_adds_nothing(tmp_path: Path) -> None:
    row = TENSORFLOW + "a.jpg,100,80,cup,10,20,50,60\n"
    found = read(make(tmp_path, {"all.csv": row, "train.csv": row}))
    assert boxes(found) == CUP
    assert list(found.dataset.splits) == ["train"]
    assert found.findings == ()


def test_an_image_with_other_rows_in_another_file_is_an_error(tmp_path: Path) -> None:
    files = {"a.csv": "a.jpg,10,20,50,60,cup\n", "b.csv": "a.jpg,11,20,50,60,cup\n"}
    finding = only(read(make(tmp_path, files)))
    assert (finding.code, finding.severity) == ("image.repeated", "error")


def test_roboflow_has_a_file_in_each_split(tmp_path: Path) -> None:
    files = {
        f"{name}/_annotations.csv": TENSORFLOW + f"{name}.jpg,100,80,cup,10,20,50,60\n" for name in ("train", "valid")
    }
    found = read(make(tmp_path, files, images=("train/train.jpg", "valid/valid.jpg")))
    assert {name: rows.tolist() for name, rows in found.dataset.splits.items()} == {"train": [0], "val": [1]}


def test_open_images_ids_get_their_names_and_flags(tmp_path: Path) -> None:
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    row = "a,x,/m/01g317,1,0.1,0.5,0.25,0.75,1,0,1\n"
    found = read(make(tmp_path, {"boxes.csv": header + row, "names.csv": "/m/01g317,Person\n"}))
    assert found.dataset.labels == ("Person",)
    objects = found.dataset.objects
    assert (objects.occluded.tolist(), objects.truncated.tolist(), objects.crowd.tolist()) == ([True], [False], [True])


def test_other_columns_are_attributes(tmp_path: Path) -> None:
    found = read(make(tmp_path, {"a.csv": "file,x1,y1,x2,y2,label,color\na.jpg,10,20,50,60,cup,red\n"}))
    assert json.loads(found.dataset.objects.extra[0]) == {"attributes": {"color": "red"}}


def test_names_of_another_machine_are_found_by_their_ends(tmp_path: Path) -> None:
    text = "/content/set/train/a.jpg,10,20,50,60,cup\nC:\\set\\val\\a.jpg,11,20,50,60,cup\n"
    found = read(make(tmp_path, {"a.csv": text}, images=("train/a.jpg", "val/a.jpg")))
    assert [one.path.relative_to(tmp_path).as_posix() for one in found.dataset] == ["train/a.jpg", "val/a.jpg"]
    finding = only(found)
    assert (finding.code, finding.count) == ("image.renamed", 2)
    assert "found by the end of their paths" in finding.problem


@pytest.mark.parametrize(
    ("rows", "code", "problem"),
    [
        ("a.jpg,10,20,x,60,cup\n", "csv.row.box", "'x' is not a number"),
        ("a.jpg,10,20,nan,60,cup\n", "csv.row.box", "'nan' is not a number"),
        ("a.jpg,10,20,1e999,60,cup\n", "csv.row.box", "the box 10 20 1e999 60 is far outside an image of 100×80"),
        ("a.jpg,10,20,50,60,\n", "label.empty", "has a box without a label"),
        ("a.jpg,,,,,cup\n", "csv.row.box", "has a label without a box"),
        ("a.jpg,10\n", "csv.row.cells", "has 2 cells, not 6"),
        (",10,20,50,60,cup\n", "path.empty", "names no image"),
        ("../../etc/passwd,10,20,50,60,cup\n", "image.missing",
         "its image is missing: '../../etc/passwd' is not in the dataset"),
        ("a\x1b.jpg,10,20,50,60,cup\n", "path.name", "'a\\x1b.jpg' names no image"),
    ],
)  # fmt: skip
def test_a_bad_row_is_an_error_with_its_line(tmp_path: Path, rows: str, code: str, problem: str) -> None:
    header = "filename,xmin,ymin,xmax,ymax,class\na.jpg,10,20,50,60,cup\n"
    found = read(make(tmp_path, {"a.csv": header + rows}))
    finding = only(found)
    assert (finding.code, finding.severity, finding.problem) == (code, "error", problem)
    assert (finding.place.path.name, finding.place.line) == ("a.csv", 3)
    assert boxes(found) == CUP


@pytest.mark.parametrize(("text", "code"), [("\0", "csv.syntax"), ('"', "csv.syntax"), ("\ud800", "csv.encoding")])
def test_a_broken_file_is_an_error(tmp_path: Path, text: str, code: str) -> None:
    begin = TENSORFLOW + "a.jpg,100,80,cup,10,20,50,60\n" * 600  # more than is inspected
    (make(tmp_path, {}) / "a.csv").write_bytes((begin + text + "x" * 200_000).encode("utf-8", "surrogatepass"))
    codes = {finding.code for finding in read(tmp_path).findings}
    assert code in codes or (text == "\0" and codes <= {"csv.row.cells", "csv.syntax"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "time,value\n1,2\n",
        "a.jpg,b.jpg\n",
        "id,score\n1,0.5\n",
        "filename,class\na.jpg,cup\n",
        "\xff\xfe",
        "1,2,3,4,5,6\n",
    ],
)
def test_other_tables_are_not_annotations(tmp_path: Path, text: str) -> None:
    root = make(tmp_path, {"a.csv": text})
    assert looks_like(root) == ""
    with pytest.raises(AnnotationError, match="no CSV file lists boxes"):
        read(root)


def test_without_images_sizes_are_those_of_the_rows(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.csv": TENSORFLOW + "a.jpg,100,80,cup,10,20,50,60\n"}, images=())
    found: Any = csv_read.scan(Source(root), without_images=True)
    assert (found.dataset.images.files, found.dataset.images.widths.tolist()) == (("a.jpg",), [100])
