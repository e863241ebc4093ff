"""Whatever the bytes of an annotation file: a dataset with sound columns or a `VocdetError`, and never anything else.

What could be read, and has no error, is written in another format and read again: it is the same dataset.
`VOCDET_FUZZ=20` looks at twenty times as many files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vocdet import masks
from vocdet.data.checks.boxes import box_findings
from vocdet.data.checks.masks import mask_findings
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.data.mask_areas import mask_areas
from vocdet.errors import ManyErrors, OutputError, VocdetError
from vocdet.formats.coco import read as coco_json
from vocdet.formats.coco import write as coco_write
from vocdet.formats.scan import Scan, Source
from vocdet.formats.voc import image_sets
from vocdet.formats.voc import read as voc_tree
from vocdet.formats.voc import write as voc_write
from vocdet.formats.yolo import read as yolo
from vocdet.formats.yolo import write as yolo_write

TIMES = float(os.environ.get("VOCDET_FUZZ", "0.1"))  # 1 and more for a longer look


def fuzz(examples: int) -> settings:
    """So many examples, the same ones each time."""
    odd = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=int(examples * TIMES), derandomize=True, deadline=None, database=None,
                    suppress_health_check=odd)  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images of datasets in three formats."""
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("voc/JPEGImages/a.jpg", "coco/images/a.jpg", "coco/images/b.png", "yolo/images/a.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True) if not path.parent.exists() else None
        Image.new("RGB", (100, 80)).save(path)
    for name in ("voc/Annotations", "coco/annotations", "yolo/labels"):
        (folder / name).mkdir()
    (folder / "yolo" / "data.yaml").write_text("names: [dog, cat]\n")
    return folder


LABELIMG = """<annotation verified="yes">
\t<folder>JPEGImages</folder>
\t<filename>a.jpg</filename>
\t<path>C:\\pictures\\a.jpg</path>
\t<source>
\t\t<database>Unknown</database>
\t</source>
\t<size>
\t\t<width>100</width>
\t\t<height>80</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>dog</name>
\t\t<pose>Left</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>1</difficult>
\t\t<bndbox>
\t\t\t<xmin>11</xmin>
\t\t\t<ymin>21</ymin>
\t\t\t<xmax>50</xmax>
\t\t\t<ymax>60</ymax>
\t\t</bndbox>
\t</object>
</annotation>
"""
DEVKIT = """<?xml version="1.0" encoding="utf-8"?>
<annotation><filename>a.jpg</filename><source><database>The VOC2007 Database</database><flickrid>1</flickrid></source>
<owner><name>x</name></owner><size><width>100</width><height>80</height><depth>3</depth></size><segmented>1</segmented>
<object><name>person</name><pose>Unspecified</pose><truncated>1</truncated><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>99.5</xmax><ymax>80</ymax></bndbox>
<part><name>head</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>15</xmax><ymax>15.25</ymax></bndbox></part>
<actions><jumping>1</jumping></actions><point><x>3</x><y>4</y></point></object></annotation>"""
OTHERS = """<annotation><filename>a.jpg</filename><size><width>100</width><height>80</height></size>
<object><name>cat</name><occluded>1</occluded><crowd>1</crowd><polygon><x1>1.5</x1><y1>2</y1><x2>30</x2><y2>2</y2>
<x3>30</x3><y3>40</y3></polygon><bndbox><xmin>1.5</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>
<attributes><attribute><name>color</name><value>black &amp; white</value></attribute></attributes><area>17</area>
<coco>{"score":0.5,"keypoints":[1,2,2]}</coco></object><object><name>cat</name>
<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>
<segmentation>{"size":[80,100],"counts":[7000,1000]}</segmentation></object><coco>{"license":3}</coco></annotation>"""
COCO = json.dumps({
    "info": {"year": 2024},
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 100, "height": 80, "license": 2},
        {"id": 2, "file_name": "b.png", "width": 100, "height": 80},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [10, 20.5, 40, 39.25], "area": 1600, "iscrowd": 0,
         "segmentation": [[10, 20.5, 50, 20.5, 50, 59.75]]},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0.1, 0.2, 99.9, 79.8], "iscrowd": 1, "difficult": 1,
         "segmentation": {"size": [80, 100], "counts": [7000, 1000]}, "pose": "Left"},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "attributes": {"a": "b"}, "truncated": 1,
         "occluded": 1, "parts": [{"name": "ear", "bbox": [1, 2, 1, 1]}], "score": 0.5,
         "voc": {"tags": ["<x>1</x>"]}, "segmentation": []},
    ],
    "categories": [{"id": 1, "name": "cat", "supercategory": "pet"}, {"id": 3, "name": "dog"}],
})  # fmt: skip
YOLO = "0 0.5 0.5 0.2 0.25\n1 0.1 0.1 0.2 0.1 0.2 0.2\n\n0 0.25 0.5 0.1 0.1 0.9\n"
SPLIT = "a\nb 1\n c  -1 \r\nd.jpg\n"

NUMBERS = ["0", "-0", "-1", "1", "1.5", "0.1", "1e2", "1E-7", "1e308", "-1e308", "1e309", "nan", "NaN", "inf",
           "-Infinity", "9" * 19, "9" * 400, "2147483648", "9223372036854775808", "18446744073709551616", "5_0", "５０",
           "0x10", "1,5", "+1", ".5", "5.", "--1", "", " ", "4294967296", "0.30000000000000004", "1e-320", "100", "80",
           "99.999999999", "true", "null", "٣"]  # fmt: skip
TOKENS = ["<object>", "</object>", "<name>", "</name>", "<bndbox>", "</bndbox>", "<annotation>", "</annotation>", "<part>",
          "<polygon>", "<x1>1</x1>", "<difficult>1</difficult>", "<!--", "-->", "<![CDATA[", "]]>", "&amp;", "&lt;", "&x;",
          "&#0;", "&#65;", "<?x y?>", "<!DOCTYPE a [", "xmlns='u'", "xmlns:x='u'", "x:", "\0", "\x01", "\ufffe", "\u2028",
          "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "\xa0", "\t", "\n", "\r\n", " ", "/", "\\",
          "../", "'", '"', "<", ">", "=", "{", "}", "[", "]", ":", ",", "\\u0000", "\\ud800", "\\n", "null", "true",
          "{}", "[]", '""', '"id":1,', '"iscrowd":1,', '"segmentation":', '"bbox":', '"counts":"ab",', "e\u0301", "é", "%",
          '"voc":{"tags":["<a/>"]},', '"attributes":{"a":1},', "<coco>{}</coco>", "<truncated>", "dog", "cat"]  # fmt: skip
ENCODINGS = [
    "utf-8",
    "utf-8",
    "utf-8",
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-32",
    "latin-1",
    "gbk",
    "cp1252",
]

Edit = tuple[int, float, float, int]
EDITS = st.lists(
    st.tuples(st.integers(0, 9), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True),
              st.integers(0, 255)),
    min_size=1, max_size=6,
)  # fmt: skip


def mutated(text: str, edits: list[Edit], encoding: int) -> bytes:
    """A text that was edited by somebody in a hurry."""
    for kind, at, to, which in edits:
        first, last = sorted((int(at * len(text)), int(to * len(text))))
        near = min(last, first + which % 60)
        numbers = list(re.finditer(r"-?\d+(\.\d+)?", text))
        if kind == 0:
            text = text[:first] + text[near:]
        elif kind == 1:
            text = text[:near] + text[first:]
        elif kind == 2:
            text = text[:first] + TOKENS[which % len(TOKENS)] + text[first:]
        elif kind == 3:
            text = text[:first] + TOKENS[which % len(TOKENS)] + text[near:]
        elif kind == 4 and text:
            text = text[:first] + chr(which) + text[first + 1 :]
        elif kind in (5, 6, 7) and numbers:
            found = numbers[int(at * len(numbers))]
            text = text[: found.start()] + NUMBERS[which % len(NUMBERS)] + text[found.end() :]
        elif kind == 8:
            pieces = re.split(r"(?<=>)|(?<=,)", text)
            one, other = int(at * len(pieces)), int(to * len(pieces))
            pieces[one], pieces[other] = pieces[other], pieces[one]
            text = "".join(pieces)
        elif kind == 9 and which < 32:
            text = text[:first]
    return text.encode(ENCODINGS[encoding % len(ENCODINGS)], errors="replace")


def stops(finding: Finding) -> bool:
    return finding.severity == "error" and not finding.code.startswith("box.")


def scanned(root: Path, scan: Callable[[], Scan]) -> Scan | None:
    """What was read, if nothing is wrong with it; its columns are sound, and all that is odd has a place."""
    try:
        found = scan()
    except VocdetError as error:
        for one in error.errors if isinstance(error, ManyErrors) else (error,):
            assert one.problem
            assert one.place is not None
            assert one.place.path.is_relative_to(root)
        return None
    dataset = found.dataset
    objects = dataset.objects
    findings = [*found.findings, *box_findings(dataset), *mask_findings(dataset)]
    for finding in findings:
        assert re.fullmatch(r"[a-z]\w*(\.\w+)+", finding.code)
        assert finding.problem
        assert finding.place.path.is_relative_to(root)
        str(finding.as_error()).encode()  # it can be printed
    assert (dataset.images.widths > 0).all()
    assert (dataset.images.heights > 0).all()
    assert (objects.box[:, 2:] >= objects.box[:, :2]).all()
    assert np.isfinite(objects.box).all()
    assert not np.isinf(objects.area).any()
    assert all(label.strip() == label and label for label in dataset.labels)
    for column in (objects.extra, dataset.images.extra):
        assert all(isinstance(json.loads(text), dict) for _, text in column.items())
    return None if any(map(stops, findings)) or not len(dataset) else found


def same(one: Dataset, other: Dataset) -> None:
    assert list(one.images.stems) == list(other.images.stems)
    assert one.images.widths.tolist() == other.images.widths.tolist()
    assert said(one) == said(other)


def said(dataset: Dataset) -> list[tuple[Any, ...]]:
    objects = dataset.objects
    return [
        (int(objects.image[i]), dataset.labels[objects.label[i]], objects.box[i].tolist(), bool(objects.difficult[i]),
         bool(objects.truncated[i]), bool(objects.occluded[i]), bool(objects.crowd[i]), dataset.poses[objects.pose[i]],
         masks.parse(objects.segmentation[i]) if objects.segmentation[i] else None,
         {key: value for key, value in json.loads(objects.extra[i] or b"{}").items() if value != {"tags": []}})
        for i in range(len(objects))
    ]  # fmt: skip


def written(dataset: Dataset, folder: Path, to: str) -> dict[str, bytes] | None:
    """The annotation files a dataset becomes in a new folder; None where the format has no way to say it."""
    shutil.rmtree(folder, ignore_errors=True)
    areas = mask_areas(dataset.objects.segmentation).area
    try:
        if to == "voc":
            losses = voc_write.write(folder, dataset, voc_write.image_targets(dataset), areas)
        else:
            losses = coco_write.write(folder, dataset, coco_write.image_targets(dataset), areas)
    except OutputError:
        return None
    return None if losses else {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }  # fmt: skip


def there_and_back(dataset: Dataset, folder: Path, formats: tuple[str, str]) -> None:
    """A dataset in one format, then in the other, then in the first again is the same, and so are the files."""
    files = []
    for to in (formats[0], formats[1], formats[0]):
        made = written(dataset, folder / to, to)
        if made is None:
            return
        files.append(made)
        read = voc_tree.scan if to == "voc" else coco_json.scan
        found = read(Source(folder / to), without_images=True)
        assert not [finding for finding in found.findings if stops(finding)]
        same(dataset, found.dataset)
        dataset = replace(found.dataset, root=dataset.root)
    assert files[0] == files[2]


def looks_normalized(dataset: Dataset) -> bool:
    """Whether a box lies in the first pixel: in a VOC file, it is taken for shares of the image."""
    box = dataset.objects.box
    return bool(((box >= 0).all(axis=1) & (box[:, 2:] <= 1).all(axis=1)).any())


def look_at_voc(here: Path, xml: bytes) -> None:
    root = here / "voc"
    (root / "Annotations" / "a.xml").write_bytes(xml)
    for without_images in (False, True):
        found = scanned(root, partial(voc_tree.scan, Source(root), without_images=without_images))
    if found is not None:
        there_and_back(found.dataset, here / "trip", ("coco", "voc"))


def look_at_coco(here: Path, text: bytes) -> None:
    root = here / "coco"
    (root / "annotations" / "instances.json").write_bytes(text)
    found = scanned(root, lambda: coco_json.scan(Source(root / "annotations" / "instances.json")))
    if found is not None and not looks_normalized(found.dataset):
        there_and_back(found.dataset, here / "trip", ("voc", "coco"))


@fuzz(1500)
@given(base=st.sampled_from([LABELIMG, DEVKIT, OTHERS]), edits=EDITS, encoding=st.integers(0, 40))
def test_edited_xml(here: Path, base: str, edits: list[Edit], encoding: int) -> None:
    look_at_voc(here, mutated(base, edits, encoding if encoding < len(ENCODINGS) else 0))


@fuzz(1500)
@given(edits=EDITS, encoding=st.integers(0, 40))
def test_an_edited_coco_file(here: Path, edits: list[Edit], encoding: int) -> None:
    look_at_coco(here, mutated(COCO, edits, encoding if encoding < len(ENCODINGS) else 0))


TEXTS = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(TOKENS), st.text(max_size=6))
TAGS = ["name", "pose", "truncated", "difficult", "occluded", "crowd", "bndbox", "part", "polygon", "attributes", "area",
        "segmentation", "coco", "x1", "y1", "xmin", "size", "width", "object", "point", "actions", "filename", "folder",
        "path", "source", "database", "segmented", "coordinates", "Object", "BndBox", "foo"]  # fmt: skip


def element(tag: str, inner: str) -> str:
    return f"<{tag}>{inner}</{tag}>"


TREES: st.SearchStrategy[str] = st.recursive(
    st.builds(element, st.sampled_from(TAGS), TEXTS.map(escape)),
    lambda inner: st.builds(lambda tag, found: element(tag, "".join(found)), st.sampled_from(TAGS),
                            st.lists(inner, max_size=4)),
    max_leaves=6,
)  # fmt: skip
SIDES = st.one_of(st.integers(-5, 120).map(str), st.floats(-5, 120).map(repr), st.sampled_from(NUMBERS))


def box_of(sides: list[str]) -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    return element("bndbox", "".join(element(tag, side) for tag, side in zip(tags, sides, strict=True)))


BOXES = st.one_of(
    st.lists(SIDES, min_size=4, max_size=4).map(box_of),
    st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(41, 100)] * 2).map(lambda box: box_of(list(map(str, box)))),
)
POINTS = st.lists(st.floats(0, 100).map(lambda value: round(value, 3)), min_size=6, max_size=8)
POLYGONS = POINTS.map(lambda points: element("polygon", "".join(
    element(f"{'xy'[i % 2]}{i // 2 + 1}", str(value)) for i, value in enumerate(points))))  # fmt: skip
PARTS = st.builds(lambda name, box: element("part", element("name", escape(name)) + box), TEXTS, BOXES)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
KEYS = st.sampled_from(["id", "bbox", "box", "area", "iscrowd", "segmentation", "score", "keypoints", "voc", "attributes",
                        "parts", "pose", "license", "width", "tags", "zz"])  # fmt: skip
COCO_ELEMENTS = st.dictionaries(KEYS, JSON, max_size=3).map(lambda keys: element("coco", escape(json.dumps(keys))))
OBJECTS = st.builds(
    lambda label, box, rest: element("object", element("name", escape(label)) + box + "".join(rest)),
    st.one_of(st.sampled_from(["dog", "cat"]), TEXTS), BOXES,
    st.lists(st.one_of(TREES, POLYGONS, PARTS, COCO_ELEMENTS), max_size=3),
)  # fmt: skip


@fuzz(1200)
@given(st.lists(st.one_of(OBJECTS, OBJECTS, TREES, COCO_ELEMENTS), max_size=4))
def test_xml_of_the_right_tags_in_the_wrong_places(here: Path, elements: list[str]) -> None:
    size = "<filename>a.jpg</filename><size><width>100</width><height>80</height></size>"
    look_at_voc(here, element("annotation", size + "".join(elements)).encode("utf-8", "surrogatepass"))


NUMBER = st.one_of(st.integers(-5, 120), st.floats(-5, 120), st.floats(), st.integers())
SEGMENTATION = st.one_of(
    st.lists(POINTS, max_size=2), st.lists(st.lists(NUMBER, max_size=8), max_size=2), JSON,
    st.fixed_dictionaries({"size": st.just([80, 100]), "counts": st.integers(0, 8000).map(lambda n: [n, 8000 - n])}),
    st.fixed_dictionaries({"size": st.lists(NUMBER, max_size=3), "counts": st.one_of(
        st.lists(st.integers(-3, 9000), max_size=5), st.text(max_size=8))}),
)  # fmt: skip
TAG_TEXTS = st.lists(st.one_of(TREES, TEXTS), max_size=2)
IMAGE_VOC = st.fixed_dictionaries({}, optional={
    "folder": TEXTS, "path": TEXTS, "source": st.one_of(st.none(), st.dictionaries(TEXTS, TEXTS, max_size=2)),
    "depth": TEXTS, "segmented": TEXTS, "attributes": st.dictionaries(TEXTS, TEXTS, max_size=2), "tags": TAG_TEXTS,
    "masks": st.booleans(), "void": TEXTS})  # fmt: skip
ANNOTATIONS = st.fixed_dictionaries(
    {"id": st.one_of(st.integers(1, 9), JSON), "image_id": st.sampled_from([1, 1, 2, 3]),
     "category_id": st.sampled_from([1, 3, 3, 4]),
     "bbox": st.one_of(st.tuples(*[st.integers(0, 40)] * 4), st.lists(NUMBER, min_size=4, max_size=4), JSON)},
    optional={"area": st.one_of(NUMBER, JSON), "iscrowd": st.one_of(st.integers(0, 1), JSON), "pose": TEXTS,
              "segmentation": SEGMENTATION, "box": st.lists(NUMBER, min_size=4, max_size=4), "score": JSON,
              "difficult": st.booleans().map(int), "truncated": st.booleans().map(int), "attributes": JSON,
              "parts": st.one_of(JSON, st.lists(st.fixed_dictionaries({
                  "name": TEXTS, "bbox": st.lists(NUMBER, min_size=4, max_size=4)}), max_size=2)),
              "voc": st.one_of(JSON, st.fixed_dictionaries({"tags": TAG_TEXTS})), "zz": JSON},
)  # fmt: skip
WHOLES = st.fixed_dictionaries(
    {"images": st.tuples(
        st.fixed_dictionaries({"id": st.just(1), "file_name": st.just("a.jpg")}, optional={
            "width": st.sampled_from([100, 100.0, "100", -1, 2**70]), "height": st.sampled_from([80, 79]),
            "license": JSON, "voc": st.one_of(JSON, IMAGE_VOC), "zz": JSON}),
        st.fixed_dictionaries({"id": st.sampled_from([2, 2, 1, "2"]), "file_name": st.sampled_from([
            "b.png", "./b.png", "../b.png", "images/b.png", "", "c.png"])})),
     "annotations": st.lists(ANNOTATIONS, max_size=4),
     "categories": st.one_of(st.just([{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}]), st.lists(
         st.fixed_dictionaries({"id": st.integers(1, 4), "name": TEXTS}, optional={"zz": JSON}), max_size=3))},
    optional={"info": JSON, "licenses": JSON, "voc": JSON, "zz": JSON, "type": JSON},
)  # fmt: skip


@fuzz(1200)
@given(
    whole=WHOLES,
    indent=st.sampled_from([None, 1]),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]),
)
def test_coco_files_of_the_right_keys_with_the_wrong_values(
    here: Path, whole: dict[str, Any], indent: int | None, separators: tuple[str, str]
) -> None:
    look_at_coco(here, json.dumps(whole, indent=indent, separators=separators).encode())


ROWS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2).map(str), *[st.floats(0, 1).map(repr)] * 4).map(" ".join),
        st.lists(st.one_of(st.sampled_from(NUMBERS), st.floats(-0.1, 1.1).map(repr)), max_size=9).map(" ".join),
        st.text(max_size=12),
    ),
    max_size=4,
)


@fuzz(1200)
@given(rows=ROWS, edits=st.one_of(st.just([]), EDITS), end=st.sampled_from(["\n", "\r\n", "\r", " \n"]),
       encoding=st.integers(0, 40))  # fmt: skip
def test_rows_of_yolo(here: Path, rows: list[str], edits: list[Edit], end: str, encoding: int) -> None:
    root = here / "yolo"
    text = mutated(end.join(rows) or YOLO, edits, encoding if encoding < len(ENCODINGS) else 0)
    (root / "labels" / "a.txt").write_bytes(text)
    found = scanned(root, lambda: yolo.scan(Source(root)))
    if found is None:
        return
    shutil.rmtree(here / "back", ignore_errors=True)
    dataset = replace(found.dataset, splits={})
    areas = mask_areas(dataset.objects.segmentation).area
    yolo_write.write(here / "back", dataset, yolo_write.image_targets(dataset), areas)
    (here / "back" / "images").mkdir(exist_ok=True)
    shutil.copyfile(root / "images" / "a.jpg", here / "back" / "images" / "a.jpg")
    back = yolo.scan(Source(here / "back")).dataset
    objects = found.dataset.objects
    limits = np.array([100, 80, 100, 80])
    inside = np.clip(objects.box, 0, limits)
    kept = (np.round(inside, 6)[:, 2:] - np.round(inside, 6)[:, :2]).min(axis=1, initial=1) >= 5e-7
    assert [back.labels[i] for i in back.objects.label] == [found.dataset.labels[i] for i in objects.label[kept]]
    np.testing.assert_allclose(back.objects.box, inside[kept], atol=2e-6)
    if not looks_normalized(found.dataset):
        there_and_back(found.dataset, here / "trip", ("coco", "voc"))


@fuzz(800)
@given(edits=EDITS, encoding=st.integers(0, 40))
def test_split_files(here: Path, edits: list[Edit], encoding: int) -> None:
    root = here / "voc"
    (root / "Annotations" / "a.xml").write_text(LABELIMG)
    path = root / "ImageSets" / "Main" / "train.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mutated(SPLIT, edits, encoding if encoding < len(ENCODINGS) else 0))
    splits, odd = image_sets.read_splits(voc_tree.scan(Source(root)))
    for finding in odd:
        assert finding.place.path.is_relative_to(root)
        str(finding.as_error()).encode()
    assert all(rows.tolist() in ([], [0]) for rows in splits.values())
    shutil.rmtree(root / "ImageSets")
