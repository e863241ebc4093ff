from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.strategies import examples
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.mask_areas import mask_areas
from vocdet.data.texts import Texts
from vocdet.formats.scan import Coordinates
from vocdet.formats.voc.annotation import read_annotation
from vocdet.formats.voc.write_object import NOT_XML, coco_json, is_fragment, is_source, texts, xml_text

RLE = b'{"size":[8,9],"counts":[70,2]}'


def dataset(
    *, segmentation: bytes = b"", extra: object = None, area: float = np.nan, flags: tuple[int, int] = (0, 0)
) -> Dataset:
    """One object of 10 by 20 pixels."""
    none, (occluded, crowd) = np.zeros(1, np.bool_), (np.array([flag], np.bool_) for flag in flags)
    objects = Objects(np.array([0]), np.array([0]), np.array([[1, 2, 11, 22]]), none, none, occluded, crowd, np.array([0]),
                      area=np.array([area]), segmentation=Texts.of([segmentation]),
                      extra=Texts.of([extra if isinstance(extra, bytes) else json.dumps(extra).encode() if extra else b""]))  # fmt: skip
    return Dataset(Path(), ("dog",), Images(("a",), ("a.jpg",), np.array([99]), np.array([88]), ("",)), objects)


def written(
    made: Dataset, coordinates: Coordinates = "zero", *, in_png: bool = False
) -> tuple[list[str], dict[str, int]]:
    """The lines for the object, and what is lost."""
    losses: Counter[str] = Counter()
    areas = mask_areas(made.objects.segmentation).area
    found = texts(made, coordinates, {0} if in_png else set(), areas, losses)
    return found.get(0, "").replace("\t\t", "").splitlines(), {what: count for what, count in losses.items() if count}


def polygon(*numbers: str) -> str:
    tags = [f"{axis}{i}" for i in range(1, len(numbers) // 2 + 1) for axis in "xy"]
    return f"<polygon>{''.join(f'<{tag}>{text}</{tag}>' for tag, text in zip(tags, numbers, strict=True))}</polygon>"


def test_an_object_with_no_more_than_a_box_has_no_lines() -> None:
    assert written(dataset()) == ([], {})


def test_flags_that_voc_has_no_tags_for_get_some() -> None:
    assert written(dataset(flags=(1, 1))) == (["<occluded>1</occluded>", "<crowd>1</crowd>"], {})


@pytest.mark.parametrize(
    ("segmentation", "numbers"),
    [
        (b"[[1,2,3.50,-4,0.1,6]]", ["1", "2", "3.50", "-4", "0.1", "6"]),
        (b"[[1, 2, 3.50, -4, 0.1, 6]]", ["1", "2", "3.50", "-4", "0.1", "6"]),
        (b"[ [1 ,2,\n3.50,-4,1e-1,6E0] ]", ["1", "2", "3.5", "-4", "0.1", "6"]),
        (b"[[1e3,2,3,4,5e-7,600000000]]", ["1000", "2", "3", "4", "5e-7", "600000000"]),
    ],
)
def test_a_polygon_is_written_as_roboflow_writes_it(segmentation: bytes, numbers: list[str]) -> None:
    assert written(dataset(segmentation=segmentation)) == ([polygon(*numbers)], {})


def test_polygons_in_1_based_numbers_are_moved_like_the_corner_of_a_box() -> None:
    lines, _ = written(dataset(segmentation=b"[[1,2.5,0.1,0,3,4],[0.30000000000000004,0,9,9,9,0]]"), "one")
    assert lines == [polygon("2", "3.5", "1.1", "1", "4", "5"), polygon("1.3", "1", "10", "10", "10", "1")]


def test_an_rle_has_its_own_tag_unless_it_is_in_a_picture() -> None:
    compressed = b'{"size":[1,2],"counts":"<>&]]>"}'
    for segmentation in (RLE, b'{"size":[1,1], "counts":"01"}'):
        assert written(dataset(segmentation=segmentation)) == (
            [f"<segmentation>{segmentation.decode()}</segmentation>"],
            {},
        )
        assert written(dataset(segmentation=segmentation), in_png=True) == ([], {})
    assert written(dataset(segmentation=compressed))[1] == {"invalid masks": 1}


@pytest.mark.parametrize("segmentation", [b"[[1,2,3,4]]", b"[[1,2,3,4,5]]", b"[[1,2,3,4,5,6],[]]", b"5", b"[[1,2,3,4,5,1e999]]",
                                          b'{"size":[1,1],"counts":[2]}', b"[[1,2,3,4,5,null]]"])  # fmt: skip
@pytest.mark.parametrize("coordinates", ["zero", "one"])
def test_an_invalid_mask_is_counted(segmentation: bytes, coordinates: Coordinates) -> None:
    assert written(dataset(segmentation=segmentation), coordinates) == ([], {"invalid masks": 1})


@pytest.mark.parametrize(
    ("area", "segmentation", "line"),
    [(200, b"", ""), (200.0000001, b"", ""), (199, b"", "199"), (0, b"", "0"), (2, RLE, ""), (200, RLE, "200"), (0.25, RLE, "0.25"),
     (12.5, b"[[0,0,5,0,0,5]]", ""), (12.6, b"[[0,0,5,0,0,5]]", "12.6")],
)  # fmt: skip
def test_an_area_is_written_where_it_is_not_that_of_the_mask_or_the_box(
    area: float, segmentation: bytes, line: str
) -> None:
    lines, _ = written(dataset(area=area, segmentation=segmentation))
    assert [one for one in lines if one.startswith("<area>")] == ([f"<area>{line}</area>"] if line else [])


def test_attributes_are_written_as_cvat_writes_them() -> None:
    one = "<attribute><name>color &amp; more</name><value>&lt;red&gt;</value></attribute>"
    other = "<attribute><name>x</name><value></value></attribute>"
    extra = {"attributes": {"color & more": "<red>", "x": ""}}
    assert written(dataset(extra=extra)) == ([f"<attributes>{one}{other}</attributes>"], {})


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [({"a": True}, "true"), ({"a": 1.5}, "1.5"), ({"a": None}, "null"), ({"a": "\x07"}, "\ufffd"), ({"a": " "}, " "),
     ({"a": {"b": [1]}}, '{"b":[1]}')],
)  # fmt: skip
def test_attributes_that_are_not_texts_are_written_twice(attributes: dict[str, Any], shown: str) -> None:
    """For people and other tools as text, and exactly as JSON."""
    lines, losses = written(dataset(extra={"attributes": attributes}))
    assert lines[0] == f"<attributes><attribute><name>a</name><value>{shown}</value></attribute></attributes>"
    assert json.loads(lines[1].removeprefix("<coco>").removesuffix("</coco>")) == {"attributes": attributes}
    assert losses == {}


@pytest.mark.parametrize("attributes", [{}, [], "x", 5, None, {"": "x"}, {"\x07": "x"}, {" ": "x"}])
def test_attributes_that_are_no_names_and_values_are_json_alone(attributes: object) -> None:
    lines, losses = written(dataset(extra={"attributes": attributes}))
    (line,) = lines
    assert json.loads(line.removeprefix("<coco>").removesuffix("</coco>")) == {"attributes": attributes}
    assert losses == {}


def test_a_number_too_large_for_any_program_is_no_attribute() -> None:
    lines, _ = written(dataset(extra=b'{"attributes":{"a":1e999}}'))
    assert lines == ['<coco>{"attributes":{"a":1e999}}</coco>']


@pytest.mark.parametrize(
    ("bbox", "coordinates", "sides"),
    [([10, 20, 5, 6.5], "zero", ["10", "20", "15", "26.5"]), ([10, 20, 5, 6.5], "one", ["11", "21", "15", "26.5"]),
     ([0.1, 0.2, 0.2, 0.1], "zero", ["0.1", "0.2", "0.3", "0.3"]), ([0.1234567, 1, 0.7654321, 1], "zero", ["0.1234567", "1", "0.8888888", "2"])],
)  # fmt: skip
def test_a_part_has_corners(bbox: list[float], coordinates: Coordinates, sides: list[str]) -> None:
    box = "".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    lines, losses = written(dataset(extra={"parts": [{"name": "head & neck", "bbox": bbox}]}), coordinates)
    assert lines == [f"<part><name>head &amp; neck</name><bndbox>{box}</bndbox></part>"]
    assert losses == {}


@pytest.mark.parametrize(
    "parts",
    [[], [5], "x", [{"name": "a"}], [{"name": "a", "bbox": [1, 2, 3]}], [{"name": "a", "bbox": [1, 2, 3, 4], "score": 1}],
     [{"name": "\x07", "bbox": [1, 2, 3, 4]}], [{"name": "a", "bbox": [1e-20, 2, 3, 4]}]],
)  # fmt: skip
def test_parts_of_another_kind_are_kept_as_json(parts: object) -> None:
    lines, losses = written(dataset(extra={"parts": parts}), "one")
    assert json.loads(lines[-1].removeprefix("<coco>").removesuffix("</coco>")) == {"parts": parts}
    assert losses == {}


def test_a_part_beyond_any_image_is_kept_as_json_alone() -> None:
    parts = [{"name": "a", "bbox": [0, 0, 0, 1000000001]}]
    lines, losses = written(dataset(extra={"parts": parts}), "zero")
    assert [json.loads(line.removeprefix("<coco>").removesuffix("</coco>")) for line in lines] == [{"parts": parts}]
    assert losses == {}


def test_keys_of_coco_travel_as_json() -> None:
    lines, losses = written(dataset(extra={"score": 0.5, "a&<b>": "]]>", "voc": {"tags": ["<x/>"]}}))
    assert lines == ["<x/>", '<coco>{"score":0.5,"a&amp;&lt;b&gt;":"]]&gt;"}</coco>']
    assert losses == {}


def test_json_is_written_in_characters_that_xml_has() -> None:
    assert coco_json({}) == b""
    raw = json.dumps({"a": "\x07\ufffe\uffffé\U0001fffe\x7f"}, ensure_ascii=False).encode()
    text = coco_json({"x": __import__("msgspec").Raw(raw)}).decode()
    assert not NOT_XML.search(text)
    assert json.loads(text) == {"x": {"a": "\x07\ufffe\uffffé\U0001fffe\x7f"}}
    etree.fromstring(f"<a>{xml_text(text)}</a>".encode())


@pytest.mark.parametrize(
    ("voc", "lost"),
    [({"tags": ["<x/>", "<y>"]}, 1), ({"tags": ["x"]}, 1), ({"tags": [""]}, 1), ({"tags": ["<a/><b/>"]}, 1), ({"tags": [5]}, 1),
     (5, 1), ({"tag": []}, 1), ({"tags": ["<x/>"], "other": 1}, 1), ({"tags": []}, 0), ({}, 0)],
)  # fmt: skip
def test_invalid_tags_are_counted(voc: object, lost: int) -> None:
    _, losses = written(dataset(extra={"voc": voc}))
    assert losses.get("invalid XML tags", 0) == lost


@pytest.mark.parametrize(
    "xml",
    ["<x/>", "<x>a &amp; b</x>", '<x y="1">a<b/>c</x>', "<größe/>", "<a:b xmlns:a='u'/>", "<x xmlns='u'/>", "<part><name>a</name></part>",
     "<part><bndbox/></part>", "<attributes/>", "<robndbox/>", "<a>" * 200 + "</a>" * 200, "<polygon/>"],
)  # fmt: skip
def test_an_unknown_element_may_appear_once(xml: str) -> None:
    assert is_fragment(xml)


@pytest.mark.parametrize(
    "xml",
    ["", "x", "<x", "<x/> ", " <x/>", "<x/>y", "<x/><y/>", "</b></a><x/>", "</object><object>", "<!-- x -->", "<?x?>", "<x><!-- y --></x>",
     "<x>&y;</x>", "<!DOCTYPE x><x/>", "<x>\x07</x>", "<x>\ud800</x>", "<a:b/>", "<x y/>", "<object/>", "<OBJECT/>", "<name>cat</name>",
     "<bndbox/>", "<x><object/></x>", "<x><BndBox/></x>", "<object xmlns='u'/>", "<x xmlns='u'><object/></x>", "<u:object xmlns:u='v'/>",
     "<difficult>1</difficult>", "<segmentation/>", "<area>5</area>", "<filename/>", "<size/>", "<coco>{}</coco>", "<coordinates/>",
     "<annotation/>", "<source/>", "<pose/>", "<a>" * 256 + "</a>" * 256, "<x>" + "y" * 11_000_000 + "</x>"],
    ids=lambda text: text[:20].encode(errors="replace").decode(),
)  # fmt: skip
def test_what_would_make_another_file_of_it_may_not(xml: str) -> None:
    assert not is_fragment(xml)


def test_a_source_of_more_than_texts_may_stand_where_there_is_no_other() -> None:
    assert is_source("<source><database>x</database><database>y</database></source>")
    assert is_source('<source by="me"><image><flickr>5</flickr></image></source>')
    for xml in ("<source><object/></source>", "<x/>", "<source/><source/>", "<source", "<x><source/></x>"):
        assert not is_source(xml)


xml_like = st.lists(st.sampled_from(["<", ">", "/", "x", "object", "name", " ", "&", ";", "!--", "-->", "<x>", "</x>", "<x/>", "?", '"', "=",
                                     "xmlns", "]]>", "<![CDATA["]), max_size=12).map("".join)  # fmt: skip


@settings(max_examples=examples(200), deadline=None)
@given(xml_like | st.text(max_size=10), st.text(max_size=6))
def test_no_text_becomes_more_than_itself_in_a_file(module_tmp_path: Path, tag: str, value: str) -> None:
    """Whatever stands in a COCO file, the XML made of it is read, and has one object of one label."""
    extra: Any = {
        "voc": {"tags": [tag]},
        "attributes": {value: tag, tag: value},
        "parts": [{"name": tag, "bbox": [1, 2, 3, 4]}],
        value: tag,
    }
    try:
        lines, _ = written(dataset(extra=json.dumps(extra, ensure_ascii=False).encode()))
    except UnicodeEncodeError:  # half a character, which no reader lets through
        return
    path = module_tmp_path / "a.xml"
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox>"
    path.write_text(
        f"<annotation><object><name>dog</name>{box}{''.join(lines)}</object></annotation>", encoding="utf-8"
    )
    found = read_annotation(path)
    assert found.findings == ()
    assert [(item.label, item.box) for item in found.objects] == [("dog", (1, 2, 3, 4))]
    assert len(etree.parse(path).findall(".//object")) == 1
