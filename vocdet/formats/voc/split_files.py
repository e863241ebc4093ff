"""Split files as texts: findings about their form, repairs, and split files from outside the dataset."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, islice
from pathlib import Path

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, Severity
from vocdet.data.splits import FOLD, Rows
from vocdet.errors import Place, SplitError
from vocdet.files import read_limited
from vocdet.formats.voc import image_sets
from vocdet.formats.voc.image_sets import LARGEST_FILE, SPLIT_NAMES, composed, meanings, without_column
from vocdet.wording import counted, listed

_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_NAMES = {"valid": "val", "validation": "val"}
_LABEL_FILE = re.compile(rf".+_({'|'.join(SPLIT_NAMES)})\.txt|fold\d+_(train|val)\.txt")
_MOST_NAMES = 3
_SHOWN_STEM = 80  # characters in a message
_REPAIR = "`vocdet.repair(dataset)` fixes it"
_REPAIR_COPY = "`vocdet.repair(dataset)` fixes it in the dataset's ImageSets/Main"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that names an image of the dataset."""

    row: int
    column: str  # VOC's second column with the space before it, or ""
    plain: bool  # whether it names the image by its stem


def line_reader(dataset: Dataset) -> Callable[[str], Line | None]:
    """A function that reads a line; it returns None if the dataset has no such image."""
    row_of = {composed(stem): row for stem, row in dataset.row_of().items()}

    @lru_cache(4096)  # a hostile file may repeat a line a million times
    def read(text: str) -> Line | None:
        whole = composed(text)
        named = next((name for name in meanings(whole) if name in row_of), None)
        if named is None:
            return None
        column = whole[len(without_column(whole)) :]
        column = "" if named.endswith(column) else column
        return Line(row_of[named], column, named + column == whole)

    return read


def own_findings(dataset: Dataset) -> list[Finding]:
    """Findings about the split files of a dataset: their form, and unused files beside them."""
    paths = [path for name in SPLIT_NAMES if (path := image_sets.split_path(dataset.root, name)) is not None]
    findings = [finding for path in paths for finding in text_findings(dataset, path)]
    return [*findings, *_unused_findings(dataset.root, _unused(dataset, paths))]


def text_findings(dataset: Dataset, path: Path, *, hint: str = _REPAIR) -> list[Finding]:
    """Findings about what vocdet tolerates in a split file and other tools do not; none if it is not text."""
    try:
        repaired = repair_split(read_limited(path, LARGEST_FILE), dataset)
    except (OSError, UnicodeDecodeError):
        return []  # reading it reports that
    findings = []
    for code, count in repaired.counts.items():
        if code in _PROBLEMS:
            problem = _PROBLEMS[code].format(
                lines=counted(count, "line"), end=repaired.end, example=repaired.examples[code]
            )
            findings.append(Finding(code, "warning", problem, Place(path), hint, count))
    return findings


_PROBLEMS = {
    "imagesets.bom": "begins with a byte-order mark, which other tools read as part of the first stem",
    "imagesets.crlf": "has {lines} with {end}, which some tools read as part of the stem",
    "imagesets.space": "has {lines} with space around the stem, such as {example}: other tools do not remove it",
    "imagesets.extension": "has {lines} with a file name instead of a stem, such as {example}",
    "imagesets.path": "has {lines} with a path instead of a stem, such as {example}",
}


@dataclass(slots=True)
class RepairedSplit:
    """A repaired split file, and the changes."""

    data: bytes = b""
    counts: dict[str, int] = field(default_factory=dict)  # lines, by the code of the finding
    examples: dict[str, str] = field(default_factory=dict)  # the first such line
    end: str = ""  # the unusual line ends, in words

    def note(self, code: str, line: str) -> None:
        """Count a line."""
        self.counts[code] = self.counts.get(code, 0) + 1
        self.examples.setdefault(code, repr(line[:80]))


def repair_split(data: bytes, dataset: Dataset) -> RepairedSplit:
    """Normalize a split file to one stem a line, without repeats and with LF line ends. Its meaning does not change.

    Lines that name no image of the dataset only lose the space around them. VOC's second column stays, and so does a
    line whose column contradicts an earlier one. UnicodeDecodeError if the file is not text.
    """
    repaired, read = RepairedSplit(), line_reader(dataset)
    if data.startswith(_BOM):
        repaired.note("imagesets.bom", "")
    lines = io.StringIO()
    columns: dict[int, str] = {}  # row -> column
    for match in _LINE.finditer(data.removeprefix(_BOM).decode()):
        raw, end = match.groups()
        text = raw.strip()
        if "\r" in end:
            repaired.note("imagesets.crlf", text)
            repaired.end = "Windows line ends (CRLF)" if end == "\r\n" else repaired.end or "line ends of old Macs (CR)"
        if raw != text and text:
            repaired.note("imagesets.space", raw)
        line = read(text) if text else None
        if line is not None:
            if columns.get(line.row) == line.column:
                repaired.note("imagesets.duplicate", text)
                continue
            columns.setdefault(line.row, line.column)
            if not line.plain:
                repaired.note("imagesets.path" if re.search(r"[/\\]", text) else "imagesets.extension", text)
                text = dataset.images.stems[line.row] + line.column
        lines.write(text + ("\n" if end else ""))
    repaired.data = lines.getvalue().encode()
    return repaired


def _unused(dataset: Dataset, read: Sequence[Path]) -> list[str]:
    """The files in ImageSets and ImageSets/Main that neither vocdet nor other tools read."""
    folders = reversed(image_sets.searched_folders(dataset.root))
    paths = (path for folder in folders for path in sorted(folder.iterdir()))
    return [
        path.relative_to(dataset.root).as_posix()
        for path in paths
        if path.is_file() and path.name[0] != "." and path not in read and not _LABEL_FILE.fullmatch(path.name)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class OutsideSplits:
    """Split files from outside a dataset, restricted to its images."""

    paths: Mapping[str, Path]  # by split
    splits: Mapping[str, Rows]  # rows of the dataset
    findings: tuple[Finding, ...]


def read_outside_splits(dataset: Dataset, places: Sequence[Path]) -> OutsideSplits:
    """Read split files, or folders of them, from outside the dataset; they may name images that it does not have.

    The name of the file is that of the split. SplitError if a file is missing or not text.
    """
    paths, findings = _split_paths(places)
    read = line_reader(dataset)
    splits: dict[str, Rows] = {}
    lines_of: dict[str, dict[str, list[int]]] = {}  # split -> stem -> its lines
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
        findings += [*text_findings(dataset, path, hint=_REPAIR_COPY), *_content_findings(path, lines, unknown)]
    return OutsideSplits(paths, splits, (*findings, *_shared_findings(paths, lines_of, dataset)))


def _split_paths(places: Sequence[Path]) -> tuple[dict[str, Path], list[Finding]]:
    paths: dict[str, Path] = {}
    findings: list[Finding] = []
    for place in places:
        files = _texts_in(place) if place.is_dir() else [place]
        known = [path for path in files if _split_of(path) in SPLIT_NAMES] or files
        unused = [path.name for path in files if path not in known and not _LABEL_FILE.fullmatch(path.name)]
        findings += _unused_findings(place, unused)
        for path in known:
            name = _split_of(path)
            if name in paths:
                raise SplitError(
                    f"is the split {name}, like {paths[name]}", place=path, hint="give one file for a split"
                )
            if not path.is_file():
                raise SplitError("no such file", place=path, hint="give a folder of split files, or the files")
            paths[name] = path
    order = {name: i for i, name in enumerate(SPLIT_NAMES)}
    return dict(sorted(paths.items(), key=lambda item: order.get(item[0], len(order)))), findings


def _texts_in(folder: Path) -> list[Path]:
    for place in (folder, folder / "Main", folder / image_sets.FOLDER):
        found = sorted(place.glob("*.txt")) if place.is_dir() else []
        if found:
            return found
    raise SplitError("holds no split files", place=folder, hint="their names are train.txt, val.txt and so on")


def _split_of(path: Path) -> str:
    return _NAMES.get(path.stem.lower(), path.stem.lower() if path.stem.lower() in SPLIT_NAMES else path.stem)


def _unused_findings(folder: Path, names: Sequence[str]) -> list[Finding]:
    if not names:
        return []
    problem = f"holds {counted(len(names), 'unused file')}: {listed(names, most=_MOST_NAMES)}"
    hint = f"split files are named {listed((f'{name}.txt' for name in SPLIT_NAMES), conjunction='or')}"
    return [Finding("imagesets.unknown_file", "warning", problem, Place(folder), hint, len(names))]


def _content_findings(
    path: Path, lines: Mapping[str, Sequence[int]], unknown: Mapping[str, Sequence[int]]
) -> list[Finding]:
    repeated = {stem: places for stem, places in lines.items() if len(places) > 1}
    findings = []
    if repeated:
        count = sum(len(places) - 1 for places in repeated.values())
        some = _stems_in(repeated, "{stem} on lines {all}")
        problem = f"repeats images on {counted(count, 'line')}: {some}"
        place = Place(path, next(iter(repeated.values()))[1])
        findings.append(Finding("imagesets.duplicate", "warning", problem, place, "delete them", count))
    if unknown:
        some = _stems_in(unknown, "{stem} on line {first}")
        none = len(unknown) == len(lines)
        which = "none of which is" if none else f"{len(unknown)} of which {'is' if len(unknown) == 1 else 'are'} not"
        problem = f"names {counted(len(lines), 'image')}, {which} in the dataset: {some}"
        hint = "check that it belongs to this dataset" if none else "overlaps with other splits are found by name"
        severity: Severity = "error" if none else "warning"
        place = Place(path, next(iter(unknown.values()))[0])
        findings.append(Finding("imagesets.unknown_stem", severity, problem, place, hint, len(unknown)))
    if not lines:
        findings.append(Finding("imagesets.empty", "warning", "names no images", Place(path), "leave it out"))
    return findings


def _shared_findings(
    paths: Mapping[str, Path], lines_of: Mapping[str, Mapping[str, Sequence[int]]], dataset: Dataset
) -> Iterator[Finding]:
    """Find images in two splits, including images that the dataset does not have."""
    here = frozenset(dataset.images.stems)
    for one, other in combinations(lines_of, 2):
        shared = {stem: places for stem, places in lines_of[other].items() if stem in lines_of[one]}
        if shared and _must_be_disjoint(one, other):
            inside = len(here & shared.keys())
            known = "" if inside == len(shared) else f", {inside} of them in the dataset"
            problem = f"{counted(len(shared), 'image')} ({_stems_in(shared, '{stem}')}) in {one} and in {other}{known}"
            problem += f": metrics on {other} will be too high"
            place = Place(paths[other], next(iter(shared.values()))[0])
            hint = "delete them from one of the two"
            yield Finding("imagesets.overlap", "warning", problem, place, hint, len(shared))


def _must_be_disjoint(one: str, other: str) -> bool:
    """Whether two splits must not share images: folds divide those of train and val, each in its own way."""
    folds = [fold[1] for fold in map(FOLD.fullmatch, (one, other)) if fold]
    if folds:
        return folds[0] == folds[-1] if len(folds) == 2 else "test" in (one, other)
    return {one, other} not in ({"trainval", "train"}, {"trainval", "val"})


def _stems_in(lines: Mapping[str, Sequence[int]], text: str) -> str:
    """The first few stems, formatted by `text` with their lines."""
    some = ", ".join(
        text.format(stem=_shortened(stem), first=places[0], all=" and ".join(map(str, places[:_MOST_NAMES])))
        for stem, places in islice(lines.items(), _MOST_NAMES)
    )
    return f"{some}, ..." if len(lines) > _MOST_NAMES else some


def _shortened(stem: str) -> str:
    return stem if len(stem) <= _SHOWN_STEM else f"{stem[:_SHOWN_STEM]}..."
