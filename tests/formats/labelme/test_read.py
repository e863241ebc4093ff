from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import os
import random
import shutil
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pycocotools import mask as coco

from tests.conftest import save_image
from vocdet.data.decoding import decode
from vocdet.data.findings import Finding, Notes
from vocdet.errors import VocdetError
from vocdet.formats.labelme import read as labelme
from vocdet.formats.labelme.file import LabelmeFile
from vocdet.formats.labelme.layout import looks_like
from vocdet.formats.labelme.shapes import read_items
from vocdet.formats.scan import Scan, Source
from vocdet.workflows.convert import WrittenFormat, convert

SIZE = (100, 80)
BOX = [[10, 20], [50, 60]]
TRIANGLE = [[10, 20], [50.5, 20], [30, 60]]


def shape(points: Any = BOX, kind: str | None = "rectangle", label: Any = "dog", **keys: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **keys}


def content(*shapes: Any, **keys: Any) -> dict[str, Any]:
    """What labelme writes for an image called a.jpg."""
    whole = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": "a.jpg"}
    return whole | {"imageData": "iVBORw0KGgo=", "imageHeight": 80, "imageWidth": 100} | keys


def make(root: Path, files: dict[str, Any], *, images: tuple[str, ...] = ("a.jpg",)) -> Path:
    """Make these JSON files, given as what they hold or as bytes, and images."""
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(root / name, SIZE)
    for name, held in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(held if isinstance(held, bytes) else json.dumps(held, indent=2).encode())
    return root


def one(root: Path, *shapes: Any, **keys: Any) -> Scan:
    """What is found where these are the shapes of one image."""
    return labelme.scan(Source(make(root / "set", {"a.json": content(*shapes, **keys)})))


def boxes(found: Scan) -> list[tuple[str, list[float]]]:
    objects = found.dataset.objects
    return [(found.dataset.labels[label], box) for label, box in zip(objects.label, objects.box.tolist(), strict=True)]


def segmentations(found: Scan) -> list[Any]:
    column = found.dataset.objects.segmentation
    return [json.loads(column[row]) if column[row] else None for row in range(len(column))]


def extras(found: Scan) -> list[Any]:
    column = found.dataset.objects.extra
    return [json.loads(column[row]) if column[row] else None for row in range(len(column))]


def only(found: Scan) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def codes(found: Scan) -> list[str]:
    return [finding.code for finding in found.findings]


def png(mask: Any, mode: str = "1") -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask, np.bool_)).convert(mode).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def pixels(rle: dict[str, Any]) -> Any:
    """The mask as pycocotools decodes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, at how pycocotools hands over its memory
        return coco.decode(rle)


def test_a_folder_becomes_a_dataset(tmp_path: Path) -> None:
    found = one(tmp_path, shape(), shape(TRIANGLE, "polygon", "cat"))
    assert boxes(found) == [("dog", [10, 20, 50, 60]), ("cat", [10, 20, 50.5, 60])]
    assert segmentations(found) == [None, [[10, 20, 50.5, 20, 30, 60]]]
    dataset = found.dataset
    assert dataset.labels == ("cat", "dog")
    assert (dataset.images.files, dataset.images.sources) == (("a.jpg",), ("a.json",))
    assert (dataset.images.widths.tolist(), dataset.images.heights.tolist()) == ([100], [80])
    assert (dataset.objects.line.tolist(), dataset.entries) == ([1, 2], "shapes")
    assert (found.findings, found.format, found.coordinates) == ((), "labelme", "zero")
    assert found.kind == "a labelme folder, 1 JSON file beside the images"


@pytest.mark.parametrize(
    ("points", "kind", "box"),
    [
        ([[50, 60], [10, 20]], "rectangle", [10, 20, 50, 60]),
        ([[10, 60], [50, 20]], "rectangle", [10, 20, 50, 60]),
        ([[10, 20], [50, 20], [50, 60], [10, 60]], "rectangle", [10, 20, 50, 60]),
        (TRIANGLE, None, [10, 20, 50.5, 60]),
        ([[50, 40], [50, 30]], "circle", [40, 30, 60, 50]),
        ([[50, 40], [53, 44]], "circle", [45, 35, 55, 45]),
    ],
)
def test_the_box_of_a_shape(tmp_path: Path, points: Any, kind: str | None, box: list[float]) -> None:
    found = one(tmp_path, shape(points, kind))
    assert boxes(found) == [("dog", box)]
    assert found.findings == ()


def test_a_rotation_is_the_upright_box_around_it(tmp_path: Path) -> None:
    corners = [[20, 10], [40, 30], [30, 40], [10, 20]]  # its first side goes down to the right: 45 degrees clockwise
    found = one(tmp_path, shape(corners, "rotation", direction=math.pi / 4), shape(corners, "oriented_rectangle"))
    assert boxes(found) == [("dog", [10, 10, 40, 40])] * 2
    assert segmentations(found) == [None, None]
    assert extras(found) == [{"angle": 45.0, "corners": [20, 10, 40, 30, 30, 40, 10, 20]}] * 2
    finding = only(found)
    assert (finding.code, finding.severity) == ("box.rotated", "warning")
    assert finding.problem == "2 rotated boxes: the upright box around each is used"


def test_a_quadrilateral_is_a_polygon(tmp_path: Path) -> None:
    found = one(tmp_path, shape([[20, 10], [40, 30], [30, 40], [10, 20]], "quadrilateral"))
    assert segmentations(found) == [[[20, 10, 40, 30, 30, 40, 10, 20]]]


def embedded(size: tuple[int, int] = SIZE, format: str = "PNG") -> str:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(noise).save(file, format)
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(("format", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg")])
def test_an_image_in_the_file_is_read_and_written(tmp_path: Path, format: str, suffix: str) -> None:
    data = embedded(format=format)
    root = make(tmp_path / "set", {"sub/a.json": content(shape(), imageData=data)}, images=())
    found = labelme.scan(Source(root))
    assert (found.dataset.images.stems, found.dataset.images.files) == (("a",), (f"sub/a.json/a{suffix}",))
    assert only(found).code == "image.embedded"
    assert decode(found.dataset[0].path).shape == (80, 100, 3)
    targets: tuple[WrittenFormat, ...] = ("voc", "labelme")
    for to in targets:
        convert(Source(root), tmp_path / to, to=to)
        (written,) = (tmp_path / to).rglob(f"a{suffix}")
        assert written.read_bytes() == base64.b64decode(data)
    assert sorted(path.name for path in root.rglob("*")) == ["a.json", "sub"]


def test_an_image_beside_the_file_is_preferred(tmp_path: Path) -> None:
    found = one(tmp_path, shape(), imageData=embedded())
    assert found.dataset.images.files == ("a.jpg",)
    assert found.findings == ()


@pytest.mark.parametrize("data", ["iVBORw0KGgo" + "A" * 100, "/9j/" + "A" * 101, "iVBORw0KGgo" + "*" * 100])
def test_data_that_is_no_image_is_an_error(tmp_path: Path, data: str) -> None:
    root = make(tmp_path / "set", {"a.json": content(shape(), imageData=data)}, images=())
    found = labelme.scan(Source(root))
    (finding,) = [one for one in found.findings if one.code == "image.corrupt"]
    assert (finding.severity, finding.place.path.is_relative_to(root)) == ("error", True)


def test_a_circle_is_a_polygon_close_to_it(tmp_path: Path) -> None:
    found = one(tmp_path, shape([[50, 40], [80, 40]], "circle"))
    ((polygon,),) = segmentations(found)
    corners = np.array(polygon).reshape(-1, 2)
    np.testing.assert_allclose(np.hypot(*(corners - (50, 40)).T), 30, atol=1e-5)
    middles = (corners + np.roll(corners, 1, axis=0)) / 2
    assert np.hypot(*(middles - (50, 40)).T).min() > 29.5


def test_the_first_versions_wrote_no_shape_type(tmp_path: Path) -> None:
    old = {"label": "dog", "line_color": None, "fill_color": None, "points": TRIANGLE}
    found = one(tmp_path, old, lineColor=[0, 255, 0, 128], fillColor=[255, 0, 0, 128])
    assert segmentations(found) == [[[10, 20, 50.5, 20, 30, 60]]]
    assert extras(found) == [None]
    assert found.dataset.images.extra[0] == b""


def test_shapes_of_one_label_and_group_are_one_object(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        shape(TRIANGLE, "polygon", group_id=1, description="left half"),
        shape([[0, 0], [5, 0], [5, 5]], "polygon"),
        shape([[60, 30], [70, 30], [70, 75]], "polygon", group_id=1),
        shape([[1, 1], [9, 9]], "rectangle", group_id=1),
        shape(TRIANGLE, "polygon", "cat", group_id=1),
        shape(TRIANGLE, "polygon", group_id=2),
    )
    assert boxes(found) == [
        ("dog", [1, 1, 70, 75]),
        ("dog", [0, 0, 5, 5]),
        ("cat", [10, 20, 50.5, 60]),
        ("dog", [10, 20, 50.5, 60]),
    ]
    assert segmentations(found)[0] == [
        [10, 20, 50.5, 20, 30, 60],
        [60, 30, 70, 30, 70, 75],
        [1, 1, 9, 1, 9, 9, 1, 9],
    ]
    assert found.dataset.objects.line.tolist() == [1, 2, 5, 6]
    assert extras(found) == [{"group_id": 1, "description": "left half"}, None, {"group_id": 1}, {"group_id": 2}]


def test_flags_and_attributes_are_kept(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        shape(flags={"occluded": True, "wet": True, "truncated": False}, description="", difficult=True),
        shape(attributes={"color": "red"}, score=0.5, text="", kie_linking=[], difficult=False),
        flags={"night": True},
        comment="by me",
    )
    objects = found.dataset.objects
    assert objects.difficult.tolist() == [True, False]
    assert objects.occluded.tolist() == [True, False]
    assert objects.truncated.tolist() == [False, False]
    assert extras(found) == [{"attributes": {"wet": True}}, {"attributes": {"color": "red"}, "score": 0.5}]
    assert json.loads(found.dataset.images.extra[0]) == {"flags": {"night": True}, "comment": "by me"}


@pytest.mark.parametrize("kind", ["point", "points", "line", "linestrip"])
def test_shapes_without_area_are_left_out_with_a_finding(tmp_path: Path, kind: str) -> None:
    found = one(tmp_path, shape(), shape([[1, 2], [3, 4]], kind))
    assert len(found.dataset.objects) == 1
    finding = only(found)
    assert (finding.code, finding.severity, finding.place.inside) == ("labelme.shape.no_area", "warning", "shapes[1]")
    assert finding.problem == f"is a {kind}, which has no area: it is ignored"


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P"])
def test_a_mask_becomes_run_lengths(tmp_path: Path, mode: str) -> None:
    small = np.array([[0, 1, 0], [1, 1, 0]])
    found = one(tmp_path, shape([[10.0, 20.0], [12.0, 21.0]], "mask", mask=png(small, mode)))
    assert boxes(found) == [("dog", [10, 20, 12, 22])]
    whole = np.zeros((80, 100), np.uint8)
    whole[20:22, 10:13] = small
    np.testing.assert_array_equal(pixels(segmentations(found)[0]), whole)


def test_a_mask_may_be_of_the_whole_image(tmp_path: Path) -> None:
    whole = np.zeros((80, 100))
    whole[79, 99] = 1
    found = one(tmp_path, shape([[99, 79], [99, 79]], "mask", mask=png(whole)))
    assert boxes(found) == [("dog", [99, 79, 100, 80])]


def test_a_mask_and_a_polygon_of_one_group_become_one_mask(tmp_path: Path) -> None:
    rectangle = shape([[0, 0], [4, 3]], "rectangle", group_id=7)
    found = one(tmp_path, shape([[50, 50], [51, 50]], "mask", mask=png([[1, 1]]), group_id=7), rectangle)
    assert boxes(found) == [("dog", [0, 0, 52, 51])]
    expected = np.zeros((80, 100), np.uint8)
    expected[50, 50:52] = 1
    expected[:3, :4] = 1
    np.testing.assert_array_equal(pixels(segmentations(found)[0]), expected)


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 6))), st.integers(0, 4), st.integers(0, 3))
def test_any_mask_is_where_it_was_drawn(small: Any, left: int, top: int) -> None:
    height, width = small.shape
    points = [[left, top], [left + width - 1, top + height - 1]]
    notes = Notes()
    file = LabelmeFile(Path("a.json"), "", None, [shape(points, "mask", mask=png(small))], b"")
    items = read_items(file, (12, 10), notes)
    if not small.any():
        assert [finding.problem for finding in notes.findings] == ["has an empty mask"]
        return
    decoded = pixels(json.loads(items[0].segmentation))
    assert decoded.shape == (10, 12)
    np.testing.assert_array_equal(decoded[top : top + height, left : left + width], small)
    assert decoded.sum() == small.sum()
    ys, xs = np.nonzero(decoded)
    assert items[0].box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


@pytest.mark.parametrize(
    ("value", "code", "problem"),
    [
        ("dog", "labelme.shape", 'is "dog", not an object'),
        (shape(label=None), "label.empty", "has no label"),
        (shape(label="  "), "label.empty", "has no label"),
        (shape(label=["dog"]), "label.empty", 'has the label ["dog"]'),
        (shape(None), "labelme.shape.points", "has no points"),
        (shape([]), "labelme.shape.points", "has no points"),
        (shape([[1, 2]]), "labelme.shape.points", "is a rectangle with 1 point"),
        (shape([[1, 2], [3, 4]], "polygon"), "labelme.shape.points", "is a polygon with 2 points"),
        (shape([[1, 2], [3, "4"]]), "labelme.shape.points", 'points[1] is [3, "4"], not two numbers'),
        (shape([[1, 2], [3, None]]), "labelme.shape.points", "points[1] is [3, null], not two numbers"),
        (shape([[1, 2], [3, True]]), "labelme.shape.points", "points[1] is [3, true], not two numbers"),
        (shape([[1, 2], [3, 4, 5]]), "labelme.shape.points", "points[1] is [3, 4, 5], not two numbers"),
        (shape([1, 2, 3, 4]), "labelme.shape.points", "points[0] is 1, not two numbers"),
        (shape([[1, 2], [3, float("nan")]]), "labelme.shape.points", 'points[1] is [3, "NaN"], not two numbers'),
        (
            shape([[1, 2], [3, 10**30]]),
            "labelme.shape.far",
            f"points[1] is [3, {10**30}], far outside an image of 100×80",
        ),
        (shape(kind="cube"), "labelme.shape.type", 'has the unknown shape_type "cube"'),
        (shape(kind="mask"), "labelme.mask", "has a mask that cannot be read: it is missing"),
        (
            shape([[1, 2], [2, 2]], "mask", mask=png([[1]])),
            "labelme.mask",
            "has a mask that cannot be read: it is 1×1 pixels, not 2×1",
        ),
        (
            shape([[99, 2], [100, 2]], "mask", mask=png([[1, 1]])),
            "labelme.mask",
            "has a mask that cannot be read: it is 2×1 pixels, not 100×80",
        ),
        (shape([[1, 2], [1, 2]], "mask", mask=png([[0]])), "labelme.mask", "has an empty mask"),
    ],
)
def test_a_shape_that_cannot_be_used_says_why(tmp_path: Path, value: Any, code: str, problem: str) -> None:
    found = one(tmp_path, shape(), value, shape(TRIANGLE, "polygon"))
    finding = only(found)
    assert (finding.code, finding.severity, finding.problem) == (code, "error", problem)
    assert str(finding.place) == f"{tmp_path}/set/a.json: shapes[1]"
    assert finding.hint
    assert len(found.dataset.objects) == 2


@pytest.mark.parametrize(
    "mask", ["%%%", "aGVsbG8=", png(np.ones((2, 2)))[:40], base64.b64encode(b"GIF89a").decode(), 3]
)
def test_a_mask_that_is_not_a_png_is_an_error(tmp_path: Path, mask: Any) -> None:
    found = one(tmp_path, shape([[1, 2], [2, 3]], "mask", mask=mask))
    assert (only(found).code, only(found).severity) == ("labelme.mask", "error")
    assert len(found.dataset.objects) == 0


def test_space_around_a_label_is_removed_with_a_finding(tmp_path: Path) -> None:
    found = one(tmp_path, shape(label=" big  dog "), shape(label="small cat"), shape(label=3))
    assert found.dataset.labels == ("3", "big dog", "small cat")
    assert (only(found).code, only(found).severity) == ("label.whitespace", "warning")


@pytest.mark.parametrize(
    ("data", "code", "problem"),
    [
        (b"", "json.syntax", "is empty"),
        (b"\0" * 50, "json.syntax", "is empty"),
        (b'{"shapes": [', "json.syntax", "is not JSON: expecting value"),
        (b'{"shapes": [], "imagePath": "a.jpg"', "json.syntax", "is not JSON: expecting ',' delimiter"),
        (b'{"shapes": [1, 2' + b"]" * 2 + b"}", "json.syntax", "is not JSON: expecting ',' delimiter"),
        (b'{"shapes": ' + b"[" * 200_000, "json.syntax", ""),
        (b'{"shapes": [], "imageWidth": ' + b"9" * 5000 + b"}", "json.syntax", ""),
        (
            json.dumps(content(shape(label="狗")), ensure_ascii=False).encode("gbk"),
            "json.encoding",
            "is not UTF-8 text",
        ),
        (json.dumps(content(shape())).encode("utf-16"), "json.encoding", "is not UTF-8 text"),
        (b'{"shapes": [{"label": "\\ud800"}]}', "json.encoding", "is not UTF-8 text"),
        (b'{"shapes": null}', "labelme.shapes", "has no list of shapes: it is not a labelme file"),
        (b'{"shapes": {}}', "labelme.shapes", "has no list of shapes: it is not a labelme file"),
        (b"[1]", "labelme.shapes", "has no list of shapes: it is not a labelme file"),
        (b"3", "labelme.shapes", "has no list of shapes: it is not a labelme file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, data: bytes, code: str, problem: str) -> None:
    found = labelme.scan(Source(make(tmp_path, {"a.json": data})))
    finding = only(found)
    assert (finding.code, finding.severity) == (code, "error")
    assert finding.problem.startswith(problem)
    assert len(finding.problem) < 200
    assert finding.place.path == tmp_path / "a.json"
    assert found.left_out == {"a": ""}


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    text = json.dumps(content(shape(), imageData="A" * 100), indent=2).replace('"points"', "points")
    found = labelme.scan(Source(make(tmp_path, {"a.json": text.encode()})))
    assert only(found).place.line == text.split("points")[0].count("\n") + 1


def test_a_repeated_key_is_an_error(tmp_path: Path) -> None:
    text = json.dumps(content(shape())).replace('"shapes"', '"shapes": [], "shapes"')
    found = labelme.scan(Source(make(tmp_path, {"a.json": text.encode()})))
    assert (only(found).code, only(found).problem) == (
        "json.duplicate_key",
        "the key 'shapes' is duplicate in an object",
    )


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + json.dumps(content(shape())).encode()
    assert labelme.scan(Source(make(tmp_path, {"a.json": data}))).findings == ()


def test_the_image_within_the_file_is_not_looked_at(tmp_path: Path) -> None:
    data = json.dumps(content(shape(label='"imageData": "x"'))).encode().replace(b"iVBORw0KGgo=", b"A" * 12_000_000)
    found = labelme.scan(Source(make(tmp_path, {"a.json": data})))
    assert found.dataset.labels == ('"imageData": "x"',)
    assert found.findings == ()


def test_numbers_that_no_other_reader_takes_stay_text(tmp_path: Path) -> None:
    found = one(tmp_path, shape(score=float("inf"), rank=2**70))
    assert extras(found) == [{"score": "Infinity", "rank": 2**70}]


@pytest.mark.parametrize(
    ("image_path", "json_name", "image", "found_codes"),
    [
        ("a.jpg", "a.json", "a.jpg", []),
        ("a.jpg", "sub/a.json", "sub/a.jpg", []),
        ("images\\a.jpg", "a.json", "images/a.jpg", []),
        ("../images/a.jpg", "json/x.json", "images/a.jpg", []),
        ("..\\images\\a.jpg", "json/x.json", "images/a.jpg", []),
        ("old_name.jpg", "a.json", "a.jpg", []),
        ("a.png", "x/a.json", "y/a.jpg", []),
        (unicodedata.normalize("NFD", "é.JPG"), "x.json", "é.jpg", []),
        ("C:\\me\\a.jpg", "x.json", "deep/a.jpg", ["path.absolute"]),
        ("/home/me/a.jpg", "x.json", "deep/a.jpg", ["path.absolute"]),
        ("..\\..\\a.jpg", "x.json", "deep/a.jpg", ["path.traversal"]),
        ("", "a.json", "a.jpg", ["labelme.image_path"]),
        (None, "a.json", "a.jpg", ["labelme.image_path"]),
        ("a\0.jpg", "a.json", "a.jpg", ["path.name"]),
    ],
)
def test_the_image_of_a_file(
    tmp_path: Path, image_path: str | None, json_name: str, image: str, found_codes: list[str]
) -> None:
    root = make(tmp_path, {json_name: content(shape(), imagePath=image_path)}, images=(image,))
    found = labelme.scan(Source(root))
    assert (found.dataset.images.files, found.dataset.images.sources) == ((image,), (json_name,))
    assert codes(found) == found_codes


def test_an_image_path_beats_the_name_of_the_file_and_says_so(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.json": content(shape(), imagePath="b.jpg")}, images=("a.jpg", "b.jpg"))
    found = labelme.scan(Source(root))
    assert found.dataset.images.files == ("b.jpg",)
    assert codes(found) == ["labelme.image.differs", "image.unannotated"]


def test_two_files_of_one_image_are_an_error(tmp_path: Path) -> None:
    found = labelme.scan(Source(make(tmp_path, {"a.json": content(shape()), "b.json": content(shape(), shape())})))
    assert len(found.dataset.objects) == 1
    assert str(only(found).as_error()) == (
        f"{tmp_path}/b.json: its image a.jpg is also that of a.json (delete one of the two, or correct its imagePath)"
    )


def test_an_image_without_a_file_is_not_used(tmp_path: Path) -> None:
    found = labelme.scan(Source(make(tmp_path, {"a.json": content()}, images=("a.jpg", "b.jpg"))))
    assert found.dataset.images.stems == ("a",)
    assert found.left_out == {"b": "whose image has no annotation"}
    assert (only(found).code, only(found).severity) == ("image.unannotated", "warning")


def test_a_file_without_its_image_is_an_error(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.json": content(shape()), "gone.json": content(shape(), imagePath="gone.jpg")})
    finding = only(labelme.scan(Source(root)))
    assert (finding.code, finding.problem) == (
        "image.missing",
        "its image is missing: 'gone.jpg' is not in the dataset",
    )


@pytest.mark.parametrize(
    ("width", "height", "found_codes"),
    [
        (100, 80, []),
        (100.0, 80.0, []),
        (None, None, []),
        (640, 480, ["image.size_mismatch"]),
        (80, 100, ["image.size_mismatch"]),
        (None, 80, ["labelme.size"]),
        ("100", "80", ["labelme.size"]),
        (0, 0, ["labelme.size"]),
        (-100, 80, ["labelme.size"]),
        (float("nan"), 80, ["labelme.size"]),
        (10**400, 80, ["labelme.size"]),
    ],
)
def test_the_size_is_that_of_the_image(tmp_path: Path, width: Any, height: Any, found_codes: list[str]) -> None:
    found = one(tmp_path, shape(), imageWidth=width, imageHeight=height)
    assert (found.dataset.images.widths.tolist(), found.dataset.images.heights.tolist()) == ([100], [80])
    assert codes(found) == found_codes


@pytest.mark.parametrize("said", [(80, 100), (None, None)])
def test_an_image_that_its_exif_tag_turns_is_taken_turned(tmp_path: Path, said: tuple[int | None, ...]) -> None:
    root = make(tmp_path, {"a.json": content(shape(), imageWidth=said[0], imageHeight=said[1])})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (100, 80)).save(root / "a.jpg", exif=exif)
    found = labelme.scan(Source(root))
    assert (found.dataset.images.widths.tolist(), found.dataset.images.heights.tolist()) == ([80], [100])
    assert found.findings == ()


def test_other_json_files_are_passed_over(tmp_path: Path) -> None:
    others = {"coco.json": {"images": [], "annotations": [], "categories": []}, "package.json": {"name": "x"}}
    found = labelme.scan(Source(make(tmp_path, {"a.json": content(shape()), **others})))
    assert len(found.dataset.objects) == 1
    assert found.findings == ()


def test_folders_are_splits(tmp_path: Path) -> None:
    files = {f"{split}/{split}.json": content(imagePath=f"{split}.jpg") for split in ("train", "valid")}
    found = labelme.scan(Source(make(tmp_path, files, images=("train/train.jpg", "valid/valid.jpg"))))
    assert {split: rows.tolist() for split, rows in found.dataset.splits.items()} == {"train": [0], "val": [1]}
    assert found.kind == "a labelme folder, 2 JSON files in train, valid; splits by the names of the folders"


def test_a_label_list_gives_the_order_and_what_is_not_in_it_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("zebra\ndog\n")
    root = make(tmp_path / "set", {"a.json": content(shape(), shape(label="dgo"))})
    found = labelme.scan(Source(root, labels=tmp_path / "labels.txt"))
    assert found.dataset.labels == ("zebra", "dog")
    assert found.dataset.objects.label.tolist() == [1]
    assert str(only(found).as_error()) == (
        f"{root}/a.json: shapes[1]: the label 'dgo' is not in the label list (did you mean 'dog'?)"
    )


def test_files_alone_are_enough_where_no_image_is_wanted(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.json": content(shape(), imagePath="..\\x\\old.PNG"), "b.json": content()}, images=())
    with pytest.raises(VocdetError, match="no images found for 2 annotations"):
        labelme.scan(Source(root))
    found = labelme.scan(Source(root), without_images=True)
    assert found.dataset.images.files == ("a.PNG", "b.jpg")
    assert boxes(found) == [("dog", [10, 20, 50, 60])]


def test_a_folder_without_a_dataset_says_so(tmp_path: Path) -> None:
    with pytest.raises(VocdetError, match="no labelme files found beside 1 image"):
        labelme.scan(Source(make(tmp_path, {"x.json": {"images": []}})))
    with pytest.raises(VocdetError, match="no such folder"):
        labelme.scan(Source(tmp_path / "gone"))


def test_links_are_followed_but_no_name_in_a_file_leads_out(tmp_path: Path) -> None:
    make(tmp_path / "outside", {"a.json": content(shape())})
    root = make(tmp_path / "set", {"b.json": content(shape(), imagePath="../outside/a.jpg")}, images=("b.jpg",))
    (root / "a.json").symlink_to(tmp_path / "outside" / "a.json")
    (root / "a.jpg").symlink_to(tmp_path / "outside" / "a.jpg")
    found = labelme.scan(Source(root))
    assert found.dataset.images.files == ("a.jpg", "b.jpg")
    assert codes(found) == ["path.linked", "path.traversal"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"a.json": content(shape())}, "a.json holds shapes of an image"),
        ({"x/a.json": content(shape())}, "x/a.json holds shapes of an image"),
        ({"a.json": {"imageData": "A" * 10_000, "shapes": []}}, "a.json holds shapes of an image"),
        ({"a.json": {"images": [], "annotations": []}}, ""),
        ({"a.txt": content(shape())}, ""),
        ({}, ""),
    ],
)
def test_a_folder_is_recognized(tmp_path: Path, files: dict[str, Any], why: str) -> None:
    assert looks_like(make(tmp_path, files)) == why


def test_a_file_or_nothing_is_not_recognized(tmp_path: Path) -> None:
    assert looks_like(make(tmp_path, {}) / "a.jpg") == ""
    assert looks_like(tmp_path / "gone") == ""


@pytest.mark.parametrize("seed", range(3))
def test_no_file_makes_the_reader_raise(tmp_path: Path, seed: int) -> None:
    randomly = random.Random(seed)
    odd: list[Any] = [
        None,
        True,
        0,
        -1,
        1.5,
        1e308,
        10**30,
        "x",
        "",
        [],
        {},
        [[1, 2]],
        [[1, 2], [3, 4]],
        float("nan"),
        "mask",
    ]
    for _ in range(150):
        value = content(
            shape(), shape(TRIANGLE, "polygon", group_id=1), shape([[1, 2], [1, 2]], "mask", mask=png([[1]]))
        )
        for _ in range(randomly.randrange(1, 4)):
            target = randomly.choice([value, *[one for one in value.get("shapes") or [] if isinstance(one, dict)]])
            target[randomly.choice(list(target))] = randomly.choice(odd)
            if not isinstance(value["shapes"], list):
                value["shapes"] = [value["shapes"]]
        make(tmp_path, {"a.json": value}, images=() if (tmp_path / "a.jpg").exists() else ("a.jpg",))
        with contextlib.suppress(VocdetError):
            assert np.isfinite(labelme.scan(Source(tmp_path)).dataset.objects.box).all()


def test_real_files_are_read(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "microcontrollers"
    sources = sorted((folder / "labelme_test").glob("*.json"))
    for source in sources:
        shutil.copy(source, tmp_path)
        shutil.copy(folder / "test" / f"{source.stem}.jpg", tmp_path)
    found = labelme.scan(Source(tmp_path))
    assert found.findings == ()
    truth = {source.stem: json.loads(source.read_text())["shapes"] for source in sources}
    assert len(found.dataset) == len(truth) == 7
    for scene, polygons in zip(found.dataset, segmentations(found), strict=True):
        (drawn,) = truth[scene.stem]
        points = np.array(drawn["points"])
        np.testing.assert_allclose(scene.objects.box, [[*points.min(axis=0), *points.max(axis=0)]])
        np.testing.assert_allclose(polygons, [points.ravel()])
        assert found.dataset.labels[scene.objects.label[0]] == drawn["label"]


def test_real_truth_agrees_with_its_other_formats(shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "fixtures" / "review_odm" / "database"
    shutil.copytree(folder / "gts" / "labelme_format", tmp_path / "set")
    shutil.copytree(folder / "images", tmp_path / "set" / "images")
    found = labelme.scan(Source(tmp_path / "set"))
    assert found.findings == ()
    truth = json.loads((folder / "gts" / "coco_format_v1" / "instances_default.json").read_text())
    names = {category["id"]: category["name"] for category in truth["categories"]}
    stems = {image["id"]: image["file_name"].removesuffix(".jpg") for image in truth["images"]}
    expected = [(stems[item["image_id"]], names[item["category_id"]], item["bbox"]) for item in truth["annotations"]]
    objects = found.dataset.objects
    as_coco = [
        (found.dataset.images.stems[image], label, [xmin, ymin, xmax - xmin, ymax - ymin])
        for image, (label, (xmin, ymin, xmax, ymax)) in zip(objects.image, boxes(found), strict=True)
    ]
    assert len(as_coco) == 273
    for one_box, other in zip(sorted(as_coco), sorted(expected), strict=True):
        assert one_box[:2] == other[:2]
        np.testing.assert_allclose(one_box[2], other[2], atol=0.01)  # COCO's numbers there have two decimals


@pytest.mark.parametrize(("kind", "what"), [("folder", "a folder"), ("pipe", "a pipe, a socket or a device")])
def test_a_labelme_file_that_is_no_file_is_an_error(tmp_path: Path, kind: str, what: str) -> None:
    root = make(tmp_path, {"a.json": content(shape())})
    shutil.copy(root / "a.jpg", root / "b.jpg")
    (root / "b.json").mkdir() if kind == "folder" else os.mkfifo(root / "b.json")
    found = labelme.scan(Source(root))
    (finding,) = found.findings
    assert (finding.code, finding.severity, finding.place.path) == ("json.unreadable", "error", root / "b.json")
    assert finding.problem == f"is {what}, not a file"
    assert (found.dataset.images.stems, found.left_out) == (("a",), {"b": ""})


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"flags": {"difficult": "yes"}}, 'difficult is "yes", neither true nor false: it is kept as an attribute'),
        ({"occluded": 2}, "occluded is 2, neither true nor false: it is kept as an attribute"),
        ({"flags": ["difficult"]}, 'flags are ["difficult"], not an object: they are ignored'),
    ],
)
def test_flags_that_are_no_flags_are_named(tmp_path: Path, keys: dict[str, Any], problem: str) -> None:
    found = labelme.scan(Source(make(tmp_path, {"a.json": content({**shape(), **keys})})))
    (finding,) = found.findings
    assert (finding.code, finding.severity, finding.problem) == ("labelme.flags", "warning", problem)


def test_numbers_0_and_1_are_flags(tmp_path: Path) -> None:
    shapes = [{**shape(), "difficult": 1}, {**shape(), "flags": {"difficult": 0, "truncated": 1}}]
    found = labelme.scan(Source(make(tmp_path, {"a.json": content(*shapes)})))
    objects = found.dataset.objects
    assert (objects.difficult.tolist(), objects.truncated.tolist()) == ([True, False], [False, True])
    assert found.findings == ()
