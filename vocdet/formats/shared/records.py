"""Annotation files that list many images by name: what the readers of CVAT, VIA and CSV share."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from vocdet.data import image_files
from vocdet.data.findings import Finding, Notes, Severity
from vocdet.data.image_files import IMAGE_SUFFIXES
from vocdet.data.rotated import Box, note_rotated
from vocdet.data.source_terms import SourceTerms
from vocdet.errors import Place
from vocdet.formats.images.facts import Size
from vocdet.formats.images.lookup import (
    IMAGE_FOLDERS,
    ImageIndex,
    ImageSize,
    image_size,
    safe_relative,
    split_suffix,
    splits_by_folder,
    stem_of,
)
from vocdet.formats.scan import FormatName, Progress, Scan, uncollected
from vocdet.formats.shared.builder import DatasetBuilder
from vocdet.formats.shared.json_file import encoded
from vocdet.formats.shared.label_lists import own_labels
from vocdet.formats.shared.settled import settled
from vocdet.wording import counted, listed

_DEEPEST = 20  # folders of a name that are compared
_WORD = re.compile(r"[a-z]+")


@dataclass(slots=True)
class Item:
    """An object."""

    label: str
    box: Box
    line: int = 0  # in its file, or its number in its list, from 1
    segmentation: bytes = b""
    flags: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    rotated: bool = False


@dataclass(slots=True)
class Record:
    """What an annotation file says of one image."""

    name: str  # as written
    source: str  # the file, from the root
    line: int = 0
    size: Size | None = None  # as stated
    split: str = ""
    folder: str = ""  # where else the name may begin: the subset
    shapes: list[Any] = field(default_factory=list)  # before they are checked
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Labels:
    """The lists of labels that a reader knows: the user's is the whole truth, labels may be missing from the other."""

    given: tuple[str, ...] | None
    declared: Sequence[str] = ()
    source: str = ""  # the file of those declared, if it is a list of labels and nothing else


ReadItems: TypeAlias = "Callable[[Record, Size, Notes], Iterable[Item]]"


@dataclass(slots=True)
class RecordReader:
    """Makes a dataset of records: finds their images and checks their shapes with `read_items`."""

    format: FormatName
    terms: SourceTerms
    index: ImageIndex
    notes: Notes
    read_items: ReadItems
    entries: str = ""  # of the dataset
    builder: DatasetBuilder = field(init=False)
    claimed: dict[str, Record] = field(default_factory=dict)  # by image
    splits: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # images
    renamed: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))  # by how they were found
    rotated: int = 0

    image_folders: list[str] = field(init=False)  # at the top of the dataset

    def __post_init__(self) -> None:
        self.builder = DatasetBuilder(self.index.root)
        tops = {file.split("/")[0] for file in self.index.files if "/" in file}
        self.image_folders = [folder for folder in sorted(tops) if folder.lower() in IMAGE_FOLDERS]

    def scan(self, records: Sequence[Record], kind: str, labels: Labels, progress: Progress | None) -> Scan:
        """The dataset of all records, in their order."""
        with uncollected(), image_files.quiet_decoder():
            for done, record in enumerate(records, 1):
                self._read(record)
                if progress is not None:
                    progress(done, len(records))
        self._note_renamed()
        note_rotated(self.rotated, self.index.root, self.notes)
        unannotated = self._unannotated()
        names, label_source = self._labels(labels)
        dataset = self.builder.build(names, self.notes.findings, entries=self.entries)
        row_of = {file: row for row, file in enumerate(dataset.images.files)}
        splits = self.splits or splits_by_folder(dataset.images.files)
        rows = {name: np.array([row_of[file] for file in files if file in row_of]) for name, files in splits.items()}
        dataset = replace(dataset, splits={name: found.astype(np.int64) for name, found in rows.items()})
        left_out = unannotated | {stem_of(file): "" for file in self.claimed if file not in row_of}
        scan = Scan(dataset, tuple(self.notes.findings), left_out=left_out, format=self.format, kind=kind)
        return settled(replace(scan, label_source=label_source), self.builder.facts)

    def _labels(self, labels: Labels) -> tuple[tuple[str, ...], str]:
        """The labels of the dataset, and the file in its folder that lists them."""
        if labels.given is not None:
            return labels.given, ""
        if labels.declared:
            return tuple(dict.fromkeys([*labels.declared, *sorted(self.builder.label_ids)])), labels.source
        return own_labels(self.index.root, self.builder.label_ids, self.notes)

    def note(self, record: Record, code: str, severity: Severity, problem: str, hint: str) -> None:
        """Note a problem of one image."""
        self.notes.add(code, severity, problem, self.index.root / record.source, hint, line=record.line)

    def _read(self, record: Record) -> None:
        file = self._image_of(record)
        if not file:
            return
        if file in self.claimed:
            first = self.claimed[file]
            if record.source != first.source and record.shapes == first.shapes:
                if record.split:
                    self.splits[record.split].append(file)
                return
            problem = f"{record.name[:80]!r} is the image {file}, which is also in {_place_text(first)}"
            self.note(record, "image.repeated", "error", problem, "keep one of the two, or correct its name")
            return
        self.claimed[file] = record
        size = self._size(file, record)
        if size is None:
            return
        if record.split:
            self.splits[record.split].append(file)
        builder = self.builder
        row = builder.add_image(file, record.source, size, extra=encoded(record.extra))
        for item in self.read_items(record, size[:2], self.notes):
            builder.segmentations.add(len(builder.image), item.segmentation)
            builder.extras.add(len(builder.image), encoded(item.extra))
            self.rotated += item.rotated
            builder.add_objects([row], [builder.label_id(item.label)], item.box, [item.line], flags=[item.flags])

    def _image_of(self, record: Record) -> str:
        """The image of a record: at its path, else by the longest end of its path that only one image has, else by
        its stem; "" with a finding if there is none.
        """
        name = safe_relative(record.name)
        if not name.path and not name.last:
            self.note(record, name.code, "error", f"{record.name[:80]!r} names no image", "write the name of its image")
            return ""
        if not self.index.files:
            path = name.path or name.last
            return path if split_suffix(path)[1] in IMAGE_SUFFIXES else f"{path}.jpg"
        if name.path:
            found = next(filter(None, map(self.index.exact, self._places(record, name.path))), "")
            if found:
                return found
        candidates = self._by_end(record)
        if len(candidates) == 1:
            return candidates[0]
        shown = repr(record.name[:80])
        if candidates:
            problem = f"{shown} may be {listed(candidates, most=3, conjunction='or')}"
            self.note(record, "image.ambiguous", "error", problem, "write the path of the image from the dataset")
        else:
            hint = f"restore the image, or delete its {self.terms.file}"
            self.note(record, "image.missing", "error", f"its image is missing: {shown} is not in the dataset", hint)
        return ""

    def _places(self, record: Record, path: str) -> list[str]:
        here = record.source.rpartition("/")[0]
        below = [record.folder, ""] if record.folder else [""]
        return [
            "/".join(filter(None, (start, inner, path)))
            for start in dict.fromkeys([here, "", *self.image_folders])
            for inner in below
        ]

    def _by_end(self, record: Record) -> list[str]:
        parts = [part for part in record.name.strip().replace("\\", "/").split("/") if part not in ("", ".")]
        parts = parts[max((i for i, part in enumerate(parts) if part == ".."), default=-1) + 1 :][-_DEEPEST:]
        ends = ["/".join(parts[i:]) for i in range(len(parts))]
        for end in [*([f"{record.folder}/{parts[-1]}"] if record.folder and parts else []), *ends]:
            found = self.index.ending_in(end)
            if found:
                if end != record.name:
                    self.renamed["the end of their paths"].append(record)
                return found
        found = self.index.by_stem(stem_of(parts[-1])) if parts else []
        if len(found) == 1:
            self.renamed["their stems"].append(record)
        return found

    def _note_renamed(self) -> None:
        for how, records in self.renamed.items():
            problem = f"{counted(len(records), 'image')}, such as {records[0].name[:80]!r}, found by {how}"
            place = Place(self.index.root / records[0].source, records[0].line)
            hint = "check that these are the right images"
            self.notes.findings.append(Finding("image.renamed", "warning", problem, place, hint, len(records)))

    def _size(self, file: str, record: Record) -> Size | ImageSize | None:
        if self.index.files:
            path, source = f"{self.index.root}/{file}", self.index.root / record.source
            return image_size(path, record.size, self.notes.findings, terms=self.terms, source=source)
        if record.size is None:
            self.note(record, "image.size", "error", "has no image, and states no size", "add the images")
        return record.size

    def _unannotated(self) -> dict[str, str]:
        """Why images without a record are not in the dataset, by stem; each is a finding."""
        images = [file for file in self.index.files if file not in self.claimed]
        hint = f"annotate it, or list it without {self.terms.object}s if there is nothing to annotate"
        for file in images:
            path = self.index.root / file
            self.notes.add("image.unannotated", "warning", "has no annotation: it is not used", path, hint)
        return dict.fromkeys(map(stem_of, images), "whose image has no annotation")


def split_named(text: str) -> str:
    """The split that a word of a file name or a cell names, as in train_labels.csv or Validation; "" for none."""
    found = (splits_by_folder([f"{word}/"]) for word in _WORD.findall(text.lower()))
    return next((split for splits in found for split in splits), "trainval" if "trainval" in text.lower() else "")


def _place_text(record: Record) -> str:
    return f"line {record.line} of {record.source}" if record.line else record.source
