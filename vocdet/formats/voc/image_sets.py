"""ImageSets/Main: the split files of a dataset."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vocdet.data.dataset import DIVIDE_TRAINVAL, Dataset
from vocdet.data.findings import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.data.splits import FOLD, SPLIT_AGAIN, Rows, Splits
from vocdet.errors import Place, SplitError
from vocdet.files import FileTooLargeError, first_link, is_file, is_folder, may_list, read_limited, writing
from vocdet.formats.images.folders import is_searched, links_among
from vocdet.formats.images.lookup import folder_splits, split_folder, split_suffix
from vocdet.formats.scan import Scan
from vocdet.wording import and_more, counted, listed, nearest, quoted, reason

SPLIT_NAMES = ("trainval", "train", "val", "test")
FOLDER = Path("ImageSets", "Main")
LARGEST_FILE = 16 * 2**20  # bytes; a million stems take 10 MB

_FILE_SUFFIXES = IMAGE_SUFFIXES | {".xml"}
_SPLIT = "run `vocdet.write_splits(vocdet.split(dataset))`"
_MOST_HINTS = 20  # searching 20,000 stems for the nearest match is slow
_MOST_NAMED = 8  # files in an error
_MOST_LINES = 100_000  # of one code that have their own findings

_LONGEST_NAME = 200  # bytes of a label in a file name; file systems end at 255

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a split file."""

    text: str
    line: int


def read_split(path: Path) -> Iterator[Entry]:
    """Read the lines of a split file, with or without VOC's second column (1, -1 or 0).

    Blank lines, line ends, a byte-order mark and surrounding space do not count. SplitError if it cannot be read.
    """
    try:
        file = io.BytesIO(read_limited(path, LARGEST_FILE))
        # splitlines() also splits at characters that file names can have
        for number, line in enumerate(io.TextIOWrapper(file, "utf-8-sig", newline=None), 1):
            if text := line.strip():
                yield Entry(text, number)
    except FileTooLargeError as error:
        problem = f"is larger than {LARGEST_FILE >> 20} MB"
        raise SplitError(problem, place=path, hint=f"a split file has one stem per line; run {SPLIT_AGAIN}") from error
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise SplitError(problem, place=path, hint="check its permissions") from error
    except UnicodeDecodeError as error:
        raise SplitError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error


def split_path(root: Path, name: str) -> Path | None:
    """The split file of this name; None if there is none."""
    for folder in searched_folders(root):
        path = folder / f"{name}.txt"
        if is_file(path):
            return path
    return None


def searched_folders(root: Path) -> list[Path]:
    """The readable folders of split files: ImageSets/Main, then ImageSets. A link that leads back up is none."""
    above = root / FOLDER.parts[0]
    if not is_folder(above) or not is_searched(above):
        return []
    folders = [folder for folder in (root / FOLDER, above) if is_folder(folder) and is_searched(folder)]
    return [folder for folder in folders if may_list(folder)]


def closed_findings(root: Path) -> list[Finding]:
    """The findings for folders of split files that may not be read: else the splits would vanish without a word."""
    folders = [folder for folder in (root / FOLDER.parts[0], root / FOLDER) if is_folder(folder)]
    closed = [folder for folder in folders if not may_list(folder)]
    problem, hint = "cannot be read: permission denied", "check its permissions"
    return [Finding("imagesets.unreadable", "error", problem, Place(folder), hint) for folder in closed]


def split_names(dataset: Dataset) -> tuple[str, ...]:
    """The splits of a dataset: those of its split files, else of its folders named train, valid and test."""
    files = tuple(name for name in SPLIT_NAMES if split_path(dataset.root, name) is not None)
    folders = frozenset() if files else frozenset(folder_splits(dataset.images.files))
    return files or tuple(name for name in SPLIT_NAMES if name in folders)


def split_folders(dataset: Dataset) -> tuple[str, ...]:
    """The folders named train, valid and test that define the splits; none if there are split files."""
    if has_split_files(dataset.root):
        return ()
    files = dataset.images.files
    named = zip(files, folder_splits(files), strict=True)
    return tuple(sorted({split_folder(file) for file, split in named if split}))


def has_split_files(root: Path) -> bool:
    """Whether a dataset has split files."""
    return any(split_path(root, name) for name in SPLIT_NAMES)


def split_rows(
    dataset: Dataset, name: str, left_out: Mapping[str, str] = MappingProxyType({})
) -> tuple[Rows, tuple[Finding, ...]]:
    """The images of a split, and the findings about its file. Unknown stems are errors among them.

    `left_out` says why stems with files are not in the dataset; "": another finding says it. SplitError if there is no
    such split, or its file cannot be read.
    """
    path = split_path(dataset.root, name)
    if path is not None:
        return resolve(dataset, path, left_out)
    rows = [row for row, split in enumerate(folder_splits(dataset.images.files)) if split == name]
    if not rows:
        raise SplitError(f"there is no {name}.txt", place=dataset.root / FOLDER, hint=_SPLIT)
    return np.array(rows, np.int64), ()


def resolve(
    dataset: Dataset, path: Path, left_out: Mapping[str, str] = MappingProxyType({})
) -> tuple[Rows, tuple[Finding, ...]]:
    """The images of a split file, each once, and the findings about it; `left_out` as for `split_rows`."""
    row_of = {composed(stem): row for stem, row in dataset.row_of().items()}
    why_not = {composed(stem): why for stem, why in left_out.items()}
    rows: dict[int, int] = {}  # row -> line
    findings = _LineFindings(path)
    known: dict[str, int] = {}  # line -> row
    hints, empty = 0, True
    for entry in read_split(path):
        empty = False
        row = known.get(entry.text)
        candidates = tuple(meanings(composed(entry.text))) if row is None else ()
        row = next((row_of[stem] for stem in candidates if stem in row_of), row)
        if row is None:
            why = next((why_not[stem] for stem in candidates if stem in why_not), None)
            if why == "" or not findings.has_room("imagesets.unknown_stem"):
                continue
            hints += not why
            hint = _hint(entry.text, row_of) if not why and hints <= _MOST_HINTS else ""
            problem = f"names {quoted(entry.text)}, {why or 'which is not in the dataset'}"
            hint = hint or f"delete the line, or run {SPLIT_AGAIN}"
            findings.add(Finding("imagesets.unknown_stem", "error", problem, Place(path, entry.line), hint))
        elif row not in rows:
            rows[row] = entry.line
            known[entry.text] = row
        elif findings.has_room("imagesets.duplicate"):
            problem = f"names {quoted(entry.text)} again, after line {rows[row]}"
            hint = "delete one of the lines"
            findings.add(Finding("imagesets.duplicate", "warning", problem, Place(path, entry.line), hint))
    if empty:
        hint = f"run {SPLIT_AGAIN} with larger shares if the split should have images"
        findings.add(Finding("imagesets.empty", "warning", "names no images", Place(path), hint))
    return np.array(list(rows), np.int64), findings.all()


class _LineFindings:
    """The findings about the lines of a file: one for each line, and one for all beyond many."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._findings: list[Finding] = []
        self._counts: Counter[str] = Counter()  # by code

    def has_room(self, code: str) -> bool:
        """Count a line with a code; return whether it gets its own finding."""
        self._counts[code] += 1
        return self._counts[code] <= _MOST_LINES

    def add(self, finding: Finding) -> None:
        """Add a finding; `has_room` has counted it."""
        self._findings.append(finding)

    def all(self) -> tuple[Finding, ...]:
        first = {finding.code: finding for finding in reversed(self._findings)}
        beyond = [
            replace(first[code], problem=f"has {counted(count - _MOST_LINES, 'more such line')}",
                    place=Place(self._path), count=count - _MOST_LINES)
            for code, count in self._counts.items() if count > _MOST_LINES
        ]  # fmt: skip
        return (*self._findings, *beyond)


def label_files(dataset: Dataset) -> tuple[Path, ...]:
    """The existing files `<label>_<split>.txt` for the labels of a dataset."""
    names = {f"{label}_{split}.txt" for label in dataset.labels for split in SPLIT_NAMES}
    folder = dataset.root / FOLDER
    found = folder in searched_folders(dataset.root)
    return tuple(sorted(path for path in folder.glob("*_*.txt") if path.name in names)) if found else ()


def overlap_findings(dataset: Dataset, splits: Mapping[str, Rows]) -> list[Finding]:
    """Find images in two splits that must not overlap, and a trainval that is not the union of train and val."""
    findings = []
    whole = "trainval" in splits and not {"train", "val"} <= splits.keys()
    pairs = [("train", "val"), ("train", "test"), ("val", "test"), *([("trainval", "test")] if whole else [])]
    for one, other in pairs:
        shared = np.intersect1d(splits.get(one, _NONE), splits.get(other, _NONE))
        if len(shared):
            problem = f"{_images_text(dataset, shared)} in {one} and in {other}: metrics on {other} will be too high"
            hint = f"run {SPLIT_AGAIN} for disjoint splits"
            place = Place(split_path(dataset.root, other) or dataset.root)
            findings.append(Finding("imagesets.overlap", "warning", problem, place, hint))
    if {"trainval", "train", "val"} <= splits.keys():
        differing = np.setxor1d(splits["trainval"], np.concatenate([splits["train"], splits["val"]]))
        if len(differing):
            problem = f"trainval is not the union of train and val: they differ in {_images_text(dataset, differing)}"
            place = Place(split_path(dataset.root, "trainval") or dataset.root)
            hint = f"run {DIVIDE_TRAINVAL}"
            findings.append(Finding("imagesets.trainval", "warning", problem, place, hint))
    return findings


def objectless_findings(
    dataset: Dataset, splits: Mapping[str, Rows], paths: Mapping[str, Path] = MappingProxyType({})
) -> list[Finding]:
    """Find splits without objects, which are useless for training and evaluation.

    `paths` are the split files of splits from outside the dataset.
    """
    findings = []
    for name, rows in splits.items():
        if len(rows) and not np.isin(dataset.objects.image, rows).any():
            problem = f"the split {name} has {counted(len(rows), 'image')} and no objects"
            place = Place(paths.get(name) or split_path(dataset.root, name) or dataset.root)
            hint = f"annotate some of them, or run {SPLIT_AGAIN}"
            findings.append(Finding("imagesets.no_objects", "warning", problem, place, hint))
    return findings


def read_splits(scan: Scan) -> tuple[Splits, tuple[Finding, ...]]:
    """The splits of a dataset, and the findings about its split files.

    They are those of ImageSets; without it, those of the reader, or of folders named train, valid and test.
    """
    dataset = scan.dataset
    closed = [*closed_findings(dataset.root), *_not_files(dataset.root)]
    if dataset.splits and not has_split_files(dataset.root):
        return dataset.splits, tuple(closed)
    splits: dict[str, Rows] = {}
    files = [path for name in SPLIT_NAMES if (path := split_path(dataset.root, name)) is not None]
    findings = [
        *closed,
        *links_among(dataset.root, [*files, *fold_files(dataset)]),
    ]
    for name in split_names(dataset):
        try:
            splits[name], in_file = split_rows(dataset, name, scan.left_out)
        except SplitError as error:
            in_file = (_unreadable(error, dataset.root),)
        findings += in_file
    for path in fold_files(dataset):
        try:
            splits[path.stem], in_file = resolve(dataset, path, scan.left_out)
        except SplitError as error:
            in_file = (_unreadable(error, path),)
        findings += _fold_warnings(in_file)
    return splits, tuple(findings)


def _not_files(root: Path) -> list[Finding]:
    """An error for everything that has the name of a split file and is none."""
    paths = (folder / f"{name}.txt" for folder in (root / FOLDER, root / "ImageSets") for name in SPLIT_NAMES)
    hint = f"move it away; {_SPLIT}"
    return [
        Finding("imagesets.unreadable", "error", "is not a file", Place(path), hint)
        for path in paths
        if os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113 - these never raise
    ]


def _unreadable(error: SplitError, path: Path) -> Finding:
    return Finding("imagesets.unreadable", "error", error.problem, error.place or Place(path), error.hint)


def _fold_warnings(findings: Sequence[Finding]) -> list[Finding]:
    """The findings of a fold file: one of each code. They are warnings, because only that fold cannot be used."""
    codes = dict.fromkeys(finding.code for finding in findings)
    groups = ([finding for finding in findings if finding.code == code] for code in codes)
    return [
        replace(
            group[0],
            severity="warning",
            problem=group[0].problem + and_more(len(group) - 1, "such line"),
            count=len(group),
        )
        for group in groups
    ]


def fold_files(dataset: Dataset) -> list[Path]:
    """The existing files `fold<k>_train.txt` and `fold<k>_val.txt`, by number, without those of a label `fold<k>`."""
    folder = dataset.root / FOLDER
    if folder not in searched_folders(dataset.root):
        return []
    found = ((path, FOLD.fullmatch(path.stem)) for path in folder.glob("fold*.txt") if path.is_file())
    paths = [path for path, match in found if match and match[1] not in dataset.labels]
    return sorted(paths, key=lambda path: (int(path.stem.split("_")[0].removeprefix("fold")), path.stem))


def _images_text(dataset: Dataset, rows: Rows) -> str:
    some = ", ".join(dataset.images.stems[row] for row in rows[:3])
    return f"{counted(len(rows), 'image')} ({some}{', ...' if len(rows) > 3 else ''})"


def write_splits(root: Path, texts: Mapping[str, str], *, force: bool = False) -> tuple[Path, ...]:
    """Write `<name>.txt` for every text, all or none. SplitError if one exists, unless `force`."""
    folder = root / FOLDER
    paths = tuple(folder / f"{name}.txt" for name in texts)
    if link := first_link(folder, root):
        outside = "" if link.resolve().is_relative_to(root.resolve()) else " that leads out of the dataset"
        problem = f"is a link{outside}: nothing is written through it"
        raise SplitError(problem, place=link, hint="replace it by a copy of what it points to")
    existing = [path.name for path in paths if os.path.lexists(path)]
    if existing and not force:
        problem = f"{listed(existing, most=_MOST_NAMED)} would be overwritten"
        raise SplitError(problem, place=folder, hint="replace them with `force=True`")
    with ExitStack() as stack:  # every file is on the disk before the first takes its name
        for path, text in zip(paths, texts.values(), strict=True):
            file = stack.enter_context(writing(path))
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    return paths


def split_texts(dataset: Dataset, splits: Mapping[str, Rows]) -> dict[str, str]:
    """The contents of the split files: one stem a line. SplitError for a stem that they cannot hold."""
    stems = dataset.images.stems
    invalid = [stem for stem in stems if stem != stem.strip()]
    if invalid:
        problem = f"the stem {invalid[0]!r} begins or ends with a space, which a split file cannot hold"
        raise SplitError(problem, place=dataset.root, hint="rename the image and its XML")
    return {name: "".join(f"{stems[row]}\n" for row in rows) for name, rows in splits.items()}


def label_texts(dataset: Dataset, splits: Mapping[str, Rows]) -> dict[str, str]:
    """The contents of VOC's `<label>_<split>.txt`: every stem with 1, -1, or 0 for difficult objects alone."""
    invalid = [label for label in dataset.labels if re.search(r"[/\\\0]", label) or len(label.encode()) > _LONGEST_NAME]
    if invalid:
        problem = f"labels that cannot be in a file name: {', '.join(repr(label[:40]) for label in invalid)}"
        raise SplitError(problem, place=dataset.root, hint="rename them, or leave out `per_label=True`")
    objects = dataset.objects
    value = np.full((len(dataset), len(dataset.labels)), -1, np.int8)
    value[objects.image, objects.label] = 0
    clear = ~objects.difficult
    value[objects.image[clear], objects.label[clear]] = 1
    return {
        f"{label}_{name}": "".join(f"{dataset.images.stems[row]} {value[row, i]:2d}\n" for row in rows)
        for i, label in enumerate(dataset.labels)
        for name, rows in splits.items()
    }


def meanings(text: str) -> Iterator[str]:
    """The stems that a line may name, most literal first: stems can hold spaces and dots, and end in ' 1'."""
    for stem in dict.fromkeys((text, without_column(text))):
        yield stem
        name = stem.replace("\\", "/").rstrip("/").rpartition("/")[2]
        yield name
        name, suffix = split_suffix(name)
        if suffix in _FILE_SUFFIXES:
            yield name


def without_column(text: str) -> str:
    """A line without VOC's second column (1, -1 or 0)."""
    parts = text.rsplit(maxsplit=1)
    return parts[0] if len(parts) == 2 and parts[1] in ("-1", "0", "1") else text


def composed(text: str) -> str:
    """Text in Unicode's composed form: macOS decomposes accents in file names."""
    return unicodedata.normalize("NFC", text)


def _hint(text: str, row_of: dict[str, int]) -> str:
    stem = without_column(text)
    without_zeros = stem.lstrip("0")
    for other in row_of:
        if other.lstrip("0") == without_zeros:
            return f"did you mean {other!r}? The leading zeros differ"
    # another number is another image, not a typo
    numbers = [re.findall(r"\d+", given) for given in (text, stem)]
    close = nearest(stem, (other for other in row_of if re.findall(r"\d+", other) in numbers))
    return f"did you mean {close!r}?" if close else ""
