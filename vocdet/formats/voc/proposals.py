"""Corrections of objects in VOC files, with all else unchanged, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.values import number_text
from vocdet.formats.voc.coordinates import minimum_text
from vocdet.formats.voc.write import WrittenObject, object_xml
from vocdet.formats.voc.xml_edit import CannotEdit, Edit, Element, edited, line_before, new_text, parse, read_source


@dataclass(frozen=True, slots=True)
class Correction:
    """A new object, or what changes in an existing one; boxes are those of a `Dataset`."""

    line: int  # where the <object> starts, from 1; 0: a new object
    label: str = ""  # "": unchanged
    box: tuple[float, float, float, float] | None = None  # None: unchanged


def corrected(data: bytes, corrections: Sequence[Correction], coordinates: Coordinates) -> bytes:
    """The file with corrections applied. `CannotEdit` if that cannot be done reliably."""
    source = read_source(data)
    root = parse(source.text)
    edits: list[Edit] = []
    for one in corrections:
        if one.line:
            edits += _changes(source.text, _object_at(source.text, root, one.line), one, coordinates)
    added = [one for one in corrections if not one.line and one.box is not None]
    if added:
        edits.append(_addition(source.text, root, added, coordinates))
    return source.encoded(edited(source.text, edits))


def _object_at(text: str, root: Element, line: int) -> Element:
    found = [one for one in root.all("object") if 1 + text.count("\n", 0, one.start) == line]
    if len(found) != 1:
        raise CannotEdit(f"line {line} does not start one object")
    return found[0]


def _changes(text: str, thing: Element, one: Correction, coordinates: Coordinates) -> list[Edit]:
    edits = []
    if one.label:
        edits.append(new_text(text, _only(thing, "name"), one.label))
    if one.box is not None:
        if any(thing.first(name) for name in ("polygon", "segmentation", "robndbox", "part")):
            raise CannotEdit("the object has more than a box")
        sides = zip(("xmin", "ymin", "xmax", "ymax"), _texts(one.box, coordinates), strict=True)
        edits += [new_text(text, _only(_only(thing, "bndbox"), name), value) for name, value in sides]
    return edits


def _texts(box: tuple[float, float, float, float], coordinates: Coordinates) -> tuple[str, str, str, str]:
    xmin, ymin, xmax, ymax = map(round, box)
    return (minimum_text(xmin, coordinates), minimum_text(ymin, coordinates), number_text(xmax), number_text(ymax))


def _only(element: Element, tag: str) -> Element:
    found = element.all(tag)
    if len(found) != 1:
        raise CannotEdit(f"<{element.tag}> has {len(found)} <{tag}>")
    return found[0]


def _addition(text: str, root: Element, added: Sequence[Correction], coordinates: Coordinates) -> Edit:
    """New objects behind the last child of the root, with its indentation."""
    if not root.has_end_tag:
        raise CannotEdit("<annotation> has no end tag")
    last = root.children[-1] if root.children else None
    lead = line_before(text, last) if last else "\n\t"
    indent = lead.lstrip("\r\n")
    newline = lead[: len(lead) - len(indent)] or "\n"
    objects = [
        object_xml(WrittenObject(one.label, [round(side) for side in one.box or ()]), coordinates) for one in added
    ]
    lines = "".join(objects).splitlines()
    step = indent or "\t"
    shown = [f"{newline}{step * (len(line) - len(line.lstrip(chr(9))))}{line.lstrip(chr(9))}" for line in lines]
    at = last.end if last else root.inner
    return Edit(at, at, "".join(shown))
