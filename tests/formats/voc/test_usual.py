"""Files of the usual form give the same with and without an XML parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.formats.voc import annotation as voc_annotation
from vocdet.formats.voc.annotation import Annotation, read_annotation
from vocdet.formats.voc.usual import read_usual, usual_objects

HEADER = """<annotation>
\t<folder>JPEGImages</folder>
\t<filename>a.jpg</filename>
\t<path>a.jpg</path>
\t<source>
\t\t<database>Unknown</database>
\t</source>
\t<size>
\t\t<width>640</width>
\t\t<height>480</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
"""
BOX = "<bndbox>\n<xmin>1</xmin>\n<ymin>2</ymin>\n<xmax>30.5</xmax>\n<ymax>40</ymax>\n</bndbox>\n"
LABELIMG = f"""{HEADER}\t<object>
<name>traffic light</name>
<pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
{BOX}\t</object>
</annotation>
"""
DEVKIT = f"""{HEADER}<object><name>person</name><pose>Unspecified</pose><truncated>0</truncated><occluded>1</occluded>
{BOX}<difficult>1</difficult><part><name>head</name>{BOX}</part><part><name>hand</name>{BOX}</part></object>
<object><name>köpek</name>{BOX}</object></annotation>"""
ROBOFLOW = f"""{HEADER}<object>
<name>cat</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><occluded>0</occluded>
<bndbox><xmin>1</xmin><xmax>9</xmax><ymin>2</ymin><ymax>8</ymax></bndbox>
<polygon><x1>1</x1><y1>2.5</y1><x2>9</x2><y2>2</y2><x3>9</x3><y3>8.25</y3></polygon>
</object></annotation>"""
FILES = {"labelImg": LABELIMG, "devkit": DEVKIT, "Roboflow": ROBOFLOW, "without objects": f"{HEADER}</annotation>"}
SNIPPETS = ("\r", "\r\n", " ", "&amp;", "&", "<", ">", "</object>", "<object>", "<!-- -->", "<x/>", "\ufffe", "\0", "\x85",
            "0", "-1", ".5", "1e3", "9" * 10, "<name>b</name>", "<pose> Left </pose>", "<difficult>1</difficult>",
            "<?xml version='1.0'?>", '<?xml version="1.0" encoding="utf-8"?>', "\ufeff", " verified='yes'", "ß")  # fmt: skip


def usual(data: bytes) -> tuple[object, ...] | None:
    """What is read of a file of the usual form, without an XML parser."""
    file = read_usual(data)
    if file is None:
        return None
    objects = usual_objects([file])
    return None if objects.unusual else (*file[:4], objects.columns.rows())


def parsed(path: Path, monkeypatch: pytest.MonkeyPatch) -> Annotation:
    with monkeypatch.context() as patch:
        patch.setattr(voc_annotation, "read_usual", lambda data: None)
        return read_annotation(path)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_files_of_common_tools_are_of_the_usual_form(
    kind: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.xml"
    path.write_text(FILES[kind], encoding="utf-8", newline=end)
    assert usual(path.read_bytes()) is not None
    assert read_annotation(path) == parsed(path, monkeypatch)


@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 9), st.sampled_from(SNIPPETS)),
                                                min_size=1, max_size=3))  # fmt: skip
def test_an_edited_file_gives_the_same_as_an_xml_parser(kind: str, edits: list[tuple[float, int, str]]) -> None:
    text = FILES[kind]
    for where, cut, snippet in edits:
        at = int(where * len(text))
        text = text[:at] + snippet + text[at + cut :]
    data = text.encode("utf-8")
    fast = usual(data)
    if fast is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voc_annotation, "read_usual", lambda data: None)
        patch.setattr(voc_annotation, "_annotation_bytes", lambda path, note: data)
        slow = read_annotation(Path("a.xml"))
    assert slow.readable
    assert slow.findings == ()
    assert fast == (slow.filename, slow.size, slow.database, slow.header, slow.objects)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<xmin>1<", "<xmin>41<"),
        ("<xmin>1<", "<xmin>-1<"),
        ("<xmin>1<", "<xmin>١<"),
        ("<name>traffic light<", "<name> traffic light<"),
        ("<name>traffic light<", "<name><"),
        ("<truncated>1<", "<truncated>yes<"),
        ("<width>640<", "<width>0<"),
        ("<filename>a.jpg<", "<filename>a&amp;b.jpg<"),
        ("<pose>", "<mood>good</mood><pose>"),
        ("<annotation>", "<!DOCTYPE annotation><annotation>"),
        ("</annotation>", ""),
        ("</annotation>", "</annotation><annotation>"),
    ],
)
def test_what_needs_a_finding_or_a_parser_is_not_of_the_usual_form(old: str, new: str) -> None:
    assert old in LABELIMG
    assert usual(LABELIMG.replace(old, new).encode()) is None


def test_several_files_are_converted_at_once_and_only_those_with_a_wrong_value_are_unusual() -> None:
    texts = [
        *FILES.values(),
        ROBOFLOW.replace("<ymax>8<", "<ymax>1<"),
        LABELIMG.replace("<ymax>40<", "<ymax>40.125<"),
        DEVKIT,
    ]
    files = [file for text in texts if (file := read_usual(text.encode()))]
    found = usual_objects(files)
    assert (found.unusual, found.outlined) == (frozenset((4,)), frozenset((2, 4)))
    assert [found.count(number) for number in range(-1, 7)] == [0, 1, 2, 1, 0, 1, 1, 2]
    for chosen in ([0, 1, 2, 3, 4, 5, 6], [6, 2], [3], [5, 0]):
        alone = [usual_objects([files[number]]).columns.rows() for number in chosen]
        assert found.of_files(chosen).rows() == tuple(item for items in alone for item in items)
