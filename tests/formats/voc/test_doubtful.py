"""Repeated elements, namespaces and markers in VOC files: reported, and read in their only sensible way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.data.findings import Finding
from vocdet.formats import registry
from vocdet.formats.scan import Source
from vocdet.formats.shared.builder import DIFFICULT
from vocdet.formats.voc.annotation import Annotation, read_annotation

BOX = "<bndbox><xmin>11</xmin><ymin>21</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>"
SIZE = "<size><width>100</width><height>80</height></size>"
OBJECT = f"<object><name>dog</name>{BOX}</object>"


def read(tmp_path: Path, text: str) -> Annotation:
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{text}</annotation>")
    return read_annotation(path)


def reported(found: Annotation) -> list[tuple[str, str]]:
    return [(finding.severity, finding.code) for finding in found.findings]


@pytest.mark.parametrize(
    ("inside", "code", "problem"),
    [
        (f"<name>dog</name>{BOX.replace('11', '1<b/>1')}", "voc.nested", "<xmin> holds an element, <b>, in place of text alone"),
        (f"<name>dog</name>{BOX.replace('11', '11<b>2</b>')}", "voc.nested", "<xmin> holds an element, <b>, in place of text alone"),
        (f"<name>do<b/>g</name>{BOX}", "voc.nested", "<name> holds an element, <b>, in place of text alone"),
        (f"<name>dog</name>{BOX.replace('<ymin>', '<xmin>12</xmin><ymin>')}", "voc.tag.repeated", "<xmin> is there twice, as 11 and as 12"),
        (f"<name>dog</name>{BOX}<object><name>cat</name>{BOX}</object>", "voc.unknown_tag", "an <object> is inside another one"),
    ],
)  # fmt: skip
def test_an_object_that_could_mean_two_things_is_an_error(tmp_path: Path, inside: str, code: str, problem: str) -> None:
    found = read(tmp_path, f"{SIZE}<object>{inside}</object>")
    assert [(one.severity, one.code, one.problem) for one in found.findings] == [("error", code, problem)]
    assert found.findings[0].hint
    assert found.objects == ()


def test_a_number_that_is_there_twice_with_one_value_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, f"<object><name>dog</name>{BOX.replace('<ymin>', '<xmin>11.0</xmin><ymin>')}</object>")
    assert found.findings == ()
    assert found.objects[0].box == (11, 21, 50, 60)


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        (f"<object><name>dog</name><difficult>0</difficult><difficult>1</difficult>{BOX}</object>", "voc.tag.repeated",
         "<difficult> is there twice, as 0 and as 1: read as 1"),
        (f"<object><name>dog</name><difficult>1<b/></difficult>{BOX}</object>", "voc.nested",
         "<difficult> holds an element, <b>, in place of text alone"),
        (f'<object difficult="1"><name>dog</name>{BOX}</object>', "voc.object.attribute",
         "<object> has the attribute 'difficult', which is not read"),
        (f"<filename>a.jpg</filename><filename>b.jpg</filename>{OBJECT}", "voc.tag.repeated",
         "<filename> is there twice, as 'a.jpg' and as 'b.jpg': the first is used"),
        (f"<filename>a<b/>.jpg</filename>{OBJECT}", "voc.nested",
         "<filename> holds an element, <b>, in place of text alone"),
        (f"{SIZE}<size><width>100</width><height>81</height></size>{OBJECT}", "voc.tag.repeated",
         "<size> is there twice, as 100×80 and as 100×81: the first is used"),
        (f"<size><width>100</width><width>90</width><height>80</height></size>{OBJECT}", "voc.tag.repeated",
         "<width> is there twice, as '100' and as '90': the first is used"),
        (f"<size><width>1<b/>00</width><height>80</height></size>{OBJECT}", "voc.size.bad_number",
         "<width> is '', not a size: the image's size is used"),
        (f"<object><name>dog</name>{BOX}<deleted>1</deleted></object>", "voc.object.deleted",
         "an <object> is marked as <deleted>: it is left out"),
    ],
)  # fmt: skip
def test_what_is_doubtful_is_a_warning(tmp_path: Path, text: str, code: str, problem: str) -> None:
    found = read(tmp_path, text)
    assert [(one.severity, one.code, one.problem) for one in found.findings] == [("warning", code, problem)]
    assert found.findings[0].hint
    assert len(found.objects) == ("deleted" not in text)


def test_of_two_flags_the_one_that_is_set_counts(tmp_path: Path) -> None:
    for flags in (
        "<difficult>0</difficult><difficult>1</difficult>",
        "<difficult>1</difficult><difficult>0</difficult>",
    ):
        assert read(tmp_path, f"<object><name>dog</name>{flags}{BOX}</object>").objects[0].flags == DIFFICULT


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["annotation xmlns='x'", "v:annotation xmlns:v='x'"])
def test_a_namespace_is_reported_and_ignored(tmp_path: Path, name: str, encoding: str) -> None:
    text = f"<?xml version='1.0' encoding='{encoding}'?><{name}>{SIZE}{OBJECT}</{name.split()[0]}>"
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    found = read_annotation(tmp_path / "a.xml")
    assert found.readable
    assert reported(found) == [("warning", "voc.namespace")]
    assert len(found.objects) == 1


def test_attributes_with_a_namespace_are_fine(tmp_path: Path) -> None:
    text = f"<annotation xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:schemaLocation='x'>{OBJECT}</annotation>"
    (tmp_path / "a.xml").write_text(text)
    assert read_annotation(tmp_path / "a.xml").findings == ()


def test_a_split_file_that_is_a_folder_is_an_error(make_voc: Callable[..., Path]) -> None:
    root = make_voc({"a": [("dog", (1, 2, 30, 40))]})
    (root / "ImageSets" / "Main" / "train.txt").mkdir(parents=True)
    found: list[Finding] = [one for one in registry.scan(Source(root)).findings if one.severity == "error"]
    assert [(one.code, one.problem, one.place.path.name) for one in found] == [
        ("imagesets.unreadable", "is not a file", "train.txt")
    ]
