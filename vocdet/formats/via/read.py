"""Files of VIA, the VGG Image Annotator, as a `Dataset`."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from vocdet.data.findings import Notes
from vocdet.data.rotated import around
from vocdet.data.source_terms import VIA
from vocdet.formats.images.facts import Size
from vocdet.formats.scan import Progress, Scan, Source
from vocdet.formats.shared.json_file import is_number, read_json, shown
from vocdet.formats.shared.limited import TEXT_CODES, noted_text
from vocdet.formats.shared.records import Item, Labels, Record, RecordReader
from vocdet.formats.shared.shapes import ellipse, is_near
from vocdet.formats.shared.values import ShapeError, clean_label, read_labels
from vocdet.formats.via.layout import LARGEST_FILE, find_layout
from vocdet.wording import counted, listed

# The attribute that is the label: the first of these that a region has, else the one that most regions have.
PREFERRED = ("label", "class", "class_name", "classname", "name", "category", "type", "object")
ONLY_LABEL = "object"  # of regions where none has an attribute

_NUMBERS = {
    "rect": ("x", "y", "width", "height"),
    "circle": ("cx", "cy", "r"),
    "ellipse": ("cx", "cy", "rx", "ry"),
}
_WITHOUT_AREA = ("point", "polyline")
_REDRAW = "draw the region again in VIA, or delete it"


@dataclass(frozen=True, slots=True)
class Region:
    """One region before it is checked."""

    shape: Mapping[str, Any]
    attributes: Mapping[str, Any]


def scan(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Scan:
    """Read what is readable of VIA's JSON and CSV files, in the order of their images.

    One attribute of the regions is the label, the same in all files (see `PREFERRED`); the others are attributes. Where
    no region has an attribute, the label is "object". Points and lines are left out, with a finding. Labels are those
    of the label list, else the options of the attribute in a project, else all that occur, sorted. Raises only if there
    are no such files or no images, or if the label list cannot be read.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    layout = find_layout(source.path, without_images=without_images)
    notes, records, options = Notes([*layout.findings]), list[Record](), dict[str, list[str]]()
    for file in layout.annotations:
        path = layout.images.root / file
        entries, defined = (
            (_csv_entries(path, notes), {}) if file.lower().endswith(".csv") else _json_entries(path, notes)
        )
        records += [_record(entry, file) for entry in entries]
        options |= defined
    attribute = _label_attribute(records, layout.images.root, notes)
    root = layout.images.root
    reader = RecordReader("via", VIA, layout.images, notes, partial(_items, root=root, attribute=attribute), "regions")
    kind = f"a VIA dataset, {counted(len(records), 'image')} in {listed(layout.annotations, most=3)}"
    return reader.scan(records, kind, Labels(label_list, options.get(attribute, [])), progress)


def _json_entries(path: Path, notes: Notes) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """The entries of a project or an export, and the options of every attribute of regions."""
    whole = read_json(path, notes, LARGEST_FILE, "VIA")
    if whole is None:
        return [], {}
    content = whole.get("_via_img_metadata", whole) if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or not isinstance(content, dict):
        notes.add("via.entries", "error", "has no entries of images", path, "export the annotations again")
        return [], {}
    entries = [
        value for value in content.values() if isinstance(value, dict) and isinstance(value.get("filename"), str)
    ]
    if len(entries) < len(content):
        problem = f"{counted(len(content) - len(entries), 'entry', 'entries')} without a filename: they are ignored"
        notes.add("via.entries", "warning", problem, path, "export the annotations again")
    attributes = whole.get("_via_attributes")
    regions = attributes.get("region") if isinstance(attributes, dict) else None
    options: dict[str, list[str]] = {}
    for name, definition in regions.items() if isinstance(regions, dict) else ():
        choices = definition.get("options") if isinstance(definition, dict) else None
        options[name] = [label for label in map(clean_label, choices) if label] if isinstance(choices, dict) else []
    return entries, options


def _csv_entries(path: Path, notes: Notes) -> list[dict[str, Any]]:
    """The entries of a CSV export, which has one row for each region."""
    entries: dict[str, dict[str, Any]] = {}
    text = noted_text(path, notes, LARGEST_FILE, TEXT_CODES, "divide it into several files")
    try:
        rows = csv.DictReader(io.StringIO(text or "", ""))
        for row in rows:
            name = row.get("filename") or row.get("#filename") or ""
            entry = entries.setdefault(name, {"filename": name, "regions": []})
            try:
                shape, attributes, ofile = (json.loads(row.get(key) or "{}", parse_constant=str) for key in
                    ("region_shape_attributes", "region_attributes", "file_attributes"))  # fmt: skip
            except (ValueError, RecursionError):
                hint = "export the annotations again"
                notes.add("via.row", "error", "has attributes that are not JSON", path, hint, line=rows.line_num)
                continue
            entry["file_attributes"] = ofile
            if shape:
                entry["regions"].append({"shape_attributes": shape, "region_attributes": attributes})
    except csv.Error as error:
        notes.add("csv.syntax", "error", f"is not valid CSV: {error}", path, "export the annotations again")
    return list(entries.values())


def _record(entry: Mapping[str, Any], file: str) -> Record:
    regions = entry.get("regions")
    listed_regions = (
        list(regions.values()) if isinstance(regions, dict) else regions if isinstance(regions, list) else []
    )
    extra = entry.get("file_attributes")
    record = Record(
        entry["filename"], file, extra={"file_attributes": extra} if isinstance(extra, dict) and extra else {}
    )
    record.shapes = [_region(value) for value in listed_regions]
    return record


def _region(value: object) -> Region:
    parts = value if isinstance(value, dict) else {}
    shape, attributes = parts.get("shape_attributes"), parts.get("region_attributes")
    return Region(shape if isinstance(shape, dict) else {}, attributes if isinstance(attributes, dict) else {})


def _label_attribute(records: Sequence[Record], root: Path, notes: Notes) -> str:
    """The attribute that is the label of all regions; "" where none has any."""
    regions = [region for record in records for region in record.shapes]
    counts: Counter[str] = Counter(
        name for region in regions for name, value in region.attributes.items() if _chosen_label(value)
    )
    if not counts:
        if regions:
            problem = f"no region has an attribute: the label of all {len(regions)} is {ONLY_LABEL!r}"
            notes.add("via.label.none", "warning", problem, root / records[0].source, "give them a label in VIA")
        return ""
    preferred = [
        name for wanted in PREFERRED for name in sorted(counts) if name.strip().lower().replace(" ", "_") == wanted
    ]
    chosen = preferred[0] if preferred else min(counts, key=lambda name: (-counts[name], name))
    others = sorted(counts.keys() - {chosen})
    if others:
        problem = f"the attribute {chosen[:40]!r} is the label, beside {listed(others, most=3)[:80]}"
        hint = "if another one is the label, call it label in VIA"
        notes.add("via.label.attribute", "warning", problem, root / records[0].source, hint)
    return chosen


def _chosen_label(value: object) -> str:
    """The label in an attribute: a text, a number, or the only option that is checked; "" if there is none."""
    if isinstance(value, dict):
        checked = [name for name, on in value.items() if on]
        return clean_label(str(checked[0])) if len(checked) == 1 else ""
    return clean_label(str(value)) if isinstance(value, str) or is_number(value) else ""


def _items(record: Record, size: Size, notes: Notes, *, root: Path, attribute: str) -> Iterator[Item]:
    path = root / record.source
    for number, region in enumerate(record.shapes, 1):
        inside = f"{record.name[:80]}: regions[{number - 1}]"
        kind = region.shape.get("name")
        label = _chosen_label(region.attributes.get(attribute)) if attribute else ONLY_LABEL
        if kind in _WITHOUT_AREA:
            problem = f"is a {kind}, which has no area: it is ignored"
            hint = "draw a polygon or a rectangle around the object"
            notes.add("via.region.no_area", "warning", problem, path, hint, inside=inside)
            continue
        if not label:
            problem = f"has no label in the attribute {attribute[:40]!r}"
            notes.add("label.empty", "error", problem, path, "give it one, or delete the region", inside=inside)
            continue
        try:
            item = _region_object(region.shape, label, size)
        except ShapeError as error:
            notes.add("via.region", "error", str(error), path, _REDRAW, inside=inside)
            continue
        others = {
            name: value for name, value in region.attributes.items() if name != attribute and value not in ("", {})
        }
        item.line, item.extra = number, {"attributes": others} if others else {}
        yield item


def _region_object(shape: Mapping[str, Any], label: str, size: Size) -> Item:
    kind = shape.get("name")
    if kind == "polygon":
        xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
        if not (
            isinstance(xs, list) and isinstance(ys, list) and len(xs) == len(ys) >= 3 and all(map(is_number, xs + ys))
        ):
            raise ShapeError("is a polygon without three points of two numbers")
        points = [number for pair in zip(xs, ys, strict=True) for number in pair]
    elif isinstance(kind, str) and kind in _NUMBERS:
        values = [shape.get(name) for name in _NUMBERS[kind]]
        bad = next((name for name, value in zip(_NUMBERS[kind], values, strict=True) if not is_number(value)), "")
        if bad:
            raise ShapeError(f"is a {kind} whose {bad} is {shown(shape.get(bad))}, not a number")
        points = [value for value in values if is_number(value)]
    else:
        raise ShapeError(f"has the unknown shape {shown(kind)}")
    if not is_near(points, size):
        raise ShapeError(f"is far outside an image of {size[0]}×{size[1]}")
    points = list(map(float, points))
    if kind == "rect":
        x, y, width, height = points
        return Item(label, (x, y, x + width, y + height))
    if kind != "polygon":
        radii = points[2], points[-1]
        if min(radii) <= 0:
            raise ShapeError(f"is {'an' if kind == 'ellipse' else 'a'} {kind} without area")
        theta = shape.get("theta")
        degrees = math.degrees(theta) if is_number(theta) and is_near([theta], size) else 0
        points = ellipse(points[0], points[1], *radii, degrees)
    numbers = [int(number) if number == int(number) else number for number in points]
    return Item(label, around(points), segmentation=msgspec.json.encode([numbers]))
