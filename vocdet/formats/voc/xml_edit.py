"""XML text whose elements can be edited in place; the rest stays unchanged, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape, unescape

from vocdet.formats.shared.xml import XmlError, decode_xml, has_doctype

_START_TAG = re.compile(r"""<[^\s/>]+(?=[\s/>])(?:[^"'>]|"[^"]*"|'[^']*')*>""")
_CDATA = re.compile(r"(\s*<!\[CDATA\[)(.*?)(\]\]>\s*)", re.DOTALL)
_QUOTES = {"&quot;": '"', "&apos;": "'"}


class CannotEdit(ValueError):
    """The reason why a text cannot be edited reliably."""


@dataclass(slots=True)
class Element:
    """An element and its place in the text, as indices into it."""

    tag: str  # without a prefix
    attributes: dict[str, str]
    start: int  # of its first <
    inner: int  # after its start tag
    inner_end: int = 0  # where its end tag begins; `inner` if it has none
    end: int = 0  # after the whole element
    texts: list[str] = field(default_factory=list)  # the character data directly in it
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """The children of this name."""
        return [child for child in self.children if child.tag == tag]

    def first(self, tag: str) -> Element | None:
        """The first child of this name; None if there is none."""
        return next(iter(self.all(tag)), None)

    @property
    def text(self) -> str:
        """The character data directly in it."""
        return "".join(self.texts)

    @property
    def has_end_tag(self) -> bool:
        """Whether it can hold content: <a></a> can, <a/> cannot."""
        return self.end > self.inner


@dataclass(frozen=True, slots=True)
class XmlSource:
    """The text of a file, and its encoding."""

    text: str
    encoding: str
    bom: bytes

    def encoded(self, text: str) -> bytes:
        """Encode a text like this file; characters outside its encoding become references."""
        return self.bom + text.encode(self.encoding, "xmlcharrefreplace")


def read_source(data: bytes) -> XmlSource:
    """Decode an XML file. CannotEdit if its encoding is uncertain, or it has a DOCTYPE."""
    try:
        text, encoding, bom = decode_xml(data, bare=True)
    except XmlError as error:
        raise CannotEdit(f"it {error.problem}") from error
    if bom + text.encode(encoding) != data:
        raise CannotEdit(f"its {encoding} text cannot be restored exactly")
    if has_doctype(text):
        raise CannotEdit("it has a DOCTYPE")
    return XmlSource(text, encoding, bom)


def parse(text: str) -> Element:
    """Parse a text into its root element. CannotEdit if it is not well-formed."""
    parser = _Parser(text)
    try:
        parser.run()
    except expat.ExpatError as error:
        raise CannotEdit(f"it is not well-formed: {error}") from error
    return parser.root


class _Parser:
    """Expat with the places of elements, converted from UTF-8 bytes to characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = Element("", {}, 0, 0)
        self.open: list[Element] = []
        self.ascii = text.isascii()
        self.byte = self.char = 0  # the same place, counted both ways
        self.data = text.encode()
        self.parser = expat.ParserCreate("utf-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def run(self) -> None:
        self.parser.Parse(self.data, True)

    def _here(self) -> int:
        at = self.parser.CurrentByteIndex
        if self.ascii:
            return at
        self.char += len(self.data[self.byte : at].decode())
        self.byte = at
        return self.char

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        start = self._here()
        tag = _START_TAG.match(self.text, start)
        if tag is None:
            raise CannotEdit("a tag is not where the parser reports it")
        inner = tag.end()
        element = Element(name.rpartition(":")[2], attributes, start, inner, inner, inner if tag[0][-2] == "/" else 0)
        (self.open[-1].children.append if self.open else self._set_root)(element)
        self.open.append(element)

    def _set_root(self, element: Element) -> None:
        self.root = element

    def _end(self, _: str) -> None:
        element = self.open.pop()
        if not element.end:
            element.inner_end = self._here()
            if self.text[element.inner_end : element.inner_end + 2] != "</":
                raise CannotEdit("a tag is not where the parser reports it")
            element.end = self.text.index(">", element.inner_end) + 1

    def _characters(self, text: str) -> None:
        if self.open:
            self.open[-1].texts.append(text)


@dataclass(frozen=True, slots=True)
class Edit:
    """The replacement of the text from `start` to `end`."""

    start: int
    end: int
    text: str


def edited(text: str, edits: Sequence[Edit]) -> str:
    """Apply edits to a text. CannotEdit if they overlap."""
    return "".join(_pieces(text, sorted(edits, key=lambda edit: (edit.start, edit.end))))


def _pieces(text: str, edits: Sequence[Edit]) -> Iterator[str]:
    at = 0
    for edit in edits:
        if edit.start < at:
            raise CannotEdit("two edits overlap")
        yield text[at : edit.start]
        yield edit.text
        at = edit.end
    yield text[at:]


def new_text(source: str, element: Element, value: str) -> Edit:
    """The edit that replaces the text of an element; a CDATA section stays one.

    CannotEdit if the element holds more than text.
    """
    inside = source[element.inner : element.inner_end]
    if not element.has_end_tag or element.children:
        raise CannotEdit(f"<{element.tag}> holds more than text")
    section = _CDATA.fullmatch(inside)
    if section and "]]>" not in value:
        begin, end = section[1].lstrip(), section[3].rstrip()
        return Edit(element.inner, element.inner_end, f"{begin}{value}{end}")
    if "<" in inside:
        raise CannotEdit(f"<{element.tag}> holds more than text")
    normalized = " ".join(inside.split())  # with the references of the file
    same = unescape(normalized, _QUOTES) == value and "&#" not in normalized
    return Edit(element.inner, element.inner_end, normalized if same else escape(value))


def removal(source: str, element: Element) -> Edit:
    """The edit that removes an element and the white space before it."""
    return Edit(_space_before(source, element), element.end, "")


def line_before(source: str, element: Element) -> str:
    """The line end and indentation before an element; "" if it follows something on its line."""
    space = source[_space_before(source, element) : element.start]
    match = re.search(r"(\r\n|\r|\n)[ \t]*$", space)
    return match[0] if match else ""


def _space_before(source: str, element: Element) -> int:
    """Where the white space before an element begins."""
    start = element.start
    while start and source[start - 1] in " \t\r\n":
        start -= 1
    return start
