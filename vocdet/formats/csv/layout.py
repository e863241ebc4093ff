"""Which CSV files of a folder list boxes, and which name labels. Nothing outside its folder is opened."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError, DatasetError
from vocdet.files import first_bytes, read_limited
from vocdet.formats.csv.columns import ColumnPlaces, find_columns
from vocdet.formats.images.folders import first_file, walk
from vocdet.formats.images.lookup import ImageIndex, indexed, split_suffix
from vocdet.wording import counted

LARGEST_FILE = 1 << 29  # bytes; Open Images has 15 million boxes in 2 GB

_TABLE_BEGIN = 1 << 14  # bytes
_FIRST_ROWS = 20
_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file that lists boxes."""

    source: str  # from the root
    columns: ColumnPlaces
    delimiter: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of a dataset."""

    images: ImageIndex
    files: list[CsvFile]
    label_files: list[str]  # `class_name,id`, or `/m/01g317,Person` as in Open Images
    findings: list[Finding] = field(default_factory=list)


def find_layout(path: Path, *, without_images: bool = False) -> Layout:
    """Find CSV files and images below a folder, or beside one CSV file; an error where either is missing."""
    root = path.parent if path.is_file() else path
    if not root.is_dir():
        raise DatasetError("no such file or folder", place=path, hint="use the CSV file, or the folder that holds it")
    names, findings = walk(root)
    found = [path.name] if path.is_file() else [name for name in names if split_suffix(name)[1] == ".csv"]
    described = {name: inspect(root / name) for name in found}
    files = [CsvFile(name, *one) for name, one in described.items() if one is not None]
    if not files:
        hint = "the first line names the columns: filename,width,height,class,xmin,ymin,xmax,ymax"
        raise AnnotationError("no CSV file lists boxes of images", place=path, hint=hint)
    hint = "use the folder that holds both annotations and images"
    what = counted(len(files), "CSV file")
    images = indexed(root, names, findings, what, hint=hint, without_images=without_images)
    lists = [name for name in names if split_suffix(name)[1] == ".csv" and _is_class_list(root / name)]
    return Layout(images, files, lists, findings)


def looks_like(path: Path) -> str:
    """Why a folder, or a file, looks like boxes in CSV; "" where it does not. Few files are inspected."""
    if path.is_file():
        return "lists boxes of images" if inspect(path) else ""
    file = first_file(path, (".csv",), lambda one: inspect(one) is not None)
    return f"{file} lists boxes of images" if file else ""


def annotated(root: Path, files: Sequence[str]) -> list[str]:
    """The stems of the images that CSV files list."""
    stems: dict[str, None] = {}
    for name in files:
        found = inspect(root / name) if split_suffix(name)[1] == ".csv" else None
        if found is not None:
            columns, delimiter = found
            cells = (row[columns.at["file"]] for row in rows_of(root / name, delimiter) if len(row) > max(columns.box))
            stems |= dict.fromkeys(split_suffix(cell.replace("\\", "/"))[0].rpartition("/")[2] for cell in cells)
    return list(stems)


def inspect(path: Path) -> tuple[ColumnPlaces, str] | None:
    """The columns of a file that lists boxes, and the sign between them; None for any other file."""
    text = _begin(path)
    for delimiter in _DELIMITERS:
        columns = find_columns(_first_rows(text, delimiter))
        if columns is not None:
            return columns, delimiter
    return None


def rows_of(path: Path, delimiter: str) -> Iterator[list[str]]:
    """All rows of a file, as far as they can be read."""
    try:
        text = read_limited(path, LARGEST_FILE).decode("utf-8-sig")
        yield from csv.reader(io.StringIO(text, ""), delimiter=delimiter)
    except (OSError, UnicodeError, csv.Error):
        return


def label_rows(path: Path) -> list[tuple[str, str]]:
    """The pairs of a file that names labels."""
    return [(row[0].strip(), row[1].strip()) for row in rows_of(path, ",") if len(row) == 2]


def _is_class_list(path: Path) -> bool:
    rows = _first_rows(_begin(path), ",")
    return bool(rows) and all(len(row) == 2 and (row[1].strip().isdecimal() or is_id(row[0])) for row in rows)


def is_id(text: str) -> bool:
    """Whether a label is one of Open Images' ids."""
    return text.strip().startswith(("/m/", "/g/", "/t/"))


def _begin(path: Path) -> str:
    """The first lines of a file; "" if it is not text."""
    data = first_bytes(path, _TABLE_BEGIN)
    last = max(data.rfind(b"\n"), data.rfind(b"\r"))  # Excel can write lines that end in CR alone
    whole = data if len(data) < _TABLE_BEGIN else data[: last + 1]
    try:
        return whole.decode("utf-8-sig")
    except UnicodeError:
        return ""


def _first_rows(text: str, delimiter: str) -> list[list[str]]:
    """The first rows of a text that are not empty."""
    rows: list[list[str]] = []
    try:
        for row in _nonempty(csv.reader(io.StringIO(text, ""), delimiter=delimiter)):
            rows.append(row)
            if len(rows) == _FIRST_ROWS:
                break
    except csv.Error:
        return []
    return rows


def _nonempty(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if any(map(str.strip, row)))
