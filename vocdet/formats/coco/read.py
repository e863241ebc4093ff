"""COCO files as a `Dataset`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, Notes
from vocdet.data.source_terms import COCO
from vocdet.errors import AnnotationError, Place, VocdetError
from vocdet.formats.coco.image_findings import (
    ambiguous_ids,
    note_ambiguous,
    note_doubtful,
    note_elsewhere,
    note_missing,
    note_name,
    note_unlisted,
)
from vocdet.formats.coco.image_names import FoundImages, find_named
from vocdet.formats.coco.labels import add_labels, without_root
from vocdet.formats.coco.layout import CocoFile, find_layout, image_prefix
from vocdet.formats.coco.objects import CocoContent, add_objects
from vocdet.formats.coco.parse import read_entries
from vocdet.formats.coco.types import CocoEntries, Image
from vocdet.formats.images.facts import MARKS
from vocdet.formats.images.folders import link_hint
from vocdet.formats.images.lookup import (
    BY_FOLDER,
    ImageIndex,
    ImageSize,
    Name,
    find_images,
    folder_splits,
    image_size,
    safe_relative,
    split_suffix,
)
from vocdet.formats.scan import Progress, Scan, Source, uncollected
from vocdet.formats.shared.builder import DatasetBuilder
from vocdet.formats.shared.extras import DATASET_EXTRAS, extra_of, in_order, pop_trainval
from vocdet.formats.shared.settled import settled
from vocdet.formats.shared.values import read_labels
from vocdet.wording import counted

_PLAIN = re.compile(r"[\w\- ()]+\.[A-Za-z]+", re.ASCII)  # a name without folders, which needs no check
_NO_ROWS = np.empty(0, np.int64)


def scan(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Scan:
    """Read what is readable of a COCO file, or of the COCO files of a folder.

    Images and labels keep the order of the files; a label list gives another order of labels. In a folder, the name of
    a file or of its folder says its split; a single file is a split only if it is called instances_train and the like.
    Sizes are those of the images; with `without_images` all images may be missing, and sizes are those in the files.
    An invalid entry is left out, with a finding. Raises only if a file is not a COCO file, or the label list cannot be
    read.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    layout = find_layout(source.path)
    index = find_images(layout.root)
    without_images = without_images and not index.files
    if not without_images and not index.files:
        hint = link_hint(index.findings, "use the folder that holds the annotations and the images")
        raise AnnotationError("no images found", place=layout.root, hint=hint)
    notes = Notes([*layout.findings, *index.findings])
    reading = _Reading(index, without_images, DatasetBuilder(layout.root), progress)
    with uncollected(), image_files.quiet_decoder():
        for file in layout.files:
            entries = _entries(file, notes, alone=len(layout.files) == 1)
            if entries is not None:
                reading.add(CocoContent(file, entries, notes))
        left_out = note_unlisted(index, reading.claimed, notes) if source.path.is_dir() else {}
        dataset = reading.dataset(label_list, notes)
    first, *others = layout.files
    kind = f"{counted(len(layout.files), 'COCO file')}" if others else f"COCO, {first.source}"
    kind += BY_FOLDER if reading.by_folder else ""
    return settled(
        Scan(dataset, tuple(notes.findings), left_out=left_out, format="coco", kind=kind), reading.builder.facts
    )


def _entries(file: CocoFile, notes: Notes, *, alone: bool) -> CocoEntries | None:
    """The entries of a file; None, with a finding, if it is no COCO file and there are others."""
    try:
        return read_entries(file.path, notes)
    except VocdetError as error:
        if alone:
            raise
        notes.findings.append(
            Finding("coco.file.broken", "error", error.problem, error.place or Place(file.path), error.hint)
        )
        return None


def file_names(path: Path) -> list[str]:
    """The names of the images in a COCO file, with forward slashes, without those that lead out of its folder."""
    names = (safe_relative(image.file_name).path for image in read_entries(path, Notes()).images)
    return [name for name in names if name]


@dataclass(slots=True)
class _Reading:
    """The dataset while its COCO files are read."""

    index: ImageIndex
    without_images: bool
    builder: DatasetBuilder
    progress: Progress | None
    row_of: dict[str, int] = field(default_factory=dict)  # image file -> row
    claimed: set[str] = field(default_factory=set)  # image files that entries name
    stems: set[str] = field(default_factory=set)
    files: list[CocoFile] = field(default_factory=list)
    split_rows: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    by_folder: bool = False  # the names of folders give some of the splits
    has_trainval: bool = False  # vocdet wrote the files from a dataset with a trainval split
    extra: dict[str, msgspec.Raw] = field(default_factory=dict)
    category_extras: dict[str, dict[str, msgspec.Raw]] = field(default_factory=dict)

    def add(self, content: CocoContent) -> None:
        """Add the entries of one file."""
        self.files.append(content.file)
        self._add_images(content)
        self.has_trainval |= pop_trainval(content.entries.extra)
        if content.file.split:
            rows = np.array(sorted(set(content.rows.values())), np.int64)
            self.split_rows.setdefault(content.file.split, []).append(rows)
        else:
            self._add_folder_splits(content)
        add_labels(content, self.builder, self.category_extras)
        add_objects(content, self.builder)
        self.extra = content.entries.extra | self.extra

    def dataset(self, label_list: tuple[str, ...] | None, notes: Notes) -> Dataset:
        """The dataset of all files."""
        labels = (
            without_root(self.builder, self.category_extras, self.files, notes) if label_list is None else label_list
        )
        extra = in_order(self.extra, DATASET_EXTRAS)
        if self.category_extras:
            extra["categories"] = msgspec.Raw(msgspec.json.encode(self.category_extras))
        as_json = msgspec.json.encode(extra) if extra else b""
        dataset = self.builder.build(labels, notes.findings, extra=as_json, entries="annotations")
        return replace(dataset, splits=self._splits())

    def _add_folder_splits(self, content: CocoContent) -> None:
        """Add the images of a file to the splits that their folders are named after, on disk or in the file."""
        row_of = content.rows
        images = [image for image in content.entries.images if image.id in row_of]
        for names in (
            [self.builder.files[row_of[image.id]] for image in images],
            [image.file_name.replace("\\", "/") for image in images],
        ):
            splits = folder_splits(names)
            for name in set(splits) - {""}:
                rows = {row_of[image.id] for image, split in zip(images, splits, strict=True) if split == name}
                self.split_rows.setdefault(name, []).append(np.array(sorted(rows), np.int64))
            if any(splits):
                self.by_folder = True
                return

    def _splits(self) -> dict[str, NDArray[np.int64]]:
        """The rows of every split; trainval is train and val together, if the files say that there was one."""
        only = self.files[0] if len(self.files) == 1 else None
        if only is not None and only.split and not only.path.name.startswith("instances_"):
            return {}
        splits = {name: np.unique(np.concatenate(rows)) for name, rows in self.split_rows.items()}
        if self.has_trainval and "trainval" not in splits:
            both = np.concatenate([splits.get(name, _NO_ROWS) for name in ("train", "val")])
            stems = self.builder.stems
            rows = sorted(both.tolist(), key=lambda row: f"{stems[row]}.xml")  # the order of VOC's files
            splits = {"trainval": np.array(rows, np.int64)} | splits
        return splits

    def _add_images(self, content: CocoContent) -> None:
        names = [_name_of(image.file_name) for image in content.entries.images]
        known = [name.path or name.last for name in names]
        if self.without_images:
            found = FoundImages(known)
        else:
            found = find_named(names, image_prefix(content.file, known, self.index), self.index, content.file.folder)
        self.claimed.update(found.files, *found.ambiguous.values())
        if found.elsewhere:
            note_elsewhere(content, found)
        if found.doubtful:
            note_doubtful(content, found)
        ambiguous = ambiguous_ids(content, [file or name for file, name in zip(found.files, known, strict=True)])
        for i, name in enumerate(names):
            if content.entries.images[i].id in ambiguous:
                note_ambiguous(content, i)
            else:
                self._add_image(content, i, name, found)

    def _add_image(self, content: CocoContent, i: int, name: Name, found: FoundImages) -> None:
        image, inside = content.entries.images[i], content.entries.place("images", i)
        wanted, file = name.path or name.last, found.files[i]
        if name.code or "\\" in image.file_name:
            note_name(content, image.file_name, name, inside)
        if not file:
            if wanted:
                note_missing(content, wanted, found.ambiguous.get(i, []), inside)
            return
        if image.id in content.rows:
            problem = f"the id {content.entries.id_text(image.id)} is used twice"
            content.error("coco.image.id", problem, "give it a unique id", inside)
            return
        if file in self.row_of:
            content.rows[image.id] = self.row_of[file]
            self._note_repeated(content, image, wanted, inside)
            return
        extra, mark = _without_mark(content.entries.image_extras.get(i, b""))
        size = self._size(content, file, image, inside, mark)
        if size is None:
            return
        content.rows[image.id] = self.row_of[file] = len(self.builder.files)
        named = file.rpartition("/")[2] if i in found.elsewhere else wanted
        self.builder.add_image(file, content.file.source, size, stem=self._new_stem(named, file), extra=extra)
        if self.progress is not None:
            self.progress(i + 1, len(content.entries.images))

    def _note_repeated(self, content: CocoContent, image: Image, wanted: str, inside: str) -> None:
        """Note that an earlier entry has the same image; its objects are those of the first file that lists it."""
        source = self.builder.sources[content.rows[image.id]]
        if source == content.file.source:
            problem = f"{wanted[:80]!r} is also in an earlier entry: the objects of both are read"
            hint = "keep one entry, and give its id to all annotations of the image"
        else:
            content.in_other_files.add(image.id)
            problem = f"{wanted[:80]!r} is also in {source}: its objects are read only from there"
            hint = "an image belongs to one file, and to one split"
        content.error("coco.image.twice", problem, hint, inside)

    def _size(
        self, content: CocoContent, file: str, image: Image, inside: str, mark: str
    ) -> tuple[int, int] | ImageSize | None:
        """Width and height of an image; None, with a finding, if they are unknown."""
        width, height = image.width, image.height
        stated = (width, height) if width is not None and height is not None and min(width, height) > 0 else None
        if not self.without_images:
            path, findings, source = f"{self.builder.root}/{file}", content.notes.findings, content.file.path
            size = image_size(path, (width, height), findings, terms=COCO, source=source, inside=inside, mark=mark)
            return stated if size is None else size
        if stated is None:
            problem = f"has the width {width} and the height {height}"
            content.error("coco.image.size", problem, "state the size of the image", inside)
        return stated

    def _new_stem(self, wanted: str, file: str) -> str:
        """A stem that no image has yet: that of the name in the COCO file, or else of the path."""
        stem = split_suffix(wanted)[0]
        if stem in self.stems:
            others = chain((split_suffix(file)[0], file), (f"{stem}_{i}" for i in count(2)))
            stem = next(other for other in others if other not in self.stems)
        self.stems.add(stem)
        return stem


def _without_mark(extra: bytes) -> tuple[bytes, str]:
    """The extra of an image without vocdet's own `exif`, and that."""
    if b'"exif"' not in extra:
        return extra, ""
    keys = extra_of(extra)
    mark = next((mark for mark in MARKS if keys.get("exif") == msgspec.json.encode(mark)), "")
    if not mark:
        return extra, ""
    del keys["exif"]
    return msgspec.json.encode(keys) if keys else b"", mark


def _name_of(text: str) -> Name:
    return Name(text, text) if _PLAIN.fullmatch(text) else safe_relative(text)
