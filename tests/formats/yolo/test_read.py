from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.conftest import save_image
from tests.strategies import examples
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding
from vocdet.data.mask_areas import mask_areas
from vocdet.data.texts import Texts
from vocdet.errors import AnnotationError, VocdetError
from vocdet.formats.scan import Scan, Source
from vocdet.formats.yolo import read as yolo
from vocdet.formats.yolo import write as yolo_write
from vocdet.formats.yolo.layout import looks_like

SIZE = (100, 80)


def make(root: Path, files: Mapping[str, str | bytes], *, size: tuple[int, int] = SIZE) -> Path:
    """Make these files; those with an image's suffix are images, whatever their text."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".jpg", ".png"):
            save_image(path, size)
        else:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def boxes(found: Scan) -> list[tuple[str, str, list[float]]]:
    """Stem, label and box of every object."""
    dataset = found.dataset
    objects = dataset.objects
    return [
        (dataset.images.stems[image], dataset.labels[label], box)
        for image, label, box in zip(objects.image, objects.label, objects.box.tolist(), strict=True)
    ]


def splits(found: Scan) -> dict[str, list[str]]:
    return {split: [found.dataset.images.files[row] for row in rows] for split, rows in found.dataset.splits.items()}


def only(found: Scan) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def codes(found: Scan) -> list[str]:
    return [finding.code for finding in found.findings]


def one_file(root: Path, text: str | bytes, *, names: str = "dog\ncat\n") -> Scan:
    """What is found where this is the label file of one image."""
    return yolo.scan(Source(make(root / "set", {"a.jpg": "", "a.txt": text, "classes.txt": names})))


def test_a_share_becomes_pixels(tmp_path: Path) -> None:
    # (0.5 ± 0.2 / 2) × 100 and (0.25 ± 0.5 / 2) × 80
    found = one_file(tmp_path, "1 0.5 0.25 0.2 0.5\n0 0.05 0.95 0.1 0.1\n")
    assert boxes(found) == [("a", "cat", [40, 0, 60, 40]), ("a", "dog", [0, 72, 10, 80])]
    assert found.dataset.labels == ("dog", "cat")
    assert found.dataset.objects.line.tolist() == [1, 2]
    assert found.dataset.images.sources == ("a.txt",)
    assert (found.findings, found.coordinates, found.format) == ((), "zero", "yolo")
    assert found.kind == "a YOLO folder, 1 label file beside the images"


def test_the_folders_of_ultralytics(tmp_path: Path) -> None:
    names = "path: .\ntrain: images/train\nval: images/val\ntest:\nnames:\n  0: dog\n  1: big cat\n"
    root = make(
        tmp_path,
        {
            "data.yaml": names,
            "images/train/b.jpg": "",
            "images/val/a.PNG": "",
            "labels/train/b.txt": "0 0.5 0.5 1 1\n",
            "labels/val/a.txt": "1 0.5 0.5 0.5 0.5\n",
        },
    )
    found = yolo.scan(Source(root))
    assert boxes(found) == [("b", "dog", [0, 0, 100, 80]), ("a", "big cat", [25, 20, 75, 60])]
    assert splits(found) == {"train": ["images/train/b.jpg"], "val": ["images/val/a.PNG"]}
    assert found.findings == ()
    assert found.kind == "a YOLO folder, 2 label files in labels/train, labels/val"
    assert boxes(yolo.scan(Source(root / "data.yaml"))) == boxes(found)


def test_the_folders_of_roboflow(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "data.yaml": "train: ../train/images\nval: ../valid/images\n\nnc: 2\nnames: ['dog', 'cat']\n"
            "\nroboflow:\n  workspace: some-place\n  version: 3\n",
            "README.roboflow.txt": "5 images with 3 objects\n",
            "train/images/a_jpg.rf.0123.jpg": "",
            "train/labels/a_jpg.rf.0123.txt": "1 0.5 0.5 0.5 0.5",
            "valid/images/b.jpg": "",
            "valid/labels/b.txt": "",
        },
    )
    found = yolo.scan(Source(root))
    assert boxes(found) == [("a_jpg.rf.0123", "cat", [25, 20, 75, 60])]
    assert splits(found) == {"train": ["train/images/a_jpg.rf.0123.jpg"], "val": ["valid/images/b.jpg"]}
    assert [str(finding.as_error()) for finding in found.findings] == [
        f"{root}/data.yaml:1: train is '../train/images', outside the dataset: train/images is used "
        "(write it relative to the folder of this file)",
        f"{root}/data.yaml:2: val is '../valid/images', outside the dataset: valid/images is used "
        "(write it relative to the folder of this file)",
    ]
    assert {finding.severity for finding in found.findings} == {"warning"}


def test_darknets_folder_as_cvat_writes_it(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n",
            "obj.names": "dog\ncat\n",
            "train.txt": "data/obj_train_data/a.jpg\n",
            "valid.txt": "data/obj_train_data/deep/b.jpg\r\n",
            "obj_train_data/a.jpg": "",
            "obj_train_data/a.txt": "0 0.500000 0.500000 0.500000 0.500000\n",
            "obj_train_data/deep/b.jpg": "",
            "obj_train_data/deep/b.txt": "",
        },
    )
    found = yolo.scan(Source(root))
    assert boxes(found) == [("a", "dog", [25, 20, 75, 60])]
    assert splits(found) == {"train": ["obj_train_data/a.jpg"], "val": ["obj_train_data/deep/b.jpg"]}
    assert found.findings == ()


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("JPEGImages/a.jpg", "labels/a.txt"),
        ("Images/Train/a.jpg", "Labels/Train/a.txt"),
        ("data/images/x/a.jpg", "data/labels/x/a.txt"),
        ("a.jpg", "labels/a.txt"),
        ("train/a.jpg", "labels/train/a.txt"),
        ("train/a.jpg", "train/labels/a.txt"),
        ("pictures/a.jpg", "obj_train_data/a.txt"),
        ("pictures/a.jpg", "boxes/of/a.txt"),
    ],
)
def test_a_label_file_is_found_in_the_folders_that_occur(tmp_path: Path, image: str, label: str) -> None:
    found = yolo.scan(Source(make(tmp_path, {image: "", label: "0 0.5 0.5 0.5 0.5\n", "classes.txt": "dog\n"})))
    assert boxes(found) == [("a", "dog", [25, 20, 75, 60])]
    assert found.dataset.images.sources == (label,)
    assert found.findings == ()


def test_labels_of_another_split_are_not_used(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "classes.txt": "dog\n",
            "images/train/a.jpg": "",
            "labels/train/a.txt": "0 0.5 0.5 0.5 0.5\n",
            "images/val/b.jpg": "",
            "labels/train/b.txt": "0 0.1 0.1 0.1 0.1\n",
        },
    )
    found = yolo.scan(Source(root))
    assert boxes(found) == [("a", "dog", [25, 20, 75, 60])]
    assert [(finding.code, finding.severity, finding.place.path.name) for finding in found.findings] == [
        ("image.missing", "error", "b.txt"),
        ("image.unannotated", "warning", "b.jpg"),
    ]


def test_an_image_without_a_label_file_shows_nothing_and_says_so(tmp_path: Path) -> None:
    found = yolo.scan(Source(make(tmp_path, {"a.jpg": "", "a.txt": "", "b.jpg": "", "classes.txt": "dog\n"})))
    assert found.dataset.images.stems == ("a", "b")
    assert found.dataset.images.sources == ("a.txt", "")
    assert str(only(found).as_error()) == (
        f"{tmp_path}/b.jpg: has no label file: it is read as an image without objects "
        "(delete it if it is not annotated; if it has no objects, add an empty .txt)"
    )


def test_a_polygon_becomes_a_mask_and_its_bounds(tmp_path: Path) -> None:
    found = one_file(tmp_path, "0 0.1 0.5 0.3 0.25 0.55 1\n1 0.5 0.5 0.2 0.2\n0 0 0 0.5 0 0.5 0.5 0 0.5\n")
    assert boxes(found) == [
        ("a", "dog", [10, 20, 55, 80]),
        ("a", "cat", [40, 32, 60, 48]),
        ("a", "dog", [0, 0, 50, 40]),
    ]
    assert [json.loads(text) for text in map(found.dataset.objects.segmentation.__getitem__, (0, 2))] == [
        [[10, 40, 30, 20, 55, 80]],
        [[0, 0, 50, 0, 50, 40, 0, 40]],
    ]
    assert found.dataset.objects.segmentation[1] == b""
    assert found.findings == ()


def test_scores_are_ignored_with_a_finding(tmp_path: Path) -> None:
    found = one_file(tmp_path, "0 0.5 0.5 0.2 0.2 0.97\n0 0.1 0.5 0.3 0.25 0.55 1 0.5\n")
    assert boxes(found) == [("a", "dog", [40, 32, 60, 48]), ("a", "dog", [10, 20, 55, 80])]
    finding = only(found)
    assert (finding.code, finding.severity, finding.place.line) == ("yolo.row.score", "warning", 1)
    assert finding.problem == "2 rows with an extra column, a score: it is ignored"


def test_keypoints_are_kept_as_coco_has_them(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.2 0.2 0.1 0.5 2 0 0 0\n"
    root = make(tmp_path, {"a.jpg": "", "a.txt": row, "data.yaml": "kpt_shape: [2, 3]\nnames: [dog]\n"})
    found = yolo.scan(Source(root))
    assert boxes(found) == [("a", "dog", [40, 32, 60, 48])]
    assert json.loads(found.dataset.objects.extra[0]) == {"keypoints": [10, 40, 2, 0, 0, 0], "num_keypoints": 1}
    assert found.findings == ()
    make(tmp_path, {"a.txt": "0 0.5 0.5 0.2 0.2 0.1 0.5 0 0\n", "data.yaml": "kpt_shape: [2, 2]\nnames: [dog]\n"})
    extra = json.loads(yolo.scan(Source(root)).dataset.objects.extra[0])
    assert extra == {"keypoints": [10, 40, 2, 0, 0, 0], "num_keypoints": 1}


@pytest.mark.parametrize(
    ("row", "code", "problem"),
    [
        ("0 0.5 0.5 0.2", "yolo.row.columns", "has 4 columns, not 5"),
        ("0", "yolo.row.columns", "has 1 column, not 5"),
        ("0,0.5,0.5,0.2,0.2", "yolo.row.columns", "has 1 column, not 5"),
        ("0 0,5 0.5 0.2 0.2", "yolo.row.bad_number", "'0,5' is not a number"),
        ("0 0.5 0.5 0.2 5_0", "yolo.row.bad_number", "'5_0' is not a number"),
        ("0 0.5 0.5 0.2 ０.５", "yolo.row.bad_number", "'０.５' is not a number"),
        ("0 0.5 0.5 0.2 x", "yolo.row.bad_number", "'x' is not a number"),
        ("0 nan 0.5 0.2 0.2", "yolo.row.not_finite", "'nan' is not finite"),
        ("0 0.5 0.5 0.2 -Inf", "yolo.row.not_finite", "'-Inf' is not finite"),
        ("0 0.5 0.5 0.2 1e999", "yolo.row.not_finite", "'1e999' is not finite"),
        ("dog 0.5 0.5 0.2 0.2", "yolo.class.bad_number", "the class is 'dog', not a whole number from 0"),
        ("-1 0.5 0.5 0.2 0.2", "yolo.class.bad_number", "the class is '-1', not a whole number from 0"),
        ("0.5 0.5 0.5 0.2 0.2", "yolo.class.bad_number", "the class is '0.5', not a whole number from 0"),
        ("2 0.5 0.5 0.2 0.2", "yolo.class.unknown", "the class is 2, and classes.txt has 2 labels, counted from 0"),
        ("0 0.5 0.5 -0.2 0.2", "yolo.row.inverted", "the box 0.5 0.5 -0.2 0.2 has a negative size (cx cy w h)"),
        (
            "0 1.2 0.5 0.2 0.2",
            "yolo.row.out_of_range",
            "the box 1.2 0.5 0.2 0.2 is outside the image: all values are fractions from 0 to 1",
        ),
        (
            "0 50 40 20 30",
            "yolo.row.pixels",
            "the box 50 40 20 30 looks like pixels, not fractions of the image (cx cy w h)",
        ),
        (
            "0 0.1 0.1 0.2 -0.5 0.3 0.3",
            "yolo.row.out_of_range",
            "a polygon has a point at -0.5, but points are fractions of the image, from 0 to 1",
        ),
        (
            "0 10 10 20 10 20 30",
            "yolo.row.pixels",
            "a polygon has a point at 30, but points are fractions of the image, from 0 to 1",
        ),
    ],
)
def test_a_row_that_cannot_be_used_says_why(tmp_path: Path, row: str, code: str, problem: str) -> None:
    found = one_file(tmp_path, f"0 0.5 0.5 0.5 0.5\n\n{row}\n1 0.5 0.5 0.5 0.5\n")
    finding = only(found)
    assert (finding.code, finding.severity, finding.problem) == (code, "error", problem)
    assert (finding.place.path.name, finding.place.line) == ("a.txt", 3)
    assert finding.hint
    assert [label for _, label, _ in boxes(found)] == ["dog", "cat"]


def test_a_huge_class_needs_no_memory(tmp_path: Path) -> None:
    found = one_file(tmp_path, f"999999999 0.5 0.5 0.2 0.2\n{2**70} 0.5 0.5 0.2 0.2\n", names="")
    assert found.dataset.labels == ("999999999",)
    assert codes(found) == ["yolo.names.none", "yolo.class.bad_number"]


@pytest.mark.parametrize(
    "text",
    [
        "0 0.5 0.5 0.5 0.5\r\n1 0.5 0.5 0.5 0.5\r\n",
        "0 0.5 0.5 0.5 0.5\r1 0.5 0.5 0.5 0.5",
        "\n0   .5 5e-1\t0.5 +0.5  \n\n1 0.5 0.5 0.5 0.5\n\n",
        "0 0.5 0.5 0.5 0.5 \n1 0.5 0.5 0.5 0.5 \n",
    ],
)
def test_line_ends_and_space_do_not_matter(tmp_path: Path, text: str) -> None:
    found = one_file(tmp_path, text)
    assert boxes(found) == [("a", "dog", [25, 20, 75, 60]), ("a", "cat", [25, 20, 75, 60])]
    assert found.findings == ()


def test_a_byte_order_mark_is_skipped_with_a_finding(tmp_path: Path) -> None:
    found = one_file(tmp_path, b"\xef\xbb\xbf0 0.5 0.5 0.5 0.5\n")
    assert boxes(found) == [("a", "dog", [25, 20, 75, 60])]
    assert (only(found).code, only(found).severity) == ("yolo.text.bom", "warning")


def test_a_class_with_a_decimal_point_is_read_with_a_finding(tmp_path: Path) -> None:
    found = one_file(tmp_path, "1.0 0.5 0.5 0.5 0.5\n")
    assert boxes(found) == [("a", "cat", [25, 20, 75, 60])]
    assert (only(found).code, only(found).severity, only(found).place.line) == ("yolo.class.decimal", "warning", 1)


@pytest.mark.parametrize("data", ["0 0.5".encode("utf-16"), b"\x89PNG\r\n\x1a\n\x00\xff"])
def test_an_undecodable_label_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    found = one_file(tmp_path, data)
    assert (only(found).code, only(found).severity) == ("yolo.text.encoding", "error")
    assert (found.dataset.images.stems, found.left_out) == ((), {"a": ""})  # its objects are unknown, not none


@pytest.mark.parametrize(("kind", "what"), [("folder", "a folder"), ("pipe", "a pipe, a socket or a device")])
def test_a_label_file_that_is_no_file_is_an_error(tmp_path: Path, kind: str, what: str) -> None:
    root = make(tmp_path, {"a.jpg": "", "b.jpg": "", "b.txt": "0 0.5 0.5 0.5 0.5\n", "classes.txt": "dog\n"})
    (root / "a.txt").mkdir() if kind == "folder" else os.mkfifo(root / "a.txt")
    found = yolo.scan(Source(root))
    assert (only(found).code, only(found).severity) == ("yolo.text.unreadable", "error")
    assert str(only(found).as_error()).startswith(f"{root}/a.txt: is {what}, not a label file")
    assert (found.dataset.images.stems, found.left_out) == (("b",), {"a": ""})


def test_a_label_file_of_zeros_is_an_error(tmp_path: Path) -> None:
    assert codes(one_file(tmp_path, b"\0" * 100)) == ["yolo.row.columns"]


def test_a_label_file_that_is_too_big_is_not_read(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.jpg": "", "classes.txt": "dog\n"})
    with (root / "a.txt").open("wb") as file:
        file.truncate(17 * 2**20)
    assert only(yolo.scan(Source(root))).problem == "is larger than 16 MB"


def test_what_rounding_adds_beyond_the_edge_is_taken_off_and_no_more(tmp_path: Path) -> None:
    # 0.062500 ± 0.1250005 / 2 and 0.5 ± 1.000001 / 2 lead 5e-7 out of the image
    found = one_file(tmp_path, "0 0.062500 0.5 0.125001 1.000001\n0 0.04 0.5 0.1 0.5\n")
    assert boxes(found)[0][2] == [0, 0, 12.50005, 80]
    assert boxes(found)[1][2] == [-1, 20, 9, 60]


def test_a_box_without_a_file_of_names_is_called_by_its_number(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.jpg": "", "a.txt": "7 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5\n"})
    found = yolo.scan(Source(root))
    assert found.dataset.labels == ("2", "7")
    assert [label for _, label, _ in boxes(found)] == ["7", "2"]
    assert str(only(found).as_error()) == (
        f"{root}: no file names the labels: their numbers are their names "
        '(add a classes.txt with one label on each line, or use `labels="classes.txt"`)'
    )


def test_a_label_list_names_the_numbers_or_orders_the_names(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("cat\ndog\n")
    rows = {"a.jpg": "", "a.txt": "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.5 0.5\n"}
    without_images = yolo.scan(Source(make(tmp_path / "without_images", rows), labels=tmp_path / "list.txt"))
    assert [label for _, label, _ in boxes(without_images)] == ["cat", "dog"]
    named = make(tmp_path / "named", {**rows, "classes.txt": "dog\ncow\n"})
    found = yolo.scan(Source(named, labels=tmp_path / "list.txt"))
    assert found.dataset.labels == ("cat", "dog")
    assert [label for _, label, _ in boxes(found)] == ["dog"]
    assert str(only(found).as_error()) == (
        f"{named}/a.txt:2: the label 'cow' is not in the label list (add it to the list, or correct the annotation)"
    )


@pytest.mark.parametrize(
    ("text", "labels", "found_codes"),
    [
        ("names: [dog, 'big cat']", ("dog", "big cat"), []),
        ("names:\n- dog\n- cat\n", ("dog", "cat"), []),
        ("names: {1: cat, 0: dog}", ("dog", "cat"), []),
        ("names: [no, 1, null, 1.0]", ("no", "1", "null", "1.0"), []),
        ("nc: 3\nnames: [dog, cat]", ("dog", "cat"), ["yolo.names.count"]),
        ("names: {0: dog, 2: cat}", ("dog", "1", "cat"), ["yolo.names.missing"]),
        ("names: [dog, ' ', cat]", ("dog", "1", "cat"), ["yolo.names.missing"]),
        ("names: [dog, cat, dog]", ("dog", "cat"), ["yolo.names.repeated"]),
        ("names: {0: dog, a: cat}", ("dog",), ["yolo.names.number"]),
        ("names: {0: dog, 0: cat}", ("cat",), ["yolo.yaml.repeated"]),
        ("names: classes.txt", ("from", "the", "list"), []),
        ("names: [dog\nnc: 1", ("from", "the", "list"), ["yolo.yaml.syntax"]),
        ("names: [dog\0]", ("from", "the", "list"), ["yolo.yaml.syntax"]),
        ("a: &x [dog]\nnames: *x", ("from", "the", "list"), ["yolo.yaml.refused"]),
        ("names: " + "[" * 5000, ("from", "the", "list"), ["yolo.yaml.refused"]),
        ("? [a, b]\n: c\nnames: [dog]", ("from", "the", "list"), ["yolo.yaml.refused"]),
        ("names: !!python/object/apply:os.system ['false']", ("false",), []),
        ("backbone: [a]\nnc: 2", ("from", "the", "list"), []),
        ("just a text", ("from", "the", "list"), []),
    ],
)
def test_the_names_of_a_yaml_file(tmp_path: Path, text: str, labels: tuple[str, ...], found_codes: list[str]) -> None:
    files = {"a.jpg": "", "a.txt": "0 0.5 0.5 0.5 0.5\n", "data.yaml": text}
    if labels[0] == "from":
        files["classes.txt"] = "from\nthe\nlist\n"
    found = yolo.scan(Source(make(tmp_path, files)))
    assert (found.dataset.labels, codes(found)) == (labels, found_codes)
    assert len(found.dataset.objects) == 1


def test_a_yaml_error_names_its_line(tmp_path: Path) -> None:
    files = {"a.jpg": "", "a.txt": "", "classes.txt": "dog\n", "data.yaml": "nc: 1\nnames:\n\t- dog\n"}
    finding = only(yolo.scan(Source(make(tmp_path, files))))
    assert (finding.place.line, finding.severity) == (3, "error")
    assert "'\\t'" in finding.problem


@pytest.mark.parametrize(("name", "count"), [("data.yaml", 2**18 + 1), ("classes.txt", 2**18 + 1)])
def test_a_file_of_names_that_is_too_big_is_not_read(tmp_path: Path, name: str, count: int) -> None:
    root = make(tmp_path, {"a.jpg": "", "a.txt": "", name: "x" * count})
    assert codes(yolo.scan(Source(root))) == ["yolo.names.too_big", "yolo.names.none"]


def test_names_that_are_no_utf8_are_an_error(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.jpg": "", "a.txt": "", "classes.txt": "狗\n".encode("gbk")})
    assert codes(yolo.scan(Source(root))) == ["yolo.names.encoding", "yolo.names.none"]


def test_lists_of_names_that_differ_are_an_error(tmp_path: Path) -> None:
    rows = "1 0.5 0.5 0.5 0.5\n"
    root = make(tmp_path, {"x/a.jpg": "", "x/a.txt": rows, "x/classes.txt": "dog\ncat\n", "classes.txt": "dog\ncow\n"})
    found = yolo.scan(Source(root))
    assert boxes(found)[0][1] == "cow"
    assert str(only(found).as_error()) == (
        f"{root}/x/classes.txt: its label 1 is 'cat', that of classes.txt is 'cow' "
        "(classes.txt is used: compare some boxes with their images to see which list the numbers refer to, "
        "then make the other the same)"
    )


ROW = "0 0.5 0.5 0.5 0.5\n"


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("labels/0a1b2c3d-a.txt", "images/a.jpg"),
        ("labels/0a1b2c3d__a.txt", "images/a.jpg"),
        ("labels/a.txt", "images/0a1b2c3d-a.jpg"),
        ("labels/a.txt", "images/a_jpg.rf.0123456789abcdef0123456789abcdef.jpg"),
        ("a.txt", "a.0a1b2c3d4e5f.jpg"),
    ],
)
def test_a_label_file_that_differs_from_its_image_in_a_hash_is_found(tmp_path: Path, text: str, image: str) -> None:
    found = yolo.scan(Source(make(tmp_path, {image: "", text: ROW, "classes.txt": "dog\n"})))
    assert [label for _, label, _ in boxes(found)] == ["dog"]
    assert (only(found).code, only(found).severity) == ("yolo.text.renamed", "warning")
    assert only(found).problem == f"1 label file found but for a hash in the name, such as {text} of {image}"


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("labels/caf\u00e9.txt", "images/cafe\u0301.jpg"),  # composed, and as macOS writes it
        ("labels/e\u0301te\u0301/img_1.txt", "images/\u00e9t\u00e9/IMG_1.JPG"),
        ("img_1.txt", "IMG_1.jpg"),
    ],
)
def test_a_label_file_that_differs_from_its_image_in_case_or_unicode_form_is_found(
    tmp_path: Path, text: str, image: str
) -> None:
    found = yolo.scan(Source(make(tmp_path, {"b.jpg": "", "b.txt": ROW, image: "", text: ROW, "classes.txt": "dog\n"})))
    assert [label for _, label, _ in boxes(found)] == ["dog", "dog"]
    assert found.findings == ()


def test_of_images_that_differ_in_case_only_the_one_of_the_label_file_has_objects(tmp_path: Path) -> None:
    found = yolo.scan(Source(make(tmp_path, {"A.jpg": "", "a.jpg": "", "a.txt": ROW, "classes.txt": "dog\n"})))
    assert [one.objects.label.tolist() for one in found.dataset] == [[], [0]]


def test_a_hash_that_fits_several_images_is_no_match(tmp_path: Path) -> None:
    files = {"images/a.jpg": "", "images/b.jpg": "", "images/0a1b2c3d-a.jpg": "", "classes.txt": "dog\n"}
    found = yolo.scan(Source(make(tmp_path, files | {"labels/ffee0011-a.txt": ROW, "labels/b.txt": ROW})))
    assert [stem for stem, _, _ in boxes(found)] == ["b"]
    assert sorted(codes(found)) == ["image.missing", "image.unannotated", "image.unannotated"]


def test_label_files_of_other_names_are_named(tmp_path: Path) -> None:
    root = make(tmp_path, {"images/0000_7436.jpg": "", "images/0000_6dd1.jpg": "", "labels/0000.txt": ROW})
    with pytest.raises(AnnotationError, match=r"no label file has the name of an image: labels/0000\.txt"):
        yolo.scan(Source(root))


def corners_text(center: tuple[float, float], size: tuple[float, float], degrees: float) -> str:
    """A row of Ultralytics' OBB format: a box of this size in pixels, turned clockwise."""
    angle = np.deg2rad(degrees)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    w, h = size
    offsets = [-w * along - h * across, w * along - h * across, w * along + h * across, -w * along + h * across]
    points = [(np.array(center) + offset / 2) / SIZE for offset in offsets]
    return "0 " + " ".join(f"{value:.6f}" for point in points for value in point) + "\n"


def test_rotated_boxes_are_read_as_the_box_around_them_with_angle_and_corners(tmp_path: Path) -> None:
    found = one_file(tmp_path, corners_text((50, 40), (30, 10), 30) + corners_text((50, 40), (20, 10), 0))
    # half of 30 cos 30° + 10 sin 30° is 15.490, half of 30 sin 30° + 10 cos 30° is 11.830
    assert boxes(found)[0][2] == pytest.approx([34.510, 28.170, 65.490, 51.830], abs=1e-3)
    assert boxes(found)[1][2] == pytest.approx([40, 35, 60, 45], abs=1e-3)
    assert len(found.dataset.objects.segmentation.rows) == 0
    extra = json.loads(dict(found.dataset.objects.extra.items())[0])
    assert extra["angle"] == pytest.approx(30, abs=1e-3)
    assert extra["corners"][:2] == pytest.approx([39.510, 28.170], abs=1e-3)
    assert (only(found).code, only(found).severity) == ("box.rotated", "warning")


def test_corners_outside_the_image_are_clipped_in_the_box_and_whole_in_the_extras(tmp_path: Path) -> None:
    found = one_file(tmp_path, corners_text((95, 40), (30, 10), 45))
    assert codes(found) == ["box.rotated"]
    assert boxes(found)[0][2] == pytest.approx([80.858, 25.858, 100, 54.142], abs=1e-3)
    assert max(json.loads(dict(found.dataset.objects.extra.items())[0])["corners"]) == pytest.approx(109.142, abs=1e-3)


def test_corners_with_nothing_in_the_image_are_an_error(tmp_path: Path) -> None:
    found = one_file(tmp_path, corners_text((130, 40), (30, 10), 45) + corners_text((50, 40), (30, 10), 45))
    assert codes(found) == ["box.rotated", "yolo.row.out_of_range"]
    assert len(boxes(found)) == 1


@pytest.mark.parametrize(
    "other",
    ["0 .1 .1 .4 .1 .3 .5\n", "0 .1 .1 .5 .1 .6 .5 .1 .3\n"],  # a triangle, a kite
)
def test_polygons_of_four_points_beside_other_polygons_are_masks(tmp_path: Path, other: str) -> None:
    found = one_file(tmp_path, corners_text((50, 40), (30, 10), 30) + other)
    assert codes(found) == []
    assert found.dataset.objects.segmentation.rows.tolist() == [0, 1]


def test_upright_rectangles_as_polygons_are_masks(tmp_path: Path) -> None:
    found = one_file(tmp_path, "0 .1 .1 .4 .1 .4 .5 .1 .5\n")
    assert (codes(found), found.dataset.objects.segmentation.rows.tolist()) == ([], [0])


def test_a_parallelogram_outside_the_image_beside_other_polygons_is_an_error(tmp_path: Path) -> None:
    found = one_file(tmp_path, corners_text((95, 40), (30, 10), 45) + "0 .1 .1 .4 .1 .3 .5\n")
    assert codes(found) == ["yolo.row.out_of_range"]
    assert len(boxes(found)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("obj.data", "Train = data/t.txt\nValidation = data/v.txt\nnames = obj.names\n"),
        ("data.yaml", "Train: t.txt\nValidation: v.txt\nnames: [dog]\n"),
    ],
)
def test_splits_named_as_in_cvat(tmp_path: Path, name: str, text: str) -> None:
    files = {"a.jpg": "", "a.txt": ROW, "b.jpg": "", "b.txt": ROW, "t.txt": "data/a.jpg\n", "v.txt": "data/b.jpg\n"}
    found = yolo.scan(Source(make(tmp_path, files | {name: text, "obj.names": "dog\n"})))
    assert splits(found) == {"train": ["a.jpg"], "val": ["b.jpg"]}


def test_many_empty_label_files_come_before_the_first_with_rows(tmp_path: Path) -> None:
    files = {f"{i:02}.txt": "" for i in range(40)} | {"40.txt": ROW}
    assert looks_like(make(tmp_path, files | {"40.jpg": "", "00.jpg": ""})) != ""


def test_lists_of_two_folders_are_two_datasets_to_merge(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.5 0.5\n"
    files = {"x/a.jpg": "", "x/a.txt": row, "x/classes.txt": "dog\n", "y/b.jpg": "", "y/b.txt": row}
    found = only(yolo.scan(Source(make(tmp_path, files | {"y/classes.txt": "cat\n"}))))
    assert (found.code, found.severity) == ("yolo.names.differ", "error")
    assert found.hint == (
        "each list numbers the labels of its own folder: read x/ and y/ as two datasets, and join them with "
        "`vocdet.merge(['x', 'y'], target)`"
    )


@pytest.mark.parametrize("name", ["labels.txt", "obj.names", "my.names", "predefined_classes.txt", "_darknet.labels"])
def test_a_label_list_of_any_usual_name_is_used(tmp_path: Path, name: str) -> None:
    files = {"set/a.jpg": "", "set/a.txt": "1 0.5 0.5 0.5 0.5\n", f"set/{name}": "dog\ncat\n"}
    found = yolo.scan(Source(make(tmp_path, files)))
    assert boxes(found)[0][1] == "cat"
    assert (found.findings, found.label_source) == ((), f"set/{name}")


def test_an_image_named_labels_keeps_its_label_file(tmp_path: Path) -> None:
    row = "0 0.5 0.5 0.5 0.5\n"
    found = yolo.scan(Source(make(tmp_path, {"labels.jpg": "", "labels.txt": row, "classes.txt": "dog\n"})))
    assert [label for _, label, _ in boxes(found)] == ["dog"]


def test_a_label_list_that_continues_another_is_accepted(tmp_path: Path) -> None:
    rows = "2 0.5 0.5 0.5 0.5\n"
    files = {"x/a.jpg": "", "x/a.txt": rows, "x/classes.txt": "dog\ncat\ncow\n", "classes.txt": "dog\ncat\n"}
    found = yolo.scan(Source(make(tmp_path, files)))
    assert boxes(found)[0][1] == "cow"
    assert (only(found).code, only(found).severity) == ("yolo.names.shorter", "warning")


def test_a_blank_line_in_a_list_of_names_counts(tmp_path: Path) -> None:
    found = one_file(tmp_path, "2 0.5 0.5 0.5 0.5\n", names="dog\r\n\r\ncat\r\n\r\n")
    assert found.dataset.labels == ("dog", "1", "cat")
    assert boxes(found)[0][1] == "cat"
    assert (only(found).code, only(found).place.line) == ("yolo.names.missing", 2)


@pytest.mark.parametrize(
    ("text", "found_parts", "found_codes"),
    [
        ("train: [images/a, images/b]", {"train": ["images/a/1.jpg", "images/b/2.jpg"]}, []),
        ("train: images", {"train": ["images/a/1.jpg", "images/b/2.jpg"]}, []),
        ("train: lists/all.txt\nval: images/b", {"train": ["images/a/1.jpg"], "val": ["images/b/2.jpg"]}, []),
        ("path: images\ntrain: a\nval: b", {"train": ["images/a/1.jpg"], "val": ["images/b/2.jpg"]}, []),
        ("train: .\\images\\a\\", {"train": ["images/a/1.jpg"]}, []),
        ("train: other_name/images/a", {"train": ["images/a/1.jpg"]}, []),
        ("train: /content/set/images/a", {"train": ["images/a/1.jpg"]}, ["path.absolute"]),
        ("train: C:\\set\\images\\a", {"train": ["images/a/1.jpg"]}, ["path.absolute"]),
        ("train: ../../x/../images/a", {"train": ["images/a/1.jpg"]}, ["path.traversal"]),
        ("path: /content/set\ntrain: images/a", {"train": ["images/a/1.jpg"]}, ["path.absolute"]),
        ("path: ../set\ntrain: images/a", {"train": ["images/a/1.jpg"]}, ["path.traversal"]),
        ("train: images/a\nval: images/c", {"train": ["images/a/1.jpg"]}, ["yolo.split.missing"]),
        ("train: .", {"train": ["images/a/1.jpg", "images/b/2.jpg"]}, []),
        ("train: null", {}, []),
    ],
)
def test_the_splits_of_a_yaml_file(
    tmp_path: Path, text: str, found_parts: dict[str, list[str]], found_codes: list[str]
) -> None:
    root = make(
        tmp_path,
        {
            "data.yaml": f"{text}\nnames: [dog]\n",
            "images/a/1.jpg": "",
            "labels/a/1.txt": "",
            "images/b/2.jpg": "",
            "labels/b/2.txt": "",
            "lists/all.txt": "../images/a/1.jpg\n",
        },
    )
    found = yolo.scan(Source(root))
    expected = [*found_codes, *(["path.absolute"] if "lists" in text else [])]
    assert (splits(found), codes(found)) == (found_parts, expected)


def test_a_list_of_images_finds_them_by_the_end_of_their_paths(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "classes.txt": "dog\n",
            "data/obj/1.jpg": "",
            "data/obj/1.txt": "",
            "data/obj/2.JPG": "",
            "data/obj/2.txt": "",
            "data/obj/3.jpg": "",
            "data/obj/3.txt": "",
            "train.txt": "\ufeffC:\\work\\data\\obj\\1.jpg\r\n\r\n/work/2.jpg\r\ndata/obj/1.jpg\r\n"
            "gone.jpg\r\nlost.jpg",
        },
    )
    found = yolo.scan(Source(root))
    assert splits(found) == {"train": ["data/obj/1.jpg", "data/obj/2.JPG"]}
    assert [str(finding.as_error()) for finding in found.findings] == [
        f"{root}/train.txt: names 2 images by paths outside the dataset: those with the same end are used "
        "(write paths relative to this file)",
        f"{root}/train.txt:5: names 'gone.jpg' and 1 more image, not in the dataset "
        "(delete the line, or restore the image)",
    ]


@pytest.mark.parametrize(("folder", "split"), [("train2017", "train"), ("Validation", "val"), ("test", "test")])
def test_folders_are_splits_where_nothing_else_is(tmp_path: Path, folder: str, split: str) -> None:
    files = {"classes.txt": "dog\n", f"images/{folder}/1.jpg": "", f"labels/{folder}/1.txt": ""}
    assert splits(yolo.scan(Source(make(tmp_path, files)))) == {split: [f"images/{folder}/1.jpg"]}


def test_images_of_one_name_in_two_splits_are_two_images(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "classes.txt": "dog\n",
            "images/train/1.jpg": "",
            "labels/train/1.txt": "0 0.5 0.5 0.5 0.5",
            "images/val/1.jpg": "",
            "labels/val/1.txt": "",
            "images/val/2.jpg": "",
            "labels/val/2.txt": "",
        },
    )
    found = yolo.scan(Source(root))
    assert found.dataset.images.stems == ("train/1", "val/1", "2")
    assert boxes(found) == [("train/1", "dog", [25, 20, 75, 60])]
    assert (only(found).code, only(found).severity) == ("image.stem", "warning")


def test_of_two_images_with_one_label_file_one_is_taken(tmp_path: Path) -> None:
    found = yolo.scan(Source(make(tmp_path, {"classes.txt": "dog\n", "a.jpg": "", "a.png": "", "a.txt": ""})))
    assert found.dataset.images.files == ("a.jpg",)
    assert (only(found).code, only(found).severity) == ("image.ambiguous", "warning")
    assert found.left_out == {"a": ""}


def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    root = make(
        tmp_path, {"classes.txt": "dog\n", "a.jpg": "", "a.txt": "0 0.5 0.5 0.5 0.5\n", "b.jpg": "", "b.txt": ""}
    )
    (root / "b.jpg").write_bytes(b"GIF89a")
    found = yolo.scan(Source(root))
    assert found.dataset.images.stems == ("a",)
    assert found.left_out == {"b": ""}
    assert (only(found).code, only(found).place.path.name) == ("image.corrupt", "b.jpg")


def test_an_image_that_its_exif_tag_turns_is_taken_turned(tmp_path: Path) -> None:
    root = make(tmp_path, {"classes.txt": "dog\n", "a.jpg": "", "a.txt": "0 0.5 0.5 1 0.5\n"})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(root / "a.jpg", exif=exif)
    found = yolo.scan(Source(root))
    assert (found.dataset.images.widths.tolist(), found.dataset.images.heights.tolist()) == ([80], [100])
    assert boxes(found) == [("a", "dog", [0, 25, 80, 75])]
    assert (only(found).code, only(found).severity) == ("image.turned", "warning")


def test_other_text_files_are_ignored(tmp_path: Path) -> None:
    files = {"a.jpg": "", "a.txt": "", "README.txt": "read me\n", "LICENSE.txt": "no", "notes/1.txt": "1 2 3 4 5\n"}
    assert codes(yolo.scan(Source(make(tmp_path, {**files, "classes.txt": "dog\n"})))) == []


def test_an_image_called_like_a_list_keeps_its_label_file(tmp_path: Path) -> None:
    rows = "0 0.5 0.5 0.5 0.5\n"
    files = {"classes.jpg": "", "classes.txt": rows, "train.jpg": "", "train.txt": rows, "obj.names": "dog\n"}
    found = yolo.scan(Source(make(tmp_path, files)))
    assert [stem for stem, _, _ in boxes(found)] == ["classes", "train"]
    assert found.findings == ()


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "no images and no label files found"),
        ({"a.jpg": "", "b.jpg": ""}, "no label files found beside 2 images"),
        ({"labels/a.txt": "0 0.5 0.5 0.5 0.5\n"}, "no images found for 1 label file"),
        ({"x/data.yaml": "names: [a]", "y/data.yaml": "names: [b]"}, "holds several datasets: x, y"),
        (
            {"p/a.jpg": "", "x/a.txt": "", "y/a.txt": ""},
            "has label files for the same images in x and y",
        ),
    ],
)
def test_a_folder_without_a_dataset_says_so(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    with pytest.raises(VocdetError) as caught:
        yolo.scan(Source(make(tmp_path, files)))
    assert caught.value.problem == problem
    assert caught.value.hint


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(VocdetError, match="no such folder"):
        yolo.scan(Source(tmp_path / "gone"))
    with pytest.raises(VocdetError, match="no such folder"):
        yolo.scan(Source(tmp_path / "gone.yaml"))


def test_links_are_followed_but_no_name_in_a_file_leads_out(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {"a.txt": "0 0.5 0.5 0.5 0.5\n", "b.jpg": ""})
    make(tmp_path / "private", {"secrets.txt": "secret\n"})
    root = make(
        tmp_path / "set",
        {
            "data.yaml": f"path: {outside}\ntrain: {outside}\nval: ../outside\nnames: ../private/secrets.txt\n",
            "a.jpg": "",
            "c.jpg": "",
            "c.txt": "",
        },
    )
    (root / "a.txt").symlink_to(outside / "a.txt")
    (root / "b.jpg").symlink_to(outside / "b.jpg")
    (root / "labels").symlink_to(outside)
    found = yolo.scan(Source(root))
    assert (len(found.dataset.objects), found.dataset.labels, found.dataset.splits) == (1, ("0",), {})
    assert found.dataset.images.files == ("a.jpg", "b.jpg", "c.jpg", "labels/b.jpg")
    assert [finding.count for finding in found.findings if finding.code == "path.linked"] == [3]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"data.yaml": "nc: 1\nnames: [a]\n"}, "there is a data.yaml"),
        ({"obj.data": "classes = 1"}, "there is a obj.data"),
        ({"a.jpg": "", "a.txt": "0 0.5 0.5 1 1\n"}, "a.txt is beside its image and holds fractions of it"),
        ({"x/a.jpg": "", "x/a.txt": "0 0.5 0.5 1 1\n"}, "x/a.txt is beside its image and holds fractions of it"),
        ({"labels/train/a.txt": "0 0.5 0.5 1 1\n"}, "labels/train/a.txt holds fractions of an image"),
        ({"a.txt": "0 0.5 0.5 1 1\n"}, "a.txt holds fractions of an image"),
        ({"train/labels/a.txt": "0 0.5 0.5 1 1\n"}, "train/labels/a.txt holds fractions of an image"),
        ({"labels/a.txt": "", "labels/b.txt": "0 0.5 0.5 1 1"}, "labels/b.txt holds fractions of an image"),
        ({}, ""),
        ({"a.jpg": "", "a.xml": "<annotation/>", "classes.txt": "dog\n"}, ""),
        ({"a.jpg": "", "a.txt": "a caption of five words\n"}, ""),
        ({"config.yaml": "model: x\nclass_names: [a]\n"}, ""),
        ({"ImageSets/Main/train.txt": "1 2 3 4 5\n", "JPEGImages/a.jpg": ""}, ""),
    ],
)
def test_a_folder_is_recognized(tmp_path: Path, files: dict[str, str], why: str) -> None:
    assert looks_like(make(tmp_path, files)) == why


def test_a_yaml_file_is_recognized(tmp_path: Path) -> None:
    make(tmp_path, {"data.yaml": "# of ours\nnames:\n  0: dog\n", "a.json": '{"names": 1}'})
    assert looks_like(tmp_path / "data.yaml") == "names labels"
    assert looks_like(tmp_path / "a.json") == ""
    assert looks_like(tmp_path / "gone") == ""


def png_header(width: int, height: int) -> bytes:
    """As much of a PNG as tells its size."""
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + chunk + zlib.crc32(chunk).to_bytes(4, "big")


def dataset_of(
    size: tuple[int, int],
    rows: Sequence[tuple[int, int, Sequence[float]]],  # image, label, box
    *,
    stems: Sequence[str] = ("a",),
    labels: Sequence[str] = ("dog", "cat"),
    **columns: Any,
) -> Dataset:
    n, m = len(stems), len(rows)
    images = Images(
        tuple(stems), tuple(f"x/{i}.png" for i in range(n)), np.full(n, size[0]), np.full(n, size[1]), ("",) * n
    )
    flags = {name: np.zeros(m, np.bool_) for name in ("difficult", "truncated", "occluded", "crowd")}
    objects = Objects(
        image=np.array([image for image, _, _ in rows], np.int32),
        label=np.array([label for _, label, _ in rows], np.int32),
        box=np.array([box for _, _, box in rows], np.float64).reshape(-1, 4),
        line=np.zeros(m, np.int32),
        **{**flags, **columns},
    )
    return Dataset(Path("nowhere"), tuple(labels), images, objects)


def written(folder: Path, dataset: Dataset, splits: Mapping[str, Sequence[int]] | None = None) -> dict[str, int]:
    """Write a dataset with images that are no more than their headers; the losses."""
    rows = {split: np.array(rows, np.int64) for split, rows in (splits or {}).items()}
    dataset = replace(dataset, splits=rows)
    targets = yolo_write.image_targets(dataset)
    losses = yolo_write.write(folder, dataset, targets, mask_areas(dataset.objects.segmentation).area)
    for row, target in enumerate(targets):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
        (folder / target).write_bytes(png_header(*size))
    return {loss.what: loss.count for loss in losses}


@st.composite
def drawn(draw: st.DrawFn) -> Dataset:
    """Some boxes, of whole pixels or of millionths, within their images."""
    size = draw(st.integers(1, 9_000)), draw(st.integers(1, 9_000))
    unit = draw(st.sampled_from([1, 10, 1_000_000]))
    rows = []
    for image in sorted(draw(st.lists(st.integers(0, 2), max_size=6))):
        xs = sorted(draw(st.lists(st.integers(0, size[0] * unit), min_size=2, max_size=2, unique=True)))
        ys = sorted(draw(st.lists(st.integers(0, size[1] * unit), min_size=2, max_size=2, unique=True)))
        box = (xs[0] / unit, ys[0] / unit, xs[1] / unit, ys[1] / unit)
        rows.append((image, draw(st.integers(0, 1)), box))
    return dataset_of(size, rows, stems=("a", "b", "c"))


@settings(max_examples=examples(100), deadline=None)
@given(drawn())
def test_what_is_written_reads_back_the_same(dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        losses = written(Path(folder), dataset)
        found = yolo.scan(Source(Path(folder)))
    assert losses == {}
    assert found.findings == ()
    assert found.dataset.labels == dataset.labels
    assert found.dataset.images.stems == dataset.images.stems
    for column in ("image", "label", "box"):
        np.testing.assert_array_equal(getattr(found.dataset.objects, column), getattr(dataset.objects, column))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(*[st.floats(-50, 150)] * 4), max_size=4))
def test_any_box_is_written_as_fractions_that_other_tools_accept(
    found: list[tuple[float, float, float, float]],
) -> None:
    rows = [(0, 0, (min(a, c), min(b, d), max(a, c), max(b, d))) for a, b, c, d in found]
    dataset = dataset_of((100, 80), rows)
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), dataset)
        text = (Path(folder) / "labels" / "a.txt").read_text()
        again = yolo.scan(Source(Path(folder)))
        first = again.dataset
        written(Path(folder) / "again", first)
        assert (Path(folder) / "again" / "labels" / "a.txt").read_text() == text
    for line in text.splitlines():
        cx, cy, w, h = (float(word) for word in line.split()[1:])
        assert 0 < w <= 1
        assert 0 < h <= 1
        assert 0 <= cx <= 1
        assert 0 <= cy <= 1
    assert again.findings == ()
    inside = np.clip([box for _, _, box in rows], 0, [100, 80, 100, 80]) if rows else np.empty((0, 4))
    inside = np.round(inside, 6)
    kept = inside[(inside[:, 2:] - inside[:, :2] > 5e-7).all(axis=1)]
    np.testing.assert_allclose(first.objects.box, kept, atol=1e-6, rtol=0)


def test_parts_are_folders_and_stand_in_the_yaml_file(tmp_path: Path) -> None:
    stems = ("a", "b", "c", "d", "e")
    dataset = dataset_of((100, 80), [(1, 1, (0, 0, 50, 40))], stems=stems, labels=("dog: 1", "c\"a't\x85"))
    losses = written(tmp_path, dataset, {"train": [0, 1], "val": [1, 2], "test": [3], "trainval": [0, 1, 2]})
    assert losses == {"further splits of images": 1}
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "data.yaml",
        "images/rest/e.png",
        "images/test/d.png",
        "images/train/a.png",
        "images/train/b.png",
        "images/val/c.png",
        "labels/rest/e.txt",
        "labels/test/d.txt",
        "labels/train/a.txt",
        "labels/train/b.txt",
        "labels/val/c.txt",
    ]
    assert yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8")) == {
        "train": "images/train",
        "val": "images/val",
        "test": "images/test",
        "nc": 2,
        "names": {0: "dog: 1", 1: "c\"a't\x85"},
    }
    assert (tmp_path / "labels/train/b.txt").read_text() == "1 0.25 0.25 0.5 0.5\n"
    assert (tmp_path / "labels/rest/e.txt").read_text() == ""
    assert splits(yolo.scan(Source(tmp_path))) == {
        "train": ["images/train/a.png", "images/train/b.png"],
        "val": ["images/val/c.png"],
        "test": ["images/test/d.png"],
    }


def test_without_splits_all_images_are_in_one_folder(tmp_path: Path) -> None:
    written(tmp_path, dataset_of((100, 80), [], stems=("a", "b"), labels=()))
    assert (tmp_path / "images" / "a.png").is_file()
    assert (tmp_path / "labels" / "b.txt").read_text() == ""
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {"nc": 0, "names": {}}
    assert yolo.scan(Source(tmp_path)).dataset.splits == {}


def test_a_trainval_that_is_not_divided_is_train(tmp_path: Path) -> None:
    dataset = dataset_of((100, 80), [], stems=("a", "b"))
    assert written(tmp_path / "1", dataset, {"trainval": [0], "test": [1]}) == {}
    assert splits(yolo.scan(Source(tmp_path / "1"))) == {"train": ["images/train/a.png"], "test": ["images/test/b.png"]}
    assert written(tmp_path / "2", dataset, {"trainval": [0, 1], "train": [0], "val": []}) == {
        "images only in trainval": 1
    }
    assert splits(yolo.scan(Source(tmp_path / "2"))) == {"train": ["images/train/a.png"]}


def test_what_cannot_be_written_is_counted(tmp_path: Path) -> None:
    box = (0.0, 0.0, 50.0, 40.0)
    rows = [(0, 0, box), (0, 0, box), (0, 0, (-10.0, 0, 50, 40)), (0, 0, (100, 0, 120, 40)), (0, 1, (5, 5, 5, 40))]
    yes = np.ones(5, np.bool_)
    dataset = dataset_of(
        (100, 80),
        rows,
        difficult=yes,
        truncated=yes,
        occluded=yes,
        crowd=yes,
        area=np.array([2000, 1999, np.nan, np.nan, np.nan]),
        segmentation=Texts.of([b"[[0,0,50,0,50,40]]", b"", b"", b"", b""]),
        extra=Texts.of([b'{"attributes":{"a":1},"parts":[]}', b'{"attributes":{"a":1}}', b"", b"", b""]),
    )
    images = replace(dataset.images, extra=Texts.of([b'{"license":1}']))
    dataset = replace(dataset, images=images, extra=b'{"info":{}}')
    assert written(tmp_path, dataset) == {
        "boxes clipped to their images": 1,
        "boxes without area in their images": 2,
        "masks": 1,
        "crowds": 5,
        "difficult objects": 5,
        "truncated objects": 5,
        "occluded objects": 5,
        "areas": 1,
        "attributes of objects": 2,
        "parts of objects": 1,
        "extras of images": 1,
        "extras of the dataset": 1,
    }
    text = (tmp_path / "labels" / "a.txt").read_text()
    assert text == "0 0.25 0.25 0.5 0.5\n" * 3


def test_poses_are_counted(tmp_path: Path) -> None:
    dataset = replace(dataset_of((100, 80), [(0, 0, (0, 0, 50, 40))]), poses=("", "Left"))
    dataset = replace(dataset, objects=replace(dataset.objects, pose=np.array([1], np.int16)))
    assert written(tmp_path, dataset) == {"poses": 1}


def test_an_image_of_unknown_size_cannot_be_written(tmp_path: Path) -> None:
    dataset = dataset_of((0, 80), [], stems=("a",))
    with pytest.raises(AnnotationError, match="the size of this image is unknown"):
        written(tmp_path, dataset)
    assert not any(tmp_path.iterdir())


def test_no_stem_leads_out_of_the_folder_or_to_another_label_file(tmp_path: Path) -> None:
    stems = ("../up", "/abs", "a/b", "a\\b", "images/x", "train/y", "y", "..", "C:z", "a..", "new\nline")
    dataset = dataset_of((100, 80), [(i, 0, (0, 0, i + 1, 80)) for i in range(len(stems))], stems=stems)
    dataset = replace(dataset, splits={"train": np.arange(len(stems))})
    targets = yolo_write.image_targets(dataset)
    assert targets == (
        "images/train/_._up.png",
        "images/train/_abs.png",
        "images/train/a/b.png",
        "images/train/a/b_2.png",
        "images/train/images_/x.png",
        "images/train/y.png",
        "images/train/y_2.png",
        "images/train/image.png",
        "images/train/C_z.png",
        "images/train/a...png",
        "images/train/new_line.png",
    )
    written(tmp_path, dataset, {"train": range(len(stems))})
    found = yolo.scan(Source(tmp_path)).dataset
    widths = dict(zip((found.images.files[row] for row in found.objects.image), found.objects.box[:, 2], strict=True))
    assert [widths[target] for target in targets] == [i + 1 for i in range(len(stems))]


def test_images_of_one_name_stay_where_they_are_from_trip_to_trip(tmp_path: Path) -> None:
    files = {"names.yaml": "names: [dog]\n", "train/images/1.png": "", "valid/images/1.png": ""}
    root = make(tmp_path / "0", {**files, "train/labels/1.txt": "", "valid/labels/1.txt": ""})
    for trip in range(1, 3):
        found = yolo.scan(Source(tmp_path / str(trip - 1)))
        written(
            tmp_path / str(trip), found.dataset, {split: rows.tolist() for split, rows in found.dataset.splits.items()}
        )
        assert splits(yolo.scan(Source(tmp_path / str(trip)))) == {
            "train": ["images/train/1.png"],
            "val": ["images/val/1.png"],
        }
    assert root.is_dir()


def test_real_truth_agrees_with_its_other_formats(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "fixtures" / "review_odm" / "database"
    shutil.copytree(folder / "gts" / "yolo_format", tmp_path / "set")
    shutil.copytree(folder / "images", tmp_path / "set" / "images")
    found = yolo.scan(Source(tmp_path / "set"))
    assert found.findings == ()
    assert (len(found.dataset), len(found.dataset.objects)) == (100, 273)
    truth = json.loads((folder / "gts" / "coco_format_v1" / "instances_default.json").read_text())
    names = {category["id"]: category["name"] for category in truth["categories"]}
    stems = {image["id"]: image["file_name"].removesuffix(".jpg") for image in truth["images"]}
    expected = [(stems[item["image_id"]], names[item["category_id"]], item["bbox"]) for item in truth["annotations"]]
    as_coco = [(stem, label, [x, y, xmax - x, ymax - y]) for stem, label, (x, y, xmax, ymax) in boxes(found)]
    for one, other in zip(sorted(as_coco), sorted(expected), strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_allclose(one[2], other[2], atol=0.002)  # six decimals of up to 500 pixels, twice


@pytest.mark.parametrize("seed", range(3))
def test_no_text_makes_the_reader_raise(tmp_path: Path, seed: int) -> None:
    randomly = random.Random(seed)
    words = [
        "0",
        "1",
        "0.5",
        "-1",
        "nan",
        "1e9",
        "1e999",
        "x",
        "9" * 5000,
        "\0",
        ",",
        "\n",
        "\r",
        "\ufeff",
        "５",
        "[",
        ":",
    ]
    for _ in range(150):
        text = " ".join(randomly.choices(words, k=randomly.randrange(30)))
        for name in ("a.txt", "classes.txt", "data.yaml", "train.txt"):
            make(tmp_path, {"a.jpg": ""} if not (tmp_path / "a.jpg").exists() else {})
            (tmp_path / name).write_text(text if name == "a.txt" or randomly.random() < 0.5 else "names: [a]")
        with contextlib.suppress(VocdetError):
            found = yolo.scan(Source(tmp_path))
            assert np.isfinite(found.dataset.objects.box).all()
