"""Split files as texts: what in them other tools stumble over, how they are tidied, and those of somebody else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, Severity
from vocdet.data.splits import Rows
from vocdet.errors import Place, SplitError
from vocdet.formats.voc import image_sets
from vocdet.formats.voc.image_sets import PARTS, composed, meanings
from vocdet.formats.voc.layout import leads_inside
from vocdet.wording import counted

LARGEST_FILE = 64 * 2**20  # bytes; a million stems take 10 MB

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_COLUMN = re.compile(r"\s+(-1|0|1)$")
_NAMES = {"valid": "val", "validation": "val"}
_LABEL_FILE = re.compile(rf".+_({'|'.join(PARTS)})\.txt|fold\d+_(train|val)\.txt")
_MOST_NAMES = 3
_BY_HAND = "vocdet check --fix mends it once it is in the dataset's ImageSets/Main"


@dataclass(frozen=True, slots=True)
class Line:
    """What a line that names an image of the dataset says."""

    row: int
    column: str  # VOC's second column with the space before it; "": none
    plain: bool  # whether the image stands there by its stem


def line_reader(dataset: Dataset) -> Callable[[str], Line | None]:
    """A function that reads a line; it gives None where the dataset has no image of that name."""
    row_of = {composed(stem): row for stem, row in dataset.row_of().items()}

    def read(text: str) -> Line | None:
        whole = composed(text)
        named = next((name for name in meanings(whole) if name in row_of), None)
        if named is None:
            return None
        match = _COLUMN.search(whole)
        column = match[0] if match and not named.endswith(match[0]) else ""
        return Line(row_of[named], column, named + column == whole)

    return read


def own_findings(dataset: Dataset) -> list[Finding]:
    """What other tools stumble over in the split files of a dataset, and the files there that nobody reads."""
    paths = [path for name in PARTS if (path := image_sets.split_path(dataset.root, name)) is not None]
    findings = [finding for path in paths for finding in text_findings(dataset, path)]
    return [*findings, *_unread_findings(dataset.root, _unread(dataset, paths))]


def text_findings(dataset: Dataset, path: Path, *, hint: str = "vocdet check --fix mends it") -> list[Finding]:
    """What vocdet reads over in a split file and others do not; nothing where it is no text."""
    try:
        tidied = tidy(path.read_bytes(), dataset)
    except (OSError, UnicodeDecodeError):
        return []  # which is found when it is read
    findings = []
    for code, count in tidied.counts.items():
        if code in _TEXTS:
            problem = _TEXTS[code].format(lines=counted(count, "line"), end=tidied.end, example=tidied.examples[code])
            findings.append(Finding(code, "warning", problem, Place(path), hint, count))
    return findings


_TEXTS = {
    "imagesets.bom": "begins with a byte-order mark, which other tools take for a part of the first stem",
    "imagesets.crlf": "has {lines} with {end}, part of which some tools take for the stem's",
    "imagesets.space": "has {lines} with space around the stem, such as {example}: other tools keep it",
    "imagesets.extension": "has {lines} with the name of a file, such as {example}, where a stem should stand",
    "imagesets.path": "has {lines} with a path, such as {example}, where a stem should stand",
}


@dataclass(slots=True)
class Tidied:
    """A split file as it should be, and what had to be changed for it."""

    data: bytes = b""
    counts: dict[str, int] = field(default_factory=dict)  # lines, by the code of the finding
    examples: dict[str, str] = field(default_factory=dict)  # the first such line
    end: str = ""  # the odd line ends, in words

    def note(self, code: str, line: str) -> None:
        """Count a line."""
        self.counts[code] = self.counts.get(code, 0) + 1
        self.examples.setdefault(code, repr(line[:80]))


def tidy(data: bytes, dataset: Dataset) -> Tidied:
    """A split file with a stem a line, each once, and plain line ends; what it says stays the same.

    Lines that name no image of the dataset stay as they are, but for space around them; so does VOC's second column,
    and a line whose column contradicts that of an earlier one. Raises `UnicodeDecodeError` where it is no text.
    """
    tidied, read = Tidied(), line_reader(dataset)
    if data.startswith(_BOM):
        tidied.note("imagesets.bom", "")
    kept: list[str] = []
    columns: dict[int, str] = {}  # row -> column
    for match in _LINE.finditer(data.removeprefix(_BOM).decode()):
        raw, end = match.groups()
        text = raw.strip()
        if "\r" in end:
            tidied.note("imagesets.crlf", text)
            tidied.end = "Windows line ends (CRLF)" if end == "\r\n" else tidied.end or "line ends of old Macs (CR)"
        if raw != text and text:
            tidied.note("imagesets.space", raw)
        line = read(text) if text else None
        if line is not None:
            if columns.get(line.row) == line.column:
                tidied.note("imagesets.duplicate", text)
                continue
            columns.setdefault(line.row, line.column)
            if not line.plain:
                tidied.note("imagesets.path" if re.search(r"[/\\]", text) else "imagesets.extension", text)
                text = dataset.images.stems[line.row] + line.column
        kept.append(text + ("\n" if end else ""))
    tidied.data = "".join(kept).encode()
    return tidied


def _unread(dataset: Dataset, read: Sequence[Path]) -> list[str]:
    """The files in ImageSets and ImageSets/Main that are neither read nor of a kind that others read."""
    folders = [dataset.root / image_sets.FOLDER.parts[0], dataset.root / image_sets.FOLDER]
    paths = (path for folder in folders if folder.is_dir() and leads_inside(folder, dataset.root)
             for path in sorted(folder.iterdir()))  # fmt: skip
    return [
        path.relative_to(dataset.root).as_posix()
        for path in paths
        if path.is_file() and path.name[0] != "." and path not in read and not _LABEL_FILE.fullmatch(path.name)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Split files from elsewhere, as far as they speak of a dataset."""

    paths: Mapping[str, Path]  # by part
    splits: Mapping[str, Rows]  # the images that the dataset has
    findings: tuple[Finding, ...]


def read_lists(dataset: Dataset, given: Sequence[Path]) -> Lists:
    """Look at split files, or folders of them, that are not the dataset's own; they may name images it has not.

    The part is the name of the file. A `SplitError` says which of them is not there, or no text.
    """
    paths, findings = _list_paths(given)
    read = line_reader(dataset)
    splits: dict[str, Rows] = {}
    lines_of: dict[str, dict[str, list[int]]] = {}  # part -> stem -> its lines
    for name, path in paths.items():
        lines = lines_of.setdefault(name, {})
        rows: dict[int, None] = {}
        unknown: dict[str, list[int]] = {}
        for entry in image_sets.read_split(path):
            line = read(entry.text)
            if line is None:
                stem = list(meanings(composed(entry.text)))[-1]
                unknown.setdefault(stem, []).append(entry.line)
            else:
                stem = dataset.images.stems[line.row]
                rows[line.row] = None
            lines.setdefault(stem, []).append(entry.line)
        splits[name] = np.array(list(rows), np.int64)
        findings += [*text_findings(dataset, path, hint=_BY_HAND), *_content_findings(path, lines, unknown)]
    return Lists(paths, splits, (*findings, *_shared_findings(paths, lines_of, dataset)))


def _list_paths(given: Sequence[Path]) -> tuple[dict[str, Path], list[Finding]]:
    paths: dict[str, Path] = {}
    findings: list[Finding] = []
    for one in given:
        found = _texts_in(one) if one.is_dir() else [one]
        known = [path for path in found if _part_of(path) in PARTS] or found
        unread = [path.name for path in found if path not in known and not _LABEL_FILE.fullmatch(path.name)]
        findings += _unread_findings(one, unread)
        for path in known:
            name = _part_of(path)
            if name in paths:
                raise SplitError(f"is {name} too, as {paths[name]} is", place=path, hint="give one file a part")
            if not path.is_file():
                raise SplitError("no such file", place=path, hint="give a folder of split files, or the files")
            if path.stat().st_size > LARGEST_FILE:
                problem = f"is larger than {LARGEST_FILE >> 20} MB"
                raise SplitError(problem, place=path, hint="a split file has a stem a line: is it one?")
            paths[name] = path
    order = {name: i for i, name in enumerate(PARTS)}
    return dict(sorted(paths.items(), key=lambda item: order.get(item[0], len(order)))), findings


def _texts_in(folder: Path) -> list[Path]:
    for place in (folder, folder / "Main", folder / image_sets.FOLDER):
        found = sorted(place.glob("*.txt")) if place.is_dir() else []
        if found:
            return found
    raise SplitError("holds no split files", place=folder, hint="they are called train.txt, val.txt and so on")


def _part_of(path: Path) -> str:
    return _NAMES.get(path.stem.lower(), path.stem.lower() if path.stem.lower() in PARTS else path.stem)


def _unread_findings(folder: Path, names: Sequence[str]) -> list[Finding]:
    if not names:
        return []
    some = ", ".join(names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    problem = f"holds {counted(len(names), 'file')} that nobody reads: {some}"
    hint = f"split files are called {', '.join(f'{name}.txt' for name in PARTS)}: rename or delete it"
    return [Finding("imagesets.unknown_file", "warning", problem, Place(folder), hint, len(names))]


def _content_findings(
    path: Path, lines: Mapping[str, Sequence[int]], unknown: Mapping[str, Sequence[int]]
) -> list[Finding]:
    again = {stem: places for stem, places in lines.items() if len(places) > 1}
    findings = []
    if again:
        count = sum(len(places) - 1 for places in again.values())
        some = _some(again, "{stem} on lines {all}")
        problem = f"has {counted(count, 'line that names', 'lines that name')} an image again: {some}"
        place = Place(path, next(iter(again.values()))[1])
        findings.append(Finding("imagesets.duplicate", "warning", problem, place, "delete them", count))
    if unknown:
        some = _some(unknown, "{stem} on line {first}")
        none = len(unknown) == len(lines)
        which = "none of which is" if none else f"{len(unknown)} of which {'is' if len(unknown) == 1 else 'are'} not"
        problem = f"names {counted(len(lines), 'image')}, {which} in the dataset: {some}"
        hint = "is it of this dataset?" if none else "what is said of it holds for the others, and for these by name"
        severity: Severity = "error" if none else "warning"
        place = Place(path, next(iter(unknown.values()))[0])
        findings.append(Finding("imagesets.unknown_stem", severity, problem, place, hint, len(unknown)))
    if not lines:
        findings.append(Finding("imagesets.empty", "warning", "names no images", Place(path), "leave it out"))
    return findings


def _shared_findings(
    paths: Mapping[str, Path], lines_of: Mapping[str, Mapping[str, Sequence[int]]], dataset: Dataset
) -> Iterator[Finding]:
    """Images in two lists, whether the dataset has them or not."""
    here = frozenset(dataset.images.stems)
    for one, other in combinations(lines_of, 2):
        shared = {stem: places for stem, places in lines_of[other].items() if stem in lines_of[one]}
        if shared and {one, other} not in ({"trainval", "train"}, {"trainval", "val"}):
            inside = len(here & shared.keys())
            known = "" if inside == len(shared) else f", {inside} of them in the dataset"
            problem = f"{counted(len(shared), 'image')} ({_some(shared, '{stem}')}) in {one} and in {other}{known}"
            problem += f": figures on {other} will be too good"
            place = Place(paths[other], next(iter(shared.values()))[0])
            hint = "delete them from one of the two"
            yield Finding("imagesets.overlap", "warning", problem, place, hint, len(shared))


def _some(lines: Mapping[str, Sequence[int]], text: str) -> str:
    """The first few in words, where `text` takes a stem and its lines."""
    some = ", ".join(
        text.format(stem=stem, first=places[0], all=" and ".join(map(str, places[:_MOST_NAMES])))
        for stem, places in islice(lines.items(), _MOST_NAMES)
    )
    return f"{some}, ..." if len(lines) > _MOST_NAMES else some
