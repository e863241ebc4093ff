from __future__ import annotations

import pytest

from vocdet.formats.voc.xml_edit import CannotEdit, Edit, edited, new_text, parse, read_source, removal

TEXT = '<a x="1 > 0">\n  <b>été</b> <!-- <b>no</b> -->\n  <c/>\n  <b><![CDATA[ < ]]></b>\n</a>\n'


def test_elements_know_where_they_are() -> None:
    root = parse(TEXT)
    assert TEXT[root.inner : root.inner_end].startswith("\n  <b>")
    assert TEXT[root.start : root.end] == TEXT.strip()
    first, second = root.all("b")
    assert [TEXT[one.start : one.end] for one in (first, second)] == ["<b>été</b>", "<b><![CDATA[ < ]]></b>"]
    assert [TEXT[one.inner : one.inner_end] for one in (first, second)] == ["été", "<![CDATA[ < ]]>"]
    assert (first.text, second.text) == ("été", " < ")
    empty = root.first("c")
    assert empty is not None
    assert (TEXT[empty.start : empty.end], empty.has_end_tag) == ("<c/>", False)
    assert root.attributes == {"x": "1 > 0"}
    assert root.first("d") is None


def test_a_prefix_does_not_belong_to_a_tag() -> None:
    assert parse('<v:a xmlns:v="x"><v:b/></v:a>').all("b")


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        ("<a> dog </a>", "dog", "<a>dog</a>"),
        ("<a>\r\n dog\r\n</a>", "dog", "<a>dog</a>"),
        ("<a> a &amp;  b </a>", "a & b", "<a>a &amp; b</a>"),
        ("<a> a &#38; b </a>", "a & b", "<a>a &amp; b</a>"),
        ("<a><![CDATA[ a < b ]]></a>", "a < b", "<a><![CDATA[a < b]]></a>"),
        ("<a>\n<![CDATA[ x]]> </a>", "x", "<a><![CDATA[x]]></a>"),
        ("<a></a>", "x", "<a>x</a>"),
        ("<a b='1'>0.0</a>", "0", "<a b='1'>0</a>"),
    ],
)
def test_a_text_is_written_in_the_way_of_the_file(before: str, value: str, after: str) -> None:
    assert edited(before, [new_text(before, parse(before), value)]) == after


@pytest.mark.parametrize("text", ["<a/>", "<a>x<b/></a>", "<a>x<!-- y --></a>", "<a><?p?>x</a>"])
def test_what_holds_more_than_a_text_is_not_written_over(text: str) -> None:
    with pytest.raises(CannotEdit, match="<a> holds more than text"):
        new_text(text, parse(text), "y")


def test_an_element_goes_with_the_space_before_it() -> None:
    first, second = parse(TEXT).all("b")
    assert edited(TEXT, [removal(TEXT, second), removal(TEXT, first)]) == (
        '<a x="1 > 0"> <!-- <b>no</b> -->\n  <c/>\n</a>\n'
    )


def test_edits_that_overlap_are_refused() -> None:
    with pytest.raises(CannotEdit):
        edited("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y")])


@pytest.mark.parametrize(
    "data",
    [
        b"<a>x</a>",
        b"\xef\xbb\xbf<a>\xc3\xa9</a>",
        '<?xml version="1.0" encoding="GBK"?>\r\n<a>狗</a>'.encode("gbk"),
        "<?xml version='1.0' encoding='latin-1'?><a>é</a>".encode("latin-1"),
        '<?xml version="1.0" encoding="UTF-16"?><a>狗😀</a>'.encode("utf-16"),
        "\ufeff<a>狗</a>".encode("utf-16-be"),
        "<a>狗</a>".encode("utf-16-le"),
    ],
)
def test_a_text_becomes_the_same_bytes_again(data: bytes) -> None:
    source = read_source(data)
    assert source.encoded(source.text) == data
    assert parse(source.text).text in {"x", "é", "狗", "狗😀"}


def test_what_an_encoding_has_not_becomes_a_reference() -> None:
    source = read_source(b'<?xml version="1.0" encoding="ascii"?><a> &#29399; </a>')
    root = parse(source.text)
    assert source.encoded(edited(source.text, [new_text(source.text, root, "狗")])).endswith(b"<a>&#29399;</a>")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<a>\xff</a>", "it is not valid utf-8"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "it is not valid klingon"),
        (b'<?xml version="1.0" encoding="utf-16"?><a/>', "utf-16"),
        (b"<!DOCTYPE a><a/>", "it has a DOCTYPE"),
        (b"<a>", "it is not well-formed"),
    ],
)
def test_what_cannot_be_edited_surely_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(CannotEdit, match=why):
        parse(read_source(data).text)
