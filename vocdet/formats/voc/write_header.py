"""The top of a VOC file: everything but its objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache

from lxml import etree

from vocdet.formats.shared.extras import extra_of
from vocdet.formats.voc import preserved, write_object
from vocdet.formats.voc.preserved import AS_DEFAULT, Header
from vocdet.formats.voc.write_object import NOT_XML, xml_attribute, xml_text

_XML = "http://www.w3.org/XML/1998/namespace"  # of xml:lang and xml:space, which must have this prefix


def header_text(filename: str, size: tuple[int, int], header: Header, mark: str, exif: str = "") -> str:
    """The XML before the objects; `mark` and `exif` are the texts of <coordinates> and <exif>, "" for none."""
    lines = [f"<annotation{_attributes_text(header.attributes)}>"]
    if header.folder is not None:
        lines.append(f"\t<folder>{xml_text(header.folder)}</folder>")
    lines.append(f"\t<filename>{xml_text(filename)}</filename>")
    if header.path is not None:
        lines.append(f"\t<path>{xml_text(filename if header.path == AS_DEFAULT else header.path)}</path>")
    if header.source is not None:
        inner = (f"\t\t<{name}>{xml_text(value)}</{name}>" for name, value in header.source.items())
        lines += ["\t<source>", *inner, "\t</source>"]
    depth = [] if header.depth is None else [f"\t\t<depth>{xml_text(header.depth)}</depth>"]
    lines += ["\t<size>", f"\t\t<width>{size[0]}</width>", f"\t\t<height>{size[1]}</height>", *depth, "\t</size>"]
    if header.segmented is not None:
        lines.append(
            f"\t<segmented>{xml_text('0' if header.segmented == AS_DEFAULT else header.segmented)}</segmented>"
        )
    if mark:
        lines.append(f"\t<coordinates>{mark}</coordinates>")
    if exif:
        lines.append(f"\t<exif>{exif}</exif>")
    lines += [f"\t{tag}" for tag in header.tags]
    if header.coco:
        lines.append(f"\t<coco>{xml_text(header.coco.decode())}</coco>")
    return "\n".join([*lines, ""])


def _attributes_text(attributes: Mapping[str, str]) -> str:
    """Attributes as written in a tag; names can have a namespace, as in {http://...}schemaLocation."""
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
    """The header in the extra of an image, or labelImg's default.

    The extra may come from a COCO file with arbitrary content. Whatever would break the XML file or change its meaning
    is dropped and counted.
    """
    if not text:
        return Header()
    extra = extra_of(text)
    preserved_header = preserved.header_of(extra)
    losses["invalid headers of VOC files"] += preserved_header is None and "voc" in extra
    header = preserved_header or Header()
    elements = _count(header)
    header.tags = [
        tag
        for tag in header.tags
        if write_object.is_fragment(tag) or (header.source is None and write_object.is_source(tag))
    ]
    if header.attributes and not _are_attributes(tuple(header.attributes.items())):
        header.attributes = {}
    if header.source and not _are_names(tuple(header.source)):
        header.source = {}
    losses["invalid XML tags"] += elements - _count(header)
    header.coco = write_object.coco_json({key: value for key, value in extra.items() if key != "voc"})
    return header


def _count(header: Header) -> int:
    return len(header.tags) + len(header.attributes) + len(header.source or {})


@cache
def _are_attributes(pairs: tuple[tuple[str, str], ...]) -> bool:
    """Whether reading gives these attributes back."""
    if len(pairs) > preserved.MOST_ATTRIBUTES or any(NOT_XML.search(value) for _, value in pairs):
        return False
    element = _element_of(f"<a{_attributes_text(dict(pairs))}/>")
    return element is not None and dict(element.attrib) == dict(pairs)


@cache
def _are_names(names: tuple[str, ...]) -> bool:
    """Whether these are valid names of elements, and not those of objects, which readers search everywhere."""
    if not {"object", "bndbox"}.isdisjoint(name.lower() for name in names):
        return False
    element = _element_of(f"<a>{''.join(f'<{name}/>' for name in names)}</a>")
    return element is not None and tuple(child.tag for child in element) == names


def _element_of(xml: str) -> etree._Element | None:
    try:
        return etree.fromstring(xml.encode(), write_object.PARSER)
    except (etree.XMLSyntaxError, UnicodeEncodeError):
        return None
