"""XML from untrusted files: decoded here, refused with a DOCTYPE, and parsed without opening any other file."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from lxml import etree

from vocdet.data.findings import Severity

# In this order: the mark of UTF-32 begins with that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# "<?" or "<" where a character has several bytes; XML 1.0, appendix F.1.
Note = Callable[[str, Severity, str, int, str], None]  # a finding in a file: code, severity, problem, line, hint

_BEGINNINGS = (
    (b"<\0\0\0", "utf-32-le"),
    (b"\0\0\0<", "utf-32-be"),
    (b"<\0?\0", "utf-16-le"),
    (b"\0<\0?", "utf-16-be"),
)
_EBCDIC = "<?xml".encode("cp037")
_WIDE = re.compile(r"utf[-_]?(16|32)|ucs|iso-10646|csunicode", re.IGNORECASE)  # several bytes for each character
_HEAD = 256  # bytes that hold an XML declaration
_DECLARATION = re.compile(
    r"""<\?xml\s+version\s*=\s*["'][^"'<>]{1,9}["']"""
    r"""(?:\s+encoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]{0,40})["'])?"""
    r"""(?:\s+standalone\s*=\s*["'](?:yes|no)["'])?\s*\?>"""
)
# The beginning of a file whose bytes are those of its text in UTF-8.
_USUAL = re.compile(rb"""(?:<\?xml version=["']1\.0["'](?: encoding=["'](?:utf|UTF)-8["'])?\?>\s*)?<[A-Za-z]""")
_SPACE = re.compile(r"[ \t\r\n]*")
_DOCTYPE = "<!DOCTYPE"
# Text encodings of Python that are no encodings of files; two of them take quadratic time.
_NOT_OF_FILES = frozenset(("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"))
_BEFORE_ROOT = (("<?", "?>"), ("<!--", "-->"))


class _NoFiles(etree.Resolver):
    """Refuses every external entity and DTD that a parser asks for; `resolve_empty` would still open the file."""

    def resolve(self, _url: str | None, _id: str | None, _context: object) -> NoReturn:
        raise _doctype()


def safe_parser(*, plain: bool = False) -> etree.XMLParser:
    """A parser that loads, expands and fetches nothing, for text in UTF-8.

    A `plain` one drops comments, processing instructions and space between elements.
    """
    parser = etree.XMLParser(encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
                             remove_comments=plain, remove_pis=plain, remove_blank_text=plain)  # fmt: skip
    parser.resolvers.add(_NoFiles())
    return parser


# Shared by all files. With `collect_ids=False` it would load parameter entities.
_PARSER = safe_parser(plain=True)


@dataclass(eq=False)
class XmlError(Exception):
    """A file is not usable XML."""

    code: str  # xml.empty, xml.dtd, xml.encoding or xml.syntax
    problem: str
    hint: str
    line: int = 0  # 0: the whole file


def parse_xml(data: bytes) -> etree._Element:
    """The root element of a file, without comments and processing instructions.

    An `XmlError` for a file that is empty, in another encoding than it declares, or not well-formed, and for one with a
    DOCTYPE, which is found before anything is parsed.
    """
    if _USUAL.match(data) and _DOCTYPE.encode() not in data:
        with suppress(etree.XMLSyntaxError):  # what is wrong is found below
            return etree.XML(data, _PARSER)
    if not data.strip(b"\0 \t\r\n"):
        raise XmlError("xml.empty", "is empty", "save the image again in labelImg, or delete the file")
    text, _, _ = decode_xml(data)
    if has_doctype(text):
        raise _doctype()
    declaration = _DECLARATION.match(text)
    if declaration is not None:  # which may name another encoding than the parser gets
        text = "\n" * declaration[0].count("\n") + text[declaration.end() :]
    try:
        root = etree.XML(text.encode(), _PARSER)
    except etree.XMLSyntaxError as error:
        message = (error.msg or "").split(", line ")[0]
        hint = "it may be truncated: save the image again in labelImg, or delete the file"
        raise XmlError("xml.syntax", f"is not well-formed XML: {message}", hint, error.lineno or 0) from error
    if _DOCTYPE in text and root.getroottree().docinfo.doctype:
        raise _doctype()
    return root


def drop_namespaces(root: etree._Element) -> bool:
    """Replace the names of all elements by those without a namespace; whether there was any."""
    found = False
    for element in root.iter("{*}*"):
        name = str(element.tag)
        if name[0] == "{":
            element.tag, found = name.rpartition("}")[2], True
    return found


def decode_xml(data: bytes, *, bare: bool = False) -> tuple[str, str, bytes]:
    """The text of an XML file without its byte-order mark, its encoding, and the mark; an `XmlError` if it is not text.

    `bare` UTF-16, which neither a mark nor a declaration announces, is decoded too; parsers refuse it.
    """
    bom, encoding = next(((bom, name) for bom, name in _BOMS if data.startswith(bom)), (b"", ""))
    if bare and not encoding:
        encoding = {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(data[:2], "")
    encoding = encoding or _declared(data)
    try:
        text = data[len(bom) :].decode(encoding)
        text.encode()  # UTF-7 can hold surrogates
    except LookupError:
        raise _unknown_encoding(encoding) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _wrong_encoding(f"is not valid {encoding}: byte {error.start + 1} is wrong", line) from error
    except UnicodeEncodeError as error:
        raise _wrong_encoding(f"is not valid {encoding}: it has halves of characters") from error
    return text, encoding, bom


def has_doctype(text: str) -> bool:
    """Whether a DOCTYPE stands before the root element, the only place where a parser accepts one."""
    at = 0
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr] # it also matches nothing
        begin, end = next((pair for pair in _BEFORE_ROOT if text.startswith(pair[0], at)), ("", ""))
        if not begin:
            return text.startswith(_DOCTYPE, at)
        found = text.find(end, at + len(begin))
        if found < 0:
            return False
        at = found + len(end)


def _declared(data: bytes) -> str:
    """The encoding of a file without a byte-order mark."""
    encoding = next((name for begin, name in _BEGINNINGS if data.startswith(begin)), "")
    if encoding:
        return encoding
    ebcdic = data.startswith(_EBCDIC)
    head = data[:_HEAD].decode("cp037" if ebcdic else "latin-1")
    match = _DECLARATION.match(head)
    name = (match[1] if match else "") or ("cp037" if ebcdic else "utf-8")
    if _WIDE.match(name):
        raise _wrong_encoding(f"is not valid {name}, the encoding that it declares")
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        codec = ""
    if not codec or codec in _NOT_OF_FILES:
        raise _unknown_encoding(name)
    return name.lower()


def _doctype() -> XmlError:
    hint = "delete the <!DOCTYPE ...> at its top: it can load other files or expand without bound"
    return XmlError("xml.dtd", "has a DOCTYPE, which is refused", hint)


def _unknown_encoding(name: str) -> XmlError:
    return _wrong_encoding(f"is not valid {name}: this encoding is unknown")


def _wrong_encoding(problem: str, line: int = 0) -> XmlError:
    return XmlError("xml.encoding", problem, "save it as UTF-8, or declare its encoding in the first line", line)
