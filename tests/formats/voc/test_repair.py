"""Mending VOC files: what comes out is compared with a file written as it should be, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocdet.formats.voc.annotation import read_annotation
from vocdet.formats.voc.repair import Facts, repair

FACTS = Facts(size=(100, 80), sure=True)


def annotation(*objects: str, size: str = "<size><width>100</width><height>80</height></size>") -> str:
    return f"<annotation>\n\t<filename>a.jpg</filename>\n\t{size}\n\t{''.join(objects)}</annotation>\n"


def item(label: str = "dog", box: Sequence[object] = (1, 2, 30, 40), more: str = "") -> str:
    sides = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{label}</name>{more}<bndbox>{sides}</bndbox></object>\n"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (item(" dog"), item("dog")),
        (item("hot\t dog"), item("hot dog")),
        (item("<![CDATA[ dog ]]>"), item("<![CDATA[dog]]>")),
        (item(more="<difficult>1.0</difficult>"), item(more="<difficult>1</difficult>")),
        (item(more="<truncated>True</truncated>"), item(more="<truncated>1</truncated>")),
        (item(more="<occluded> no</occluded>"), item(more="<occluded>0</occluded>")),
        (item(box=(0, 2, 101, 40)), item(box=(0, 2, 100, 40))),
        (item(box=(-1, -0.5, 30, 80.25)), item(box=(0, 0, 30, 80))),
        (item() + item("cat") + item(), item() + item("cat")),
        (item() + item(), item()),
        (item(more="<difficult>0</difficult>") + item(" dog ", (1.0, 2, 30, 40), "<difficult>0.0</difficult>"),
         item(more="<difficult>0</difficult>")),
    ],
)  # fmt: skip
def test_unambiguous_problems_are_fixed(wrong: str, right: str) -> None:
    expected = annotation(right).replace("\n\n", "\n")
    repaired = repair(annotation(wrong).encode(), FACTS)
    assert repaired.data.decode().replace("\n\n", "\n") == expected
    assert repaired.left == []
    assert repair(repaired.data, FACTS).counts == {}


@pytest.mark.parametrize(
    "text",
    [
        annotation(item()),
        annotation(item(more="<difficult>maybe</difficult>")),  # what it means would be a guess
        annotation(item(more="<difficult>0.5</difficult>")),
        annotation(item(more="<difficult/><truncated>Unspecified</truncated>")),
        annotation(item(box=(0, 2, 103, 40))),  # too far out for a slip
        annotation(item(box=(100, 2, 100.5, 40))),  # nothing would be left of it
        annotation(item(box=(0, 2, "1e1000", 40))),
        annotation(item(), item(more="<difficult>1</difficult>")),  # not the same
        annotation(item(), item(more="<pose>Left</pose>")),
        annotation(item(), item("cat")),
        annotation(item(""), item("")),
        annotation(item(more="<part><name> head </name></part>")),
        "<annotation><object><name>\xa0</name></object>" + annotation(item())[12:],
    ],
)
def test_what_would_be_a_guess_stays(text: str) -> None:
    repaired = repair(text.encode(), FACTS)
    assert (repaired.data, repaired.counts, repaired.left) == (text.encode(), {}, [])


def test_boxes_are_cut_in_the_numbers_of_the_file() -> None:
    wrong, right = item(box=(0, 1, 101, 81)), item(box=(1, 1, 100, 80))  # 1-based: 1 and 100 are the edges
    facts = Facts(size=(100, 80), coordinates="one")
    assert repair(annotation(wrong).encode(), facts).data == annotation(right).encode()
    assert repair(annotation(right).encode(), facts).counts == {}


@pytest.mark.parametrize(
    ("size", "right"),
    [
        ("<size><width>?</width><height>80</height></size>", "<size><width>100</width><height>80</height></size>"),
        ("<size><width>0</width><height>-80</height><depth>3</depth></size>",
         "<size><width>100</width><height>80</height><depth>3</depth></size>"),
        ("<size/>", "<size>\n\t\t<width>100</width>\n\t\t<height>80</height>\n\t\t<depth>1</depth>\n\t</size>"),
    ],
)  # fmt: skip
def test_an_invalid_size_becomes_the_images(size: str, right: str) -> None:
    facts = Facts(size=(100, 80), depth=1, sure=True)
    assert repair(annotation(item(), size=size).encode(), facts).data == annotation(item(), size=right).encode()


def test_a_missing_size_is_written_as_its_neighbors_are() -> None:
    wrong = "<annotation>\r\n  <filename>a.jpg</filename>\r\n  <segmented>0</segmented>\r\n</annotation>"
    size = "<size>\r\n    <width>100</width>\r\n    <height>80</height>\r\n    <depth>3</depth>\r\n  </size>\r\n  "
    assert repair(wrong.encode(), FACTS).data.decode() == wrong.replace("<segmented>", f"{size}<segmented>")
    flat = "<annotation><filename>a.jpg</filename></annotation>"
    size = "<size><width>100</width><height>80</height><depth>3</depth></size>"
    assert repair(flat.encode(), FACTS).data.decode() == flat.replace("</annotation>", f"{size}</annotation>")


def test_a_size_is_not_written_where_exif_turns_the_image() -> None:
    data = annotation(item(), size="").encode()
    repaired = repair(data, Facts(size=(100, 80), sure=False))
    assert repaired.data == data
    assert repaired.left == [(1, "its size is missing or invalid, and EXIF rotates the image: check its boxes")]


def test_the_new_name_of_an_image_is_written() -> None:
    text = "<annotation><filename>a.jpg</filename><path>C:\\my set\\a.jpg</path><folder>a.jpg</folder></annotation>"
    right = "<annotation><filename>a.png</filename><path>C:\\my set\\a.png</path><folder>a.jpg</folder></annotation>"
    assert repair(text.encode(), Facts(renamed=("a.jpg", "a.png"))).data == right.encode()
    other = text.replace("<filename>a.jpg", "<filename>b.jpg").replace("\\a.jpg", "\\aa.jpg")
    assert repair(other.encode(), Facts(renamed=("a.jpg", "a.png"))).data == other.encode()


def test_objects_that_masks_count_are_not_taken_away() -> None:
    data = annotation(item(), item()).encode()
    repaired = repair(data, Facts(size=(100, 80), sure=True, numbered=True))
    assert repaired.data == data
    assert repaired.left == [(5, "it is a duplicate, but masks in SegmentationObject number the objects")]


def test_one_invalid_element_does_not_prevent_fixing_others() -> None:
    repaired = repair(annotation(item(" d<!-- o -->g "), item(" cat ", (5, 5, 9, 9))).encode(), FACTS)
    assert repaired.data == annotation(item(" d<!-- o -->g "), item("cat", (5, 5, 9, 9))).encode()
    assert repaired.left == [(4, "<name> holds more than text")]


def test_a_comment_is_not_taken_away_with_its_object() -> None:
    data = annotation(item(), item(more="<!-- by me -->")).encode()
    repaired = repair(data, FACTS)
    assert (repaired.data, repaired.left) == (data, [(5, "it is a duplicate, but it holds a comment")])


@pytest.mark.parametrize(
    "data", [b"", b"<annotation>", b"<!DOCTYPE a><annotation/>", b"\xff\xfe<", b"<annotation>\xff"]
)
def test_files_that_cannot_be_edited_stay(data: bytes) -> None:
    repaired = repair(data, FACTS)
    assert (repaired.data, len(repaired.left)) == (data, 1)


@dataclass(frozen=True)
class Pair:
    """A piece of a file as it is, and as it should be."""

    wrong: str
    right: str


def same(text: str) -> Pair:
    return Pair(text, text)


LABELS = st.sampled_from(["dog", "hot dog", "狗", "café", "a&amp;b", "<![CDATA[x<y]]>", "&#228;"])
SPACE = st.sampled_from(["", " ", "\n\t", "  "])


@st.composite
def labels(draw: st.DrawFn) -> Pair:
    label: str = draw(LABELS)
    before, after = draw(SPACE), draw(SPACE)
    if label == "&#228;":  # written anew where there is space around it
        return Pair(f"{before}{label}{after}", "ä" if before or after else label)
    if label.startswith("<!"):
        inner = label.replace("[x", f"[{before}x")
        return Pair(inner, label)
    return Pair(f"{before}{label.replace(' ', draw(SPACE) or ' ')}{after}", label)


FLAGS = st.sampled_from(
    [
        same("0"),
        same("1"),
        same(""),
        same("maybe"),
        Pair("1.0", "1"),
        Pair("True", "1"),
        Pair("false", "0"),
        Pair("00", "0"),
    ]
)
ODD = st.sampled_from(
    [
        "",
        "<!-- <object> -->",
        "<?tool x?>",
        "<attributes><attribute><name> n </name><value> v </value></attribute></attributes>",
        "<mine a='>'>\n x </mine>",
        "<pose> Left </pose>",
        "<part><name> p </name></part>",
    ]
)


@st.composite
def objects(draw: st.DrawFn, number: int) -> Pair:
    label, flag, odd = draw(labels()), draw(FLAGS), draw(ODD)
    beyond = draw(st.sampled_from([0, 0, 0.5, 1, 7]))
    xmax = 100 + beyond
    sides = [str(3 * number), "2", f"{xmax:g}", "40"]
    clipped = [*sides[:2], "100" if beyond in (0.5, 1) else sides[2], sides[3]]
    line = draw(st.sampled_from(["\n", "\n  ", ""]))

    def written(name: str, value: str, box: list[str]) -> str:
        xml = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        bounds = "".join(f"{line}<{side}>{number}</{side}>" for side, number in xml)
        said = f"{line}<name>{name}</name><difficult>{value}</difficult><bndbox>{bounds}</bndbox>"
        return f"<object id='{number}'>{odd}{said}</object>"

    return Pair(written(label.wrong, flag.wrong, sides), written(label.right, flag.right, clipped))


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A file, and the same with all mended that can be."""
    pieces = [draw(objects(number)) for number in range(draw(st.integers(0, 4)))]
    space = draw(st.sampled_from(["\n\t", "\n  ", "", " "]))
    repeated = draw(st.integers(0, 2 * len(pieces)))
    if repeated < len(pieces):
        again = pieces[repeated]
        more = any(begin in again.wrong for begin in ("<!--", "<?"))
        pieces.append(Pair(again.wrong, again.right if more else ""))
    size = draw(st.sampled_from([same("100"), Pair("0", "100"), Pair("?", "100"), Pair("-100", "100")]))
    head = (
        f"<annotation x='1'>{space}<filename>a.jpg</filename>{space}<size><width>%s</width><height>80</height></size>"
    )
    wrong = head % size.wrong + "".join(f"{space}{piece.wrong}" for piece in pieces) + "\n</annotation>\n"
    right = (
        head % size.right + "".join(f"{space}{piece.right}" for piece in pieces if piece.right) + "\n</annotation>\n"
    )
    end = draw(st.sampled_from(["\n", "\r\n"]))
    encoding, declared = draw(st.sampled_from([("utf-8", ""), ("utf-8-sig", ""), ("utf-16", "UTF-16"), ("gbk", "GBK")]))
    if encoding == "gbk" and any(letter in wrong + right for letter in "éä"):
        encoding, declared = "utf-8", "UTF-8"
    top = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    texts = (top + wrong).replace("\n", end), (top + right).replace("\n", end)
    return texts[0].encode(encoding), texts[1].encode(encoding)


@settings(max_examples=40, deadline=None)
@given(files())
def test_a_file_is_repaired_to_the_byte(pair: tuple[bytes, bytes]) -> None:
    wrong, right = pair
    repaired = repair(wrong, FACTS)
    assert repaired.data == right
    again = repair(repaired.data, FACTS)
    assert (again.data, again.counts) == (repaired.data, {})


@settings(max_examples=40, deadline=None)
@given(files())
def test_repair_is_idempotent_and_preserves_content(pair: tuple[bytes, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.xml")
        path.write_bytes(pair[0])
        before = read_annotation(path)
        path.write_bytes(repair(pair[0], FACTS).data)
        after = read_annotation(path)
    assert after.size == (100, 80)
    assert not {finding.code for finding in after.findings} & {"label.whitespace", "voc.size.bad_number"}
    assert {(one.label, one.flags, one.box[:2]) for one in after.objects} == {
        (one.label, one.flags, one.box[:2]) for one in before.objects
    }
