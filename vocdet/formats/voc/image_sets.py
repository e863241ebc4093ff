"""ImageSets/Main: which images belong to train, val and test."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.data.splits import FOLD, Rows, Splits
from vocdet.errors import Place, SplitError
from vocdet.files import writing
from vocdet.formats.scan import Scan
from vocdet.wording import and_more, counted, nearest, reason

PARTS = ("trainval", "train", "val", "test")
FOLDER = Path("ImageSets", "Main")

# Roboflow's folders, and what VOC calls the same.
_FOLDER_PARTS = {"train": "train", "valid": "val", "val": "val", "validation": "val", "test": "test"}
_FILE_SUFFIXES = IMAGE_SUFFIXES | {".xml"}
_FORGET = "delete the line, or run vocdet split --force"
_MOST_HINTS = 20  # looking for the nearest of 20,000 stems takes a while

_LONGEST_NAME = 200  # bytes of a label in a file name; file systems end at 255

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a split file that is not blank."""

    text: str
    line: int


def read_split(path: Path) -> list[Entry]:
    """The lines of a split file as written, with or without VOC's second column (1, -1 or 0).

    Any line ends, a byte-order mark and trailing blanks are all the same.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise SplitError(problem, place=path, hint="run vocdet split") from error
    except UnicodeDecodeError as error:
        raise SplitError("is not UTF-8 text", place=path, hint="save it as UTF-8, or run vocdet split") from error
    lines = re.split(r"\r\n|\r|\n", text)  # splitlines() would also cut at characters a file name may have
    return [Entry(line.strip(), number) for number, line in enumerate(lines, 1) if line.strip()]


def split_path(root: Path, name: str) -> Path | None:
    """The split file of this name, or None where there is none."""
    for folder in (root / FOLDER, root / "ImageSets"):
        path = folder / f"{name}.txt"
        if path.is_file() and path.resolve().is_relative_to(root.resolve()):
            return path
    return None


def part_names(dataset: Dataset) -> tuple[str, ...]:
    """Which of `PARTS` there are: by split files, else by folders called train, valid and test."""
    files = tuple(name for name in PARTS if split_path(dataset.root, name) is not None)
    folders = {_FOLDER_PARTS[name] for name in split_folders(dataset)}
    return files or tuple(name for name in PARTS if name in folders)


def split_folders(dataset: Dataset) -> tuple[str, ...]:
    """The folders called train, valid and test that say which part their images are in; none beside split files."""
    if divided(dataset.root):
        return ()
    tops = {file.split("/")[0].lower() for file in dataset.images.files if "/" in file}
    return tuple(sorted(tops & _FOLDER_PARTS.keys()))


def divided(root: Path) -> bool:
    """Whether there are split files."""
    return any(split_path(root, name) for name in PARTS)


def split_rows(
    dataset: Dataset, name: str, left_out: Mapping[str, str] = MappingProxyType({})
) -> tuple[Rows, tuple[Finding, ...]]:
    """The images of a part, and what is odd about its file; a stem that is not in the dataset is an error there.

    `left_out` tells of stems whose files are there why they are not in the dataset; "": it has been told.
    """
    path = split_path(dataset.root, name)
    if path is not None:
        return resolve(dataset, path, left_out)
    rows = [row for row, split in enumerate(_folder_splits(dataset)) if split == name]
    if not rows:
        raise SplitError(f"there is no {name}.txt", place=dataset.root / FOLDER, hint="run vocdet split")
    return np.array(rows, np.int64), ()


def resolve(
    dataset: Dataset, path: Path, left_out: Mapping[str, str] = MappingProxyType({})
) -> tuple[Rows, tuple[Finding, ...]]:
    """The images a split file names, each once, and what is odd about the file; `left_out` as for `split_rows`."""
    row_of = {composed(stem): row for stem, row in dataset.row_of().items()}
    why_not = {composed(stem): why for stem, why in left_out.items()}
    rows: dict[int, int] = {}  # row -> line
    findings: list[Finding] = []
    hints = 0
    entries = read_split(path)
    for entry in entries:
        place = Place(path, entry.line)
        candidates = tuple(meanings(composed(entry.text)))
        row = next((row_of[stem] for stem in candidates if stem in row_of), None)
        if row is None:
            why = next((why_not[stem] for stem in candidates if stem in why_not), None)
            if why == "":
                continue
            hints += not why
            hint = _hint(entry.text, row_of) if not why and hints <= _MOST_HINTS else ""
            problem = f"names {entry.text!r}, {why or 'which is not in the dataset'}"
            findings.append(Finding("imagesets.unknown_stem", "error", problem, place, hint or _FORGET))
        elif row in rows:
            problem = f"names {entry.text!r} again, after line {rows[row]}"
            findings.append(Finding("imagesets.duplicate", "warning", problem, place, "delete one of the lines"))
        else:
            rows[row] = entry.line
    if not entries:
        hint = "run vocdet split, with other shares if the part should have images"
        findings.append(Finding("imagesets.empty", "warning", "names no images", Place(path), hint))
    return np.array(list(rows), np.int64), tuple(findings)


def label_files(dataset: Dataset) -> tuple[Path, ...]:
    """The `<label>_<part>.txt` that are there for the labels of a dataset."""
    names = {f"{label}_{split}.txt" for label in dataset.labels for split in PARTS}
    folder = dataset.root / FOLDER
    return tuple(sorted(path for path in folder.glob("*_*.txt") if path.name in names)) if folder.is_dir() else ()


def overlap_findings(dataset: Dataset, splits: Mapping[str, Rows]) -> list[Finding]:
    """Images in two parts that must not share any, and a trainval that is not train and val together."""
    findings = []
    whole = "trainval" in splits and not {"train", "val"} <= splits.keys()
    pairs = [("train", "val"), ("train", "test"), ("val", "test"), *([("trainval", "test")] if whole else [])]
    for one, other in pairs:
        shared = np.intersect1d(splits.get(one, _NONE), splits.get(other, _NONE))
        if len(shared):
            problem = f"{_stems(dataset, shared)} in {one} and in {other}: figures on {other} will be too good"
            hint = "run vocdet split --force for parts that share nothing"
            place = Place(split_path(dataset.root, other) or dataset.root)
            findings.append(Finding("imagesets.overlap", "warning", problem, place, hint))
    if {"trainval", "train", "val"} <= splits.keys():
        odd = np.setxor1d(splits["trainval"], np.concatenate([splits["train"], splits["val"]]))
        if len(odd):
            problem = f"trainval is not train and val together: they differ in {_stems(dataset, odd)}"
            place = Place(split_path(dataset.root, "trainval") or dataset.root)
            findings.append(Finding("imagesets.trainval", "warning", problem, place, "run vocdet split --force"))
    return findings


def bare_findings(
    dataset: Dataset, splits: Mapping[str, Rows], paths: Mapping[str, Path] = MappingProxyType({})
) -> list[Finding]:
    """Parts whose images show no object: nothing can be learned from them, or measured on them.

    `paths` are the split files of parts that are not in the dataset's own ImageSets.
    """
    findings = []
    for name, rows in splits.items():
        if len(rows) and not np.isin(dataset.objects.image, rows).any():
            problem = f"there is no object in the {counted(len(rows), 'image')} of {name}"
            place = Place(paths.get(name) or split_path(dataset.root, name) or dataset.root)
            hint = "annotate some of them, or run vocdet split --force"
            findings.append(Finding("imagesets.no_objects", "warning", problem, place, hint))
    return findings


def read_splits(scan: Scan) -> tuple[Splits, tuple[Finding, ...]]:
    """The parts of a dataset, and what is odd about its split files.

    They are what ImageSets says; without it, what the reader found, or what folders called train, valid and test say.
    """
    dataset = scan.dataset
    if dataset.splits and not divided(dataset.root):
        return dataset.splits, ()
    splits: dict[str, Rows] = {}
    findings: list[Finding] = []
    for name in part_names(dataset):
        try:
            splits[name], odd = split_rows(dataset, name, scan.left_out)
        except SplitError as error:
            odd = (_unreadable(error, dataset.root),)
        findings += odd
    for path in fold_files(dataset.root):
        if path.stem in splits or FOLD.fullmatch(path.stem)[1] in dataset.labels:  # type: ignore[index]
            continue
        try:
            splits[path.stem], in_file = resolve(dataset, path, scan.left_out)
        except SplitError as error:
            in_file = (_unreadable(error, path),)
        findings += _fold_warnings(in_file)
    return splits, tuple(findings)


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


def fold_files(root: Path) -> list[Path]:
    """The `fold<k>_train.txt` and `fold<k>_val.txt` there are, by number."""
    folder = root / FOLDER
    if not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
        return []
    paths = [path for path in folder.glob("fold*.txt") if FOLD.fullmatch(path.stem) and path.is_file()]
    return sorted(paths, key=lambda path: (int(path.stem.split("_")[0].removeprefix("fold")), path.stem))


def _stems(dataset: Dataset, rows: Rows) -> str:
    some = ", ".join(dataset.images.stems[row] for row in rows[:3])
    return f"{counted(len(rows), 'image')} ({some}{', ...' if len(rows) > 3 else ''})"


def write_splits(root: Path, texts: Mapping[str, str], *, force: bool = False) -> tuple[Path, ...]:
    """Write `<name>.txt` for every text, all or none; files that are there are an error unless `force`."""
    folder = root / FOLDER
    paths = tuple(folder / f"{name}.txt" for name in texts)
    if not folder.resolve().is_relative_to(root.resolve()):
        raise SplitError("is a link that leads out of the dataset", place=folder, hint="make it a folder")
    there = [path.name for path in paths if path.exists()]
    if there and not force:
        names = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
        raise SplitError(f"{names} would be overwritten", place=folder, hint="give --force to replace them")
    with ExitStack() as stack:  # every file is on the disk before the first takes its name
        for path, text in zip(paths, texts.values(), strict=True):
            file = stack.enter_context(writing(path))
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    return paths


def split_texts(dataset: Dataset, splits: Mapping[str, Rows]) -> dict[str, str]:
    """What the split files of these parts hold: a stem a line."""
    stems = dataset.images.stems
    bad = [stem for stem in stems if stem != stem.strip()]
    if bad:
        problem = f"begins or ends with a space, which a split file cannot hold: {bad[0]!r}"
        raise SplitError(problem, place=dataset.root, hint="rename the image and its XML")
    return {name: "".join(f"{stems[row]}\n" for row in rows) for name, rows in splits.items()}


def label_texts(dataset: Dataset, splits: Mapping[str, Rows]) -> dict[str, str]:
    """What VOC's `<label>_<part>.txt` hold: every stem of the part with 1, -1, or 0 for difficult objects alone."""
    bad = [label for label in dataset.labels if re.search(r"[/\\\0]", label) or len(label.encode()) > _LONGEST_NAME]
    if bad:
        problem = f"cannot be part of a file name: {', '.join(repr(label[:40]) for label in bad)}"
        raise SplitError(problem, place=dataset.root, hint="rename the label, or leave out --per-label")
    objects = dataset.objects
    value = np.full((len(dataset), len(dataset.labels)), -1)
    value[objects.image, objects.label] = 0
    clear = ~objects.difficult
    value[objects.image[clear], objects.label[clear]] = 1
    return {
        f"{label}_{name}": "".join(f"{dataset.images.stems[row]} {value[row, i]:2d}\n" for row in rows)
        for i, label in enumerate(dataset.labels)
        for name, rows in splits.items()
    }


def meanings(text: str) -> Iterator[str]:
    """What a line may mean, most literal first: stems may hold spaces and dots, and end in ' 1'."""
    without_column = re.sub(r"\s+(-1|0|1)$", "", text)
    for stem in dict.fromkeys((text, without_column)):
        yield stem
        name = PurePosixPath(stem.replace("\\", "/")).name
        yield name
        if PurePosixPath(name).suffix.lower() in _FILE_SUFFIXES:
            yield PurePosixPath(name).stem


def composed(text: str) -> str:
    """Accents as one character: macOS writes file names with two, what is typed has one."""
    return unicodedata.normalize("NFC", text)


def _hint(text: str, row_of: dict[str, int]) -> str:
    stem = re.sub(r"\s+(-1|0|1)$", "", text)
    without_images = stem.lstrip("0")
    for other in row_of:
        if other.lstrip("0") == without_images:
            return f"did you mean {other!r}? leading zeros were lost or added"
    # of numbered images another number is another image, not the same one misspelt
    numbers = [re.findall(r"\d+", given) for given in (text, stem)]
    close = nearest(stem, (other for other in row_of if re.findall(r"\d+", other) in numbers))
    return f"did you mean {close!r}?" if close else ""


def _folder_splits(dataset: Dataset) -> list[str]:
    """The part of every image by the folder it is in; "" for none."""
    return [_FOLDER_PARTS.get(file.split("/")[0].lower(), "") if "/" in file else "" for file in dataset.images.files]
