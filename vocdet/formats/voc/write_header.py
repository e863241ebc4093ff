"""The top of a VOC file, from strings: all that it says of its image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache

from lxml import etree

from vocdet.formats.extras import extra_of
from vocdet.formats.voc import preserved, write_object
from vocdet.formats.voc.preserved import SAME, Header
from vocdet.formats.voc.write_object import NOT_XML, xml_attribute, xml_text

_XML = "http://www.w3.org/XML/1998/namespace"  # of xml:lang and xml:space, whose prefix is no other


def header_text(filename: str, size: tuple[int, int], header: Header, mark: str) -> str:
    """`<annotation>` and all before its objects; `mark` is what <coordinates> is to say, "" for nothing."""
    lines = [f"<annotation{_attributes_text(header.attributes)}>"]
    if header.folder is not None:
        lines.append(f"\t<folder>{xml_text(header.folder)}</folder>")
    lines.append(f"\t<filename>{xml_text(filename)}</filename>")
    if header.path is not None:
        lines.append(f"\t<path>{xml_text(filename if header.path == SAME else header.path)}</path>")
    if header.source is not None:
        inner = (f"\t\t<{name}>{xml_text(value)}</{name}>" for name, value in header.source.items())
        lines += ["\t<source>", *inner, "\t</source>"]
    depth = [] if header.depth is None else [f"\t\t<depth>{xml_text(header.depth)}</depth>"]
    lines += ["\t<size>", f"\t\t<width>{size[0]}</width>", f"\t\t<height>{size[1]}</height>", *depth, "\t</size>"]
    if header.segmented is not None:
        lines.append(f"\t<segmented>{xml_text('0' if header.segmented == SAME else header.segmented)}</segmented>")
    if mark:
        lines.append(f"\t<coordinates>{mark}</coordinates>")
    lines += [f"\t{tag}" for tag in header.tags]
    if header.coco:
        lines.append(f"\t<coco>{xml_text(header.coco.decode())}</coco>")
    return "\n".join([*lines, ""])


def _attributes_text(attributes: Mapping[str, str]) -> str:
    """Attributes as they stand in a tag; names may be in a namespace, as in {http://...}schemaLocation."""
    text = ""
    for i, (name, value) in enumerate(attributes.items()):
        namespace, _, local = name[1:].partition("}") if name.startswith("{") else ("", "", name)
        if namespace:
            prefix = "xml" if namespace == _XML else f"n{i}"
            text += f" xmlns:{prefix}={xml_attribute(namespace)}" if prefix != "xml" else ""
            local = f"{prefix}:{local}"
        text += f" {local}={xml_attribute(value)}"
    return text


def header_of(text: bytes, losses: Counter[str]) -> Header:
    """The header an image came with, by its extra, or labelImg's own.

    What would make its file say something else than it did, or nothing that can be read, is left out and counted: it
    has been in a COCO file, where anything can stand.
    """
    if not text:
        return Header()
    extra = extra_of(text)
    said = preserved.header_of(extra)
    losses["headers of VOC files that are none"] += said is None and "voc" in extra
    header = said or Header()
    whole = _parts(header)
    header.tags = [
        tag
        for tag in header.tags
        if write_object.is_fragment(tag) or (header.source is None and write_object.is_source(tag))
    ]
    if header.attributes and not _are_attributes(tuple(header.attributes.items())):
        header.attributes = {}
    if header.source and not _are_names(tuple(header.source)):
        header.source = {}
    losses["XML tags that are none"] += whole - _parts(header)
    header.coco = write_object.coco_json({key: value for key, value in extra.items() if key != "voc"})
    return header


def _parts(header: Header) -> int:
    return len(header.tags) + len(header.attributes) + len(header.source or {})


@cache
def _are_attributes(pairs: tuple[tuple[str, str], ...]) -> bool:
    """Whether these come out of a file again as they went in."""
    if len(pairs) > preserved.MOST_ATTRIBUTES or any(NOT_XML.search(value) for _, value in pairs):
        return False
    element = _parsed(f"<a{_attributes_text(dict(pairs))}/>")
    return element is not None and dict(element.attrib) == dict(pairs)


@cache
def _are_names(names: tuple[str, ...]) -> bool:
    """Whether these can be the names of elements, and are none of an object's: many look for those everywhere."""
    if not {"object", "bndbox"}.isdisjoint(name.lower() for name in names):
        return False
    element = _parsed(f"<a>{''.join(f'<{name}/>' for name in names)}</a>")
    return element is not None and tuple(child.tag for child in element) == names


def _parsed(xml: str) -> etree._Element | None:
    try:
        return etree.fromstring(xml.encode(), write_object.PARSER)
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        return None
