"""CSV files, with one row for each object, as a `Dataset`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from vocdet.data.findings import Notes
from vocdet.data.source_terms import CSV
from vocdet.formats.csv.columns import ColumnPlaces, find_columns
from vocdet.formats.csv.layout import LARGEST_FILE, CsvFile, find_layout, is_id, label_rows
from vocdet.formats.images.facts import Size
from vocdet.formats.scan import Progress, Scan, Source
from vocdet.formats.shared.builder import FLAGS
from vocdet.formats.shared.limited import TEXT_CODES, noted_text
from vocdet.formats.shared.records import Item, Labels, Record, RecordReader, split_named
from vocdet.formats.shared.shapes import is_near
from vocdet.formats.shared.values import NUMBER, clean_label, read_labels, snapped
from vocdet.wording import counted, listed

_CORRECT = "correct the row, or delete it"


@dataclass(frozen=True, slots=True)
class Row:
    """One row before its numbers are checked. Rows of equal content are equal, wherever they stand."""

    label: str
    box: tuple[str, str, str, str]  # as written
    flags: int
    others: tuple[tuple[str, str], ...]  # names and cells of other columns
    corners: bool  # whether the box is two corners
    line: int = field(compare=False)


def scan(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Scan:
    """Read what is readable of the CSV files of a folder, or of one file, in the order of their rows.

    A row without box and label says that its image has no objects. Numbers are pixels, or fractions of the image if
    all of them are from 0 to 1 and not all whole. Labels are those of the label list, else of a classes.csv, else all
    that occur, sorted. A file whose name names a split is that split, unless a column says so. Raises only if there
    are no such files or no images, or if the label list cannot be read.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    layout = find_layout(source.path, without_images=without_images)
    notes = Notes([*layout.findings])
    root = layout.images.root
    pairs = [pair for name in layout.label_files for pair in label_rows(root / name)]
    names = {key: clean_label(label) for key, label in pairs if is_id(key)}
    classes = [clean_label(label) for label, number in pairs if number.isdecimal()]
    files = sorted(layout.files, key=lambda file: (not split_named(file.source), file.source))
    records: list[Record] = []
    fractions: dict[str, bool] = {}
    for file in files:
        found = _records(root, file, names, notes)
        fractions[file.source] = _are_fractions(file.columns, found)
        records += found
    reader = RecordReader("csv", CSV, layout.images, notes, partial(_row_objects, root=root, fractions=fractions))
    where = listed([file.source for file in files], most=3)
    labels = Labels(label_list, classes, listed(layout.label_files) if classes else "")
    return reader.scan(records, f"a CSV dataset, {counted(len(records), 'image')} in {where}", labels, progress)


def _records(root: Path, file: CsvFile, names: dict[str, str], notes: Notes) -> list[Record]:
    """The images of a file in order of their first rows, each with all its rows."""
    columns, records = file.columns, dict[str, Record]()
    width = max([*columns.box, columns.at["file"], columns.at["label"]]) + 1
    for line, cells in _numbered_rows(root / file.source, file.delimiter, notes):
        if len(cells) < width:
            problem = f"has {counted(len(cells), 'cell')}, not {width}"
            notes.add("csv.row.cells", "error", problem, root / file.source, _CORRECT, line=line)
            continue
        texts = {key: cells[i].strip() for key, i in columns.at.items() if i < len(cells)}
        name = cells[columns.at["file"]]
        if not name.strip():
            notes.add("path.empty", "error", "names no image", root / file.source, _CORRECT, line=line)
            continue
        record = records.get(name)
        if record is None:
            split = split_named(texts["split"]) if "split" in texts else split_named(file.source)
            size = _stated_side(texts.get("width", "")), _stated_side(texts.get("height", ""))
            record = records[name] = Record(name, file.source, line, size if all(size) else None, split)
        box = columns.box
        cell_texts = cells[box[0]].strip(), cells[box[1]].strip(), cells[box[2]].strip(), cells[box[3]].strip()
        if texts["label"] or any(cell_texts):
            flags = sum(bit for key, bit in FLAGS.items() if texts.get(key, "").lower() in ("1", "true", "yes"))
            others = tuple((key, cells[i].strip()) for key, i in columns.others.items() if i < len(cells))
            label = names.get(texts["label"], texts["label"])
            record.shapes.append(Row(label, cell_texts, flags, others, columns.has_corners, line))
    return list(records.values())


def _numbered_rows(path: Path, delimiter: str, notes: Notes) -> Iterator[tuple[int, list[str]]]:
    """Every row that is not empty after the names of the columns, with its line."""
    text = noted_text(path, notes, LARGEST_FILE, TEXT_CODES, "divide it into several files")
    if text is None:
        return
    rows = csv.reader(io.StringIO(text, ""), delimiter=delimiter)
    try:
        for cells in rows:
            if any(map(str.strip, cells)) and not (rows.line_num == 1 and _is_header(cells)):
                yield rows.line_num, cells
    except csv.Error as error:
        notes.add("csv.syntax", "error", f"is not valid CSV: {error}", path, _CORRECT, line=rows.line_num)


def _is_header(cells: Sequence[str]) -> bool:
    columns = find_columns([cells])
    return columns is not None and columns.named


def _stated_side(text: str) -> int:
    """A width or height in pixels; 0 if it is invalid."""
    value = float(text) if NUMBER.fullmatch(text) else 0
    return int(value) if 1 <= value < 2**31 and value == int(value) else 0


def _are_fractions(columns: ColumnPlaces, records: Sequence[Record]) -> bool:
    """Whether the numbers of a file are fractions of the image."""
    if columns.fractions is not None:
        return columns.fractions
    texts = [text for record in records for row in record.shapes for text in row.box if NUMBER.fullmatch(text)]
    numbers = list(map(float, texts))
    return bool(numbers) and min(numbers) >= 0 and max(numbers) <= 1 and not all(map(float.is_integer, numbers))


def _row_objects(record: Record, size: Size, notes: Notes, *, root: Path, fractions: dict[str, bool]) -> Iterator[Item]:
    for row in record.shapes:
        problem = _row_problem(row)
        if not problem:
            scale = (*size, *size) if fractions[record.source] else (1, 1, 1, 1)
            numbers = [float(text) * side for text, side in zip(row.box, scale, strict=True)]
            if not row.corners:
                numbers[2:] = numbers[0] + numbers[2], numbers[1] + numbers[3]
            if is_near(numbers, size):
                computed = fractions[record.source] or not row.corners
                xmin, ymin, xmax, ymax = snapped(np.array(numbers)).tolist() if computed else numbers
                others = {key: text for key, text in row.others if text}
                extra = {"attributes": others} if others else {}
                yield Item(clean_label(row.label), (xmin, ymin, xmax, ymax), row.line, flags=row.flags, extra=extra)
                continue
            problem = f"the box {' '.join(row.box)[:80]} is far outside an image of {size[0]}×{size[1]}"
        code = "label.empty" if not row.label else "csv.row.box"
        notes.add(code, "error", problem, root / record.source, _CORRECT, line=row.line)


def _row_problem(row: Row) -> str:
    """Why a row is not an object; "" if it may be one."""
    if not row.label:
        return "has a box without a label"
    bad = next((text for text in row.box if not NUMBER.fullmatch(text)), None)
    return "" if bad is None else f"{bad[:40]!r} is not a number" if bad else "has a label without a box"
