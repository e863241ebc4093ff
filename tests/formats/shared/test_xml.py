"""XML of strangers: its DOCTYPE is found before it is parsed, and nothing that it names is opened."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from lxml import etree

from vocdet.formats.shared import xml
from vocdet.formats.shared.xml import XmlError, parse_xml

# Names of encodings in which the letters of a DOCTYPE are other bytes than in ASCII, and of some in which they are not.
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-7", "cp037", "cp500",
             "cp1140", "cp273", "gbk", "shift_jis", "hz", "iso2022_jp", "latin-1"]  # fmt: skip

Watch = Callable[[Path], AbstractContextManager[list[str]]]


def refusal(data: bytes) -> XmlError:
    with pytest.raises(XmlError) as caught:
        parse_xml(data)
    return caught.value


@pytest.fixture
def opened() -> Watch:
    """A block in which the kernel notes every opening of a file, by whatever code: `with opened(path) as names`."""
    if sys.platform != "linux":
        pytest.skip("only Linux has inotify")

    @contextmanager
    def watch(path: Path) -> Iterator[list[str]]:
        libc = ctypes.CDLL(None, use_errno=True)
        handle = libc.inotify_init1(os.O_NONBLOCK)
        names: list[str] = []
        try:
            assert handle >= 0
            assert libc.inotify_add_watch(handle, os.fsencode(path), 0x20) >= 0  # IN_OPEN
            yield names
            while data := os.read(handle, 1 << 16):
                names.append(repr(data))
        except BlockingIOError:
            pass
        finally:
            os.close(handle)

    return watch


DOCTYPES = {
    "a parameter": '<!DOCTYPE a [<!ENTITY % p SYSTEM "file://SECRET"> %p;]>',
    "a parameter in space": '\n<!-- - -->\n<?p q?>\n<!DOCTYPE\n a [<!ENTITY % p SYSTEM "SECRET"> %p;]>',
    "an entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file://SECRET">]>',
    "a subset": '<!DOCTYPE a SYSTEM "file://SECRET">',
    "a public subset": '<!DOCTYPE a PUBLIC "x" "SECRET">',
    "a second one": '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:SECRET"> %p;]><!DOCTYPE a>',
    "after a comment that holds one": '<!-- <!DOCTYPE b> --><!DOCTYPE a [<!ENTITY % p SYSTEM "file://SECRET"> %p;]>',
    "nothing": "<!DOCTYPE a>",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES)
def test_a_doctype_is_refused_in_every_encoding_and_opens_nothing(
    tmp_path: Path, opened: Watch, doctype: str, encoding: str
) -> None:
    secret = tmp_path / "secret.dtd"
    secret.write_text('<!ENTITY x "read">')
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16", "utf-32-be": "utf-32"}
    text = doctype.replace("SECRET", str(secret))
    text = f'<?xml version="1.0" encoding="{declared.get(encoding, encoding)}"?>{text}<a><n>do&x;g</n></a>'
    data = text.encode(encoding)
    if encoding == "utf-7":  # every character of it may hide
        data = data.replace(b"<!", b"+ADwAIQ-")
    with opened(secret) as names:
        assert refusal(data).code == "xml.dtd"
    assert names == []


def test_opened_files_are_traced(tmp_path: Path, opened: Watch) -> None:
    (tmp_path / "a.txt").write_text("a")
    with opened(tmp_path / "a.txt") as names:
        (tmp_path / "a.txt").read_text()
    assert names


@pytest.mark.parametrize("url", ["SECRET", "file://SECRET", "file:SECRET", "/dev/zero", "file:///dev/zero"])
def test_a_parser_that_is_given_a_doctype_opens_nothing(tmp_path: Path, opened: Watch, url: str) -> None:
    secret = tmp_path / "secret.dtd"
    secret.write_text('<!ENTITY x "read">')
    url = url.replace("SECRET", str(secret))
    text = f'<!DOCTYPE a SYSTEM "{url}" [<!ENTITY % p SYSTEM "{url}"> %p; <!ENTITY y SYSTEM "{url}">]><a>&y;</a>'
    expanding = etree.XMLParser(load_dtd=True, resolve_entities=True)
    expanding.resolvers.add(xml._NoFiles())
    for parser in (xml._PARSER, expanding):
        with opened(secret) as names, suppress(etree.XMLSyntaxError, XmlError):
            root = etree.XML(text.encode(), parser)
            assert "read" not in "".join(root.itertext(etree.Element))
        assert names == []


def test_an_entity_that_is_not_defined_does_not_vanish() -> None:
    assert refusal(b"<a>do&x;g</a>").code == "xml.syntax"


@pytest.mark.parametrize(
    "text",
    [
        "<a><!-- <!DOCTYPE b> --></a>",
        "<!-- <!DOCTYPE b> --><a/>",
        "<a><![CDATA[<!DOCTYPE b>]]></a>",
        "<?p <!DOCTYPE b>?><a/>",
    ],
)
def test_the_word_alone_is_no_doctype(text: str) -> None:
    assert parse_xml(text.encode()).tag == "a"


def test_a_long_beginning_takes_linear_time() -> None:
    start = time.process_time()
    assert xml.has_doctype("<!---->" * 1_000_000 + " " * 1_000_000 + "<!DOCTYPE")
    assert not xml.has_doctype("<!--" + "<!-- " * 1_000_000)
    assert time.process_time() - start < 10  # a second; in quadratic time, hours


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name != "latin-1"])
def test_a_text_is_read_in_every_encoding(encoding: str) -> None:
    declared = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16", "utf-32-be": "utf-32"}
    letters = "shelf" if encoding in ("cp037", "cp500", "cp1140", "cp273") else "犬"
    text = f'<?xml version="1.0" encoding="{declared.get(encoding, encoding)}"?>\n<v:a xmlns:v="x">{letters}</v:a>'
    root = parse_xml(text.encode(encoding))
    assert xml.drop_namespaces(root)
    assert (root.tag, root.text, root.sourceline) == ("a", letters, 2)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"<a>\n\xff</a>", "is not valid utf-8: byte 5 is wrong"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "is not valid klingon: this encoding is unknown"),
        (b'<?xml version="1.0" encoding="utf-16"?><a/>', "is not valid utf-16, the encoding that it declares"),
        (b'<?xml version="1.0" encoding="punycode"?><a/>', "is not valid punycode: this encoding is unknown"),
        (
            b'<?xml version="1.0" encoding="unicode_escape"?><a/>',
            "is not valid unicode_escape: this encoding is unknown",
        ),
        (b'<?xml version="1.0" encoding="zip"?><a/>', "is not valid zip: this encoding is unknown"),
        ("<a/>".encode("utf-16")[:-1], "is not valid utf-16-le: byte 7 is wrong"),
        (b'<?xml version="1.0" encoding="utf-7"?><a>+2AA-</a>', "is not valid utf-7: it has halves of characters"),
    ],
)
def test_bytes_in_another_encoding_are_refused(data: bytes, problem: str) -> None:
    error = refusal(data)
    assert (error.code, error.problem) == ("xml.encoding", problem)
    assert error.line == (2 if b"\n" in data else 1 if b"byte" in problem.encode() else 0)
