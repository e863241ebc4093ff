from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.data.findings import Finding
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.builder import DIFFICULT, TRUNCATED
from vocdet.formats.voc import annotation as voc_xml
from vocdet.formats.voc.annotation import Annotation, read_annotation
from vocdet.formats.voc.coordinates import to_pixels
from vocdet.formats.voc.objects import RawObject
from vocdet.formats.voc.preserved import Header
from vocdet.formats.voc.write import WrittenObject, annotation_text

# What labelImg 1.8 saved for one box, tabs and all.
LABELIMG = """<annotation>
\t<folder>JPEGImages</folder>
\t<filename>a &amp; b.jpg</filename>
\t<path>/home/me/JPEGImages/a &amp; b.jpg</path>
\t<source>
\t\t<database>Unknown</database>
\t</source>
\t<size>
\t\t<width>640</width>
\t\t<height>480</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
\t<object>
\t\t<name>red &lt;cup&gt;</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>1</difficult>
\t\t<bndbox>
\t\t\t<xmin>260</xmin>
\t\t\t<ymin>177</ymin>
\t\t\t<xmax>491</xmax>
\t\t\t<ymax>376</ymax>
\t\t</bndbox>
\t</object>
</annotation>
"""
BOX = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>"


def read(tmp_path: Path, text: str | bytes) -> Annotation:
    path = tmp_path / "a.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_annotation(path)


def of_object(tmp_path: Path, inside: str) -> Annotation:
    return read(tmp_path, f"<annotation>\n<object>\n{inside}\n</object>\n</annotation>")


def only(found: Annotation) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def test_a_file_of_labelimg_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, LABELIMG)
    assert found.findings == ()
    assert (found.filename, found.size, found.database) == ("a & b.jpg", (640, 480), "Unknown")
    (item,) = found.objects
    assert item == ("red <cup>", (260, 177, 491, 376), DIFFICULT, 14, "", None)


def test_an_annotation_is_written_as_labelimg_writes_it() -> None:
    objects = [WrittenObject("red <cup>", (260, 177, 491, 376), difficult=True)]
    header = Header(folder="JPEGImages", path="/home/me/JPEGImages/a & b.jpg")
    text = annotation_text("a & b.jpg", (640, 480), objects, header=header)
    assert text == LABELIMG


def test_the_annotations_labelimg_saved_are_written_again_byte_for_byte(shared: Path) -> None:
    paths = sorted((shared / "data" / "microcontrollers").glob("t*/*.xml"))
    assert len(paths) == 149
    for path in paths:
        saved, found = path.read_text(), read_annotation(path)
        objects = [
            WrittenObject(item.label, item.box, bool(item.flags & DIFFICULT), bool(item.flags & TRUNCATED))
            for item in found.objects
        ]
        assert found.size is not None
        assert annotation_text(found.filename, found.size, objects, header=found.header) == saved


def test_missing_flags_pose_and_size_are_fine(tmp_path: Path) -> None:
    found = of_object(tmp_path, f"<name>dog</name>{BOX}")
    assert found.findings == ()
    assert found.size is None
    assert found.objects == (RawObject("dog", (11, 21, 50, 60), 0, 2, "", None),)


def test_names_and_boxes_of_nested_parts_are_not_the_objects_own(tmp_path: Path) -> None:
    part = BOX.replace("11", "1")
    inside = f"<part><name>head</name>{part}</part><name>man</name>{BOX}<attributes><name>id</name></attributes>"
    (item,) = of_object(tmp_path, inside).objects
    assert (item.label, item.box) == ("man", (11, 21, 50, 60))


def test_comments_namespaces_and_cdata_do_not_matter(tmp_path: Path) -> None:
    text = (
        '<?xml version="1.0"?><!-- by hand --><annotation xmlns="http://example.org/voc"><?php x?>'
        f"<object><name><![CDATA[dog]]><!-- or cat --></name>{BOX}</object></annotation>"
    )
    found = read(tmp_path, text)
    assert [item.label for item in found.objects] == ["dog"]
    assert (only(found).severity, only(found).code) == ("warning", "voc.namespace")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "gb18030"])
def test_a_declared_encoding_is_followed(tmp_path: Path, encoding: str) -> None:
    declared = {"utf-8-sig": "utf-8"}.get(encoding, encoding)
    text = f'<?xml version="1.0" encoding="{declared}"?><annotation><object><name>红</name>{BOX}</object></annotation>'
    assert [item.label for item in read(tmp_path, text.encode(encoding)).objects] == ["红"]


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "1e309"])
def test_a_coordinate_that_is_not_finite_is_refused(tmp_path: Path, text: str) -> None:
    found = only(of_object(tmp_path, f"<name>dog</name>{BOX.replace('50', text)}"))
    assert (found.code, found.problem) == ("voc.box.not_finite", f"<xmax> is {text!r}, not finite")


@pytest.mark.parametrize("text", ["ten", "5_0", "５０", "0x32", "50,5", "1 0", "--5", "50px", "1e", "."])
def test_text_where_a_number_belongs_is_refused(tmp_path: Path, text: str) -> None:
    found = of_object(tmp_path, f"<name>dog</name>{BOX.replace('50', text)}")
    assert only(found).code == "voc.box.bad_number"
    assert str(only(found).as_error()).startswith(f"{tmp_path}/a.xml:3: <xmax> is {text!r}, not a number (")
    assert found.objects == ()


@pytest.mark.parametrize("text", ["50", " 50\n", "+50", "50.", "50.0", "5e1", "500.0E-1"])
def test_a_number_may_be_written_in_several_ways(tmp_path: Path, text: str) -> None:
    (item,) = of_object(tmp_path, f"<name>dog</name>{BOX.replace('50', text)}").objects
    assert item.box == (11, 21, 50, 60)


@pytest.mark.parametrize(
    ("inside", "code", "problem"),
    [
        (BOX, "label.empty", "an <object> has no <name>"),
        (f"<name> \n</name>{BOX}", "label.empty", "an <object> has no <name>"),
        ("<name>dog</name>", "voc.box.missing", "an <object> has no <bndbox>"),
        ("<name>dog</name><polygon/>", "voc.box.missing", "an <object> has no <bndbox>"),
        (
            f"<name>dog</name>{BOX.replace('<xmax>50</xmax>', '')}",
            "voc.box.missing_coord",
            "<bndbox> has no <xmax>",
        ),
        (f"<name>dog</name>{BOX.replace('50', '')}", "voc.box.missing_coord", "<xmax> is empty"),
        (
            f"<name>dog</name>{BOX.replace('50', '5')}",
            "voc.box.inverted",
            "the box 11 21 5 60 ends before it begins (xmin ymin xmax ymax)",
        ),
        (
            "<name>dog</name><bndbox><xmin>.1</xmin><ymin>.2</ymin><xmax>.5</xmax><ymax>1</ymax></bndbox>",
            "voc.box.looks_normalized",
            "the box 0.1 0.2 0.5 1 looks normalized, not in pixels",
        ),
        (
            f"<name>dog</name>{BOX.replace('60', '1e308')}",
            "voc.box.far",
            "the box 11 21 50 1e+308 exceeds 1e+09 pixels",
        ),
        (
            f"<name>dog</name>{BOX.replace('60', '9' * 19)}",
            "voc.box.far",
            "the box 11 21 50 1e+19 exceeds 1e+09 pixels",
        ),
        (
            f"<name>dog</name>{BOX.replace('60', '9' * 400)}",
            "voc.box.not_finite",
            f"<ymax> is {'9' * 40!r}, not finite",
        ),
    ],
)
def test_an_object_that_cannot_be_used_is_an_error(tmp_path: Path, inside: str, code: str, problem: str) -> None:
    found = of_object(tmp_path, inside)
    assert (only(found).severity, only(found).code, only(found).problem) == ("error", code, problem)
    assert only(found).place.line in (2, 3)
    assert only(found).hint
    assert found.objects == ()


@pytest.mark.parametrize(("text", "code"), [("9" * 400, "voc.box.not_finite"), ("9" * 19, "voc.box.far")])
def test_a_part_with_an_invalid_box_is_preserved_as_its_tag(tmp_path: Path, text: str, code: str) -> None:
    part = f"<part><name>ear</name>{BOX.replace('60', text)}</part>"
    found = of_object(tmp_path, f"<name>dog</name>{BOX}{part}")
    assert (only(found).severity, only(found).code) == ("warning", code)  # the object can be used
    [item] = found.objects
    assert item.rare is not None
    assert (item.rare.parts, item.rare.tags) == ((), (part,))


@pytest.mark.parametrize(("count", "kept"), [(1000, 1000), (1001, 0)])
def test_too_many_attributes_are_dropped(tmp_path: Path, count: int, kept: int) -> None:
    attributes = " ".join(f'a{i}="{i}"' for i in range(count))
    found = read(tmp_path, f"<annotation {attributes}><object><name>dog</name>{BOX}</object></annotation>")
    assert len(found.header.attributes) == kept
    assert len(found.objects) == 1
    problems = [(one.severity, one.code, one.problem) for one in found.findings]
    assert problems == [("warning", "voc.attributes", "<annotation> has 1001 attributes: they are dropped")] * (
        not kept
    )


def test_an_area_of_0_is_one(tmp_path: Path) -> None:
    [item] = of_object(tmp_path, f"<name>dog</name>{BOX}<area>0</area>").objects
    assert item.rare is not None
    assert item.rare.area == 0


def test_one_bad_object_does_not_hide_the_others(tmp_path: Path) -> None:
    text = f"<annotation><object>{BOX}</object><object><name>dog</name>{BOX}</object></annotation>"
    found = read(tmp_path, text)
    assert [item.label for item in found.objects] == ["dog"]
    assert only(found).code == "label.empty"


@pytest.mark.parametrize(
    ("text", "value", "warned"),
    [("1", True, False), ("", False, False), ("Unspecified", False, False), ("1.0", True, True), ("yes", True, True),
     ("2", True, True), ("0.0", False, True), ("maybe", False, True)],
)  # fmt: skip
def test_a_flag_that_is_not_0_or_1_is_read_with_a_warning(tmp_path: Path, text: str, value: bool, warned: bool) -> None:
    found = of_object(tmp_path, f"<name>dog</name><difficult>{text}</difficult>{BOX}")
    assert bool(found.objects[0].flags & DIFFICULT) is value
    assert [finding.code for finding in found.findings] == ["voc.flag.bad_value"] * warned


def test_space_around_a_label_does_not_make_another_label(tmp_path: Path) -> None:
    found = of_object(tmp_path, f"<name>\n red  cup </name>{BOX}")
    assert found.objects[0].label == "red cup"
    assert (only(found).severity, only(found).code) == ("warning", "label.whitespace")


def test_a_polygon_without_a_box_gives_its_bounds(tmp_path: Path) -> None:
    points = "<polygon><x1>11</x1><y1>21.5</y1><x2>50</x2><y2>60</y2><x3>12</x3><y3>40</y3></polygon>"
    found = of_object(tmp_path, f"<name>dog</name>{points}")
    assert found.objects[0].box == (11, 21.5, 50, 60)
    assert only(found).code == "voc.box.from_polygon"


def test_a_polygon_that_reaches_too_far_gives_no_box(tmp_path: Path) -> None:
    polygon = "<polygon><x1>1</x1><y1>2</y1><x2>3</x2><y2>-1e10</y2></polygon>"
    found = of_object(tmp_path, f"<name>dog</name>{polygon}")
    assert [one.code for one in found.findings] == ["voc.box.from_polygon", "voc.box.far"]
    assert found.findings[1].problem == "the box 1 -1e+10 3 2 exceeds 1e+09 pixels"
    assert found.objects == ()


@pytest.mark.parametrize("size", ["0", "-5", "", "wide", "3.5", "nan", "1e12"])
def test_an_invalid_size_is_not_used(tmp_path: Path, size: str) -> None:
    found = read(tmp_path, f"<annotation><size><width>{size}</width><height>80</height></size></annotation>")
    assert found.size is None
    assert (only(found).severity, only(found).code) == ("warning", "voc.size.bad_number")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "xml.empty"),
        (" \n\0", "xml.empty"),
        (LABELIMG[:300], "xml.syntax"),
        (LABELIMG + "<annotation/>", "xml.syntax"),
        ("{}", "xml.syntax"),
        ("<annotation>&nbsp;</annotation>", "xml.syntax"),
        ("<annotation>" + "<a>" * 5000 + "</a>" * 5000 + "</annotation>", "xml.syntax"),
        ("<html/>", "xml.root"),
        ("<annotation>größe</annotation>".encode("latin-1"), "xml.encoding"),
        ('<?xml version="1.0" encoding="no-such"?><annotation/>', "xml.encoding"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "xml.dtd"),
        ('<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><annotation/>', "xml.dtd"),
        ('<!DOCTYPE a [<!ENTITY % x SYSTEM "file:///etc/passwd">%x;]><annotation/>', "xml.dtd"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation/>'.encode("utf-16"), "xml.dtd"),
        (f"<annotation><objects><object><name>dog</name>{BOX}</object></objects></annotation>", "voc.unknown_tag"),
        ("<annotation><Object><BndBox/></Object></annotation>", "voc.unknown_tag"),
    ],
)
def test_a_file_that_is_not_an_annotation_is_one_error(tmp_path: Path, text: str | bytes, code: str) -> None:
    found = read(tmp_path, text)
    assert (only(found).severity, only(found).code) == ("error", code)
    assert only(found).hint
    assert "\n" not in only(found).problem
    assert found.objects == ()


def test_no_entity_brings_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    dtd = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt">]>'
    found = read(tmp_path, f"{dtd}<annotation><object><name>&x;</name>{BOX}</object></annotation>")
    assert "secret" not in repr((found.objects, [finding.problem for finding in found.findings]))


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(voc_xml.LARGEST_FILE + 1)
    assert only(read_annotation(tmp_path / "a.xml")).problem == "is larger than 16 MB"


def test_a_file_that_cannot_be_opened_is_a_finding(tmp_path: Path) -> None:
    assert only(read_annotation(tmp_path / "none.xml")).problem == "cannot be read: no such file or directory"


CONVENTIONS: tuple[Coordinates, ...] = ("zero", "one")
coordinates = st.integers(-5, 4000) | st.decimals(0, 4000, places=4).map(float)
printable = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=12)
labels = printable.map(lambda text: " ".join(text.split())).filter(bool)
objects = st.tuples(
    labels,
    st.tuples(coordinates, coordinates, st.integers(4001, 9000), st.integers(4001, 9000)),
    st.booleans(),
    st.booleans(),
)


@given(printable.map(str.strip), st.lists(objects, max_size=4), st.sampled_from(CONVENTIONS))
def test_reading_gives_back_what_was_written(
    module_tmp_path: Path,
    name: str,
    written: list[tuple[str, tuple[float, float, float, float], bool, bool]],
    convention: Coordinates,
) -> None:
    path = module_tmp_path / "a.xml"
    records = [WrittenObject(*item) for item in written]
    path.write_text(annotation_text(name, (9000, 9000), records, coordinates=convention), encoding="utf-8")
    found = read_annotation(path)
    assert (found.filename, found.size, found.findings) == (name, (9000, 9000), ())
    boxes = to_pixels(np.array([item.box for item in found.objects]).reshape(-1, 4), convention)
    again = [
        (item.label, tuple(box), bool(item.flags & DIFFICULT), bool(item.flags & TRUNCATED))
        for item, box in zip(found.objects, boxes.tolist(), strict=True)
    ]
    assert again == written


def test_a_pipe_a_folder_and_a_device_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "folder.xml").mkdir()
    problems = {
        tmp_path / "pipe.xml": "cannot be read: not a regular file",
        tmp_path / "folder.xml": "cannot be read: is a directory",
        Path("/dev/zero"): "cannot be read: not a regular file",
    }
    for path, problem in problems.items():
        found = only(read_annotation(path))
        assert (found.severity, found.code, found.problem) == ("error", "xml.unreadable", problem)
