"""COCO JSON as a `Dataset`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.source_terms import COCO
from vocdet.data.texts import Texts
from vocdet.errors import AnnotationError
from vocdet.formats.builder import CROWD, DIFFICULT, MOST_POSES, OCCLUDED, TRUNCATED, DatasetBuilder
from vocdet.formats.coco.layout import CocoFile, find_layout, image_prefix
from vocdet.formats.coco.parse import read_entries
from vocdet.formats.coco.types import Annotation, Entries
from vocdet.formats.extras import DATASET_EXTRAS, in_order, pop_trainval
from vocdet.formats.images import ImageIndex, Name, find_images, image_size, safe_relative, split_suffix
from vocdet.formats.scan import Notes, Progress, Scan, uncollected
from vocdet.formats.source import Source
from vocdet.formats.values import clean_label, read_labels, snapped
from vocdet.wording import counted

_REFUSED = {
    "path.absolute": "is absolute",
    "path.traversal": "climbs out of the dataset",
    "path.name": "has a control character in it",
    "path.empty": "is empty",
}


def scan(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Scan:
    """Read what can be read of a COCO file, or of the COCO files of a folder.

    Images are in the order of the files, and so are labels, unless a list file gives theirs. Of the files in a folder
    each whose name or folder says train, val or test is that part; one that is alone only if it is called
    instances_train and the like. Sizes are those of the images; with `without_images` all may be missing; they are
    what the file says. What is wrong with an entry is a finding, and the entry left out; only a file that is no COCO
    file, or a list file that cannot be read, raises.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    layout = find_layout(source.path)
    root, files = layout.root, layout.files
    index = find_images(root)
    without_images = without_images and not index.files
    if not without_images and not index.files:
        hint = "give the folder that holds the annotations and the images"
        raise AnnotationError("no images found", place=root, hint=hint)
    notes = Notes([*layout.findings, *index.findings])
    reading = _Reading(index, without_images, DatasetBuilder(root), notes, progress)
    with uncollected(), image_files.quiet_decoder():
        for file in files:
            reading.add(file, read_entries(file.path, notes))
        dataset = reading.dataset(label_list)
    kind = f"COCO, {files[0].source}" if len(files) == 1 else f"{counted(len(files), 'COCO file')}"
    dataset = replace(dataset, splits=reading.all_splits())
    return Scan(dataset, tuple(notes.findings), format="coco", kind=kind)


def file_names(path: Path) -> list[str]:
    """The names of the images a COCO file lists, with forward slashes; those that lead out of its folder left out."""
    names = (safe_relative(image.file_name).path for image in read_entries(path, Notes()).images)
    return [name for name in names if name]


@dataclass(slots=True)
class _Reading:
    """The COCO files of a dataset while they are read."""

    index: ImageIndex
    without_images: bool
    builder: DatasetBuilder
    notes: Notes
    progress: Progress | None
    row_of: dict[str, int] = field(default_factory=dict)  # file -> row
    taken: set[str] = field(default_factory=set)  # stems
    splits: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    files_read: int = 0
    alone: bool = False  # whether a single file may be a split
    trainval: bool = False  # whether a file says that there was one
    extra: dict[str, msgspec.Raw] = field(default_factory=dict)
    categories: dict[str, dict[str, msgspec.Raw]] = field(default_factory=dict)

    def add(self, file: CocoFile, entries: Entries) -> None:
        """Add what one file lists."""
        rows, fresh = self._add_images(file, entries)
        self.files_read += 1
        self.trainval |= pop_trainval(entries.extra)
        if file.split:
            self.splits.setdefault(file.split, []).append(np.array(sorted(set(rows.values())), np.int64))
            self.alone = file.path.name.startswith("instances_")
        labels = self._add_labels(file, entries)
        _add_objects(file, entries, (rows, fresh, labels), self.builder, self.notes)
        self.extra |= {key: raw for key, raw in entries.extra.items() if key not in self.extra}

    def all_splits(self) -> dict[str, NDArray[np.int64]]:
        """The rows of every split; trainval is train and val together, where vocdet has written that there is one."""
        if not (self.files_read > 1 or self.alone):
            return {}
        splits = {name: np.unique(np.concatenate(rows)) for name, rows in self.splits.items()}
        if self.trainval and "trainval" not in splits:
            some = [splits.get(name, _NO_ROWS) for name in ("train", "val")]
            stems = self.builder.stems
            rows = sorted(np.concatenate(some).tolist(), key=lambda row: f"{stems[row]}.xml")  # as VOC lists them
            splits = {"trainval": np.array(rows, np.int64)} | splits
        return splits

    def _add_images(self, file: CocoFile, entries: Entries) -> tuple[dict[int, int], set[int]]:
        """Row by image id; and the ids of images that no file before had."""
        names = [_name_of(image.file_name) for image in entries.images]
        prefix = (
            "" if self.without_images else image_prefix(file, [name.path or name.last for name in names], self.index)
        )
        rows: dict[int, int] = {}
        fresh: set[int] = set()
        for i, (image, name) in enumerate(zip(entries.images, names, strict=True)):
            inside = entries.place("images", i)
            wanted = name.path or name.last
            if name.code or "\\" in image.file_name:
                _note_name(image.file_name, name, file, inside, self.notes)
            found = self._file_of(wanted, prefix, name.path == "")
            if not found:
                if wanted:
                    problem = f"its image is missing: {wanted[:80]!r}"
                    hint = "put the image back, or delete the entry and its annotations"
                    self.notes.add("image.missing", "error", problem, file.path, hint, inside=inside)
                continue
            if image.id in rows:
                hint = "give it an id of its own"
                self.notes.add(
                    "coco.image.id", "error", f"the id {image.id} is used twice", file.path, hint, inside=inside
                )
                continue
            if found in self.row_of:
                rows[image.id] = self.row_of[found]
                before = self.builder.sources[self.row_of[found]]
                if before == file.source:
                    fresh.add(image.id)
                    problem = f"{wanted[:80]!r} is listed before in this file: the objects of both are read"
                    hint = "give it one id, and its annotations that"
                else:
                    problem = f"{wanted[:80]!r} is listed before, in {before}: its objects are read there alone"
                    hint = "an image belongs to one file, and to one part"
                self.notes.add("coco.image.twice", "error", problem, file.path, hint, inside=inside)
                continue
            size = self._size(found, (image.width, image.height), file, inside)
            if size is None:
                continue
            rows[image.id] = self.row_of[found] = len(self.builder.files)
            fresh.add(image.id)
            self._add_image(found, wanted, file, size, entries.image_extras.get(i, b""))
            if self.progress is not None:
                self.progress(i + 1, len(names))
        return rows, fresh

    def _file_of(self, wanted: str, prefix: str, last_only: bool) -> str:
        """The image of this name, from the root; "" where there is none, or nobody can say which."""
        if self.without_images or not wanted:
            return wanted
        found = None if last_only else self.index.exact(prefix + wanted)
        if found is None:
            several = self.index.ending_in(wanted)
            found = several[0] if len(several) == 1 else ""
        return found

    def _size(
        self, found: str, stated: tuple[int | None, int | None], file: CocoFile, inside: str
    ) -> tuple[int, int] | None:
        width, height = stated
        sound = (width, height) if width is not None and height is not None and min(width, height) > 0 else None
        if not self.without_images:
            path = f"{self.builder.root}/{found}"
            size = image_size(path, stated, self.notes.findings, terms=COCO, source=file.path, inside=inside)
            return sound if size is None else size[:2]
        if sound is None:
            problem = f"is {width} by {height} pixels, which is no size"
            self.notes.add("coco.image.size", "error", problem, file.path, "write width and height", inside=inside)
        return sound

    def _add_image(self, found: str, wanted: str, file: CocoFile, size: tuple[int, int], extra: bytes) -> None:
        stem = split_suffix(wanted)[0]
        if stem in self.taken:
            others = chain((split_suffix(found)[0], found), (f"{stem}_{i}" for i in range(2, 1 << 30)))
            stem = next(one for one in others if one not in self.taken)
        self.taken.add(stem)
        self.builder.add_image(found, file.source, size, stem=stem, extra=extra)

    def _add_labels(self, file: CocoFile, entries: Entries) -> dict[int, int]:
        """Label by category id."""
        labels: dict[int, int] = {}
        names: dict[str, str] = {}  # -> where the first of the name is
        for i, category in enumerate(entries.categories):
            inside = entries.place("categories", i)
            name = clean_label(category.name)
            if not name:
                self.notes.add("coco.category.name", "error", "has no name", file.path, "name it", inside=inside)
                continue
            if name != category.name:
                problem = f"the name {category.name!r} has space around or inside it"
                self.notes.add("label.whitespace", "warning", problem, file.path, "read without it", inside=inside)
            if category.id in labels:
                problem = f"the id {category.id} is used twice"
                self.notes.add(
                    "coco.category.id", "error", problem, file.path, "give it an id of its own", inside=inside
                )
                continue
            if name in names:
                problem = f"{name!r} is the name of {names[name]}, too: read as the same label"
                hint = "delete one of the two, or rename it if it means something else"
                self.notes.add("coco.category.duplicate_name", "warning", problem, file.path, hint, inside=inside)
            names.setdefault(name, inside)
            labels[category.id] = self.builder.label_id(name)
            if i in entries.category_extras:
                self.categories.setdefault(name, entries.category_extras[i])
        return labels

    def dataset(self, label_list: tuple[str, ...] | None) -> Dataset:
        """The dataset of all files."""
        labels = tuple(self.builder.label_ids) if label_list is None else label_list
        extra = in_order(self.extra, DATASET_EXTRAS)
        if self.categories:
            extra["categories"] = msgspec.Raw(msgspec.json.encode(self.categories))
        as_json = msgspec.json.encode(extra) if extra else b""
        return self.builder.build(labels, self.notes.findings, extra=as_json, entries="annotations")


def _name_of(text: str) -> Name:
    return Name(text, text) if _PLAIN.fullmatch(text) else safe_relative(text)


_PLAIN = re.compile(r"[\w\- ()]+\.[A-Za-z]+", re.ASCII)  # no folder, and nothing to refuse


def _note_name(text: str, name: Name, file: CocoFile, inside: str, notes: Notes) -> None:
    problem = f"file_name {text[:80]!r} {_REFUSED.get(name.code, '')}"
    if name.code and not name.last:
        notes.add(name.code, "error", problem, file.path, "write the name of its image", inside=inside)
    elif name.code:
        hint = "only its last part is used, and only inside the dataset"
        notes.add(name.code, "warning", problem, file.path, hint, inside=inside)
    else:
        hint = "write it with forward slashes: other systems take the backslash for a part of the name"
        problem = f"file_name {text[:80]!r} is written as Windows writes paths"
        notes.add("path.backslash", "warning", problem, file.path, hint, inside=inside)


def _add_objects(
    file: CocoFile,
    entries: Entries,
    known: tuple[dict[int, int], set[int], dict[int, int]],
    builder: DatasetBuilder,
    notes: Notes,
) -> None:
    """Add the objects of a file; those that cannot be used are left out and noted.

    `known` are the rows by image id, the ids of images this file brings, and the labels by category id.
    """
    image_rows, fresh, labels = known
    annotations = entries.annotations
    n = len(annotations)
    image_ids, category_ids = (np.fromiter(entries.column(name), np.int64, n) for name in _IDS)
    image, label = _looked_up(image_ids, image_rows), _looked_up(category_ids, labels)
    box, size = _boxes(file, entries, notes)
    before = [one for one in image_rows if one not in fresh]  # listed by another file, and read there
    elsewhere = np.isin(image_ids, before) if before else np.zeros(n, np.bool_)
    far = ~(np.abs(box) <= masks.FURTHEST).all(axis=1)
    bad = (image < 0) | (label < 0) | far | (box[:, :2] > box[:, 2:]).any(axis=1)
    missing = {one.id for one in entries.images} - image_rows.keys()
    for i in np.flatnonzero(bad & ~elsewhere).tolist():
        if not (image[i] < 0 and annotations[i].image_id in missing):  # its image was noted
            unknown = bool(image[i] < 0), bool(label[i] < 0)
            _note_object(annotations[i], size[i], unknown, entries.place("annotations", i), file, notes)
    _note_ids(entries, file, notes)
    rows = np.flatnonzero(~(bad | elsewhere))
    rows = rows[np.argsort(image[rows], kind="stable")]
    first = len(builder.image)
    lines = np.array(entries.places.get("annotations", range(n)), np.int64) + 1
    pose = _poses(file, entries, builder.pose_ids, notes)
    areas = np.array(entries.column("area"), np.float64)  # None becomes NaN
    columns: list[NDArray[Any]] = [image, label, box, lines, _flags(entries), pose, areas]
    segmentations, extras = _segmentations(entries), Texts.sparse(n, entries.annotation_extras)
    if len(rows) < n or (rows[1:] < rows[:-1]).any():
        columns = [column[rows] for column in columns]
        segmentations, extras = segmentations.take(rows), extras.take(rows)
    *of_objects, flags, pose, areas = columns
    builder.add_objects(*of_objects, flags=flags, pose=pose)
    builder.area.frombytes(areas.tobytes())
    builder.segmentations.extend(first, segmentations)
    builder.extras.extend(first, extras)


def _boxes(file: CocoFile, entries: Entries, notes: Notes) -> tuple[Boxes, Boxes]:
    """Corners (M, 4), and width and height (M, 2) as the file has them.

    The corners are those of `box` where it is the key that vocdet writes: they are bbox but for its rounding.
    """
    numbers = np.fromiter(chain.from_iterable(entries.column("bbox")), np.float64, 4 * len(entries.annotations))
    box = numbers.reshape(-1, 4)
    size = box[:, 2:].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        box[:, 2:] = snapped(box[:, :2] + size)
    for i, exact in _said(entries.column("box")):
        if np.abs(exact - box[i]).max() <= 1e-6 * max(1.0, np.abs(box[i]).max()):
            box[i] = exact
        else:
            problem = f"is {list(exact)}, not the corners of bbox {list(entries.annotations[i].bbox)}: not used"
            inside = f"{entries.place('annotations', i)}.box"
            notes.add("coco.box", "warning", problem, file.path, "delete it: bbox says it all", inside=inside)
    return box, size


def _said(column: list[Any]) -> list[tuple[int, Any]]:
    """Row and value where there is one."""
    if column.count(None) == len(column):
        return []
    return [(i, value) for i, value in enumerate(column) if value]


_NO_ROWS = np.empty(0, np.int64)
_IDS = ("image_id", "category_id")
_FLAGS = {"iscrowd": CROWD, "difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED}


def _looked_up(ids: NDArray[np.int64], table: dict[int, int]) -> NDArray[np.int64]:
    """(M,) the value of every id; −1 where there is none."""
    if not table:
        return np.full(len(ids), -1)
    keys = np.array(sorted(table), np.int64)
    values = np.array([table[key] for key in keys.tolist()], np.int64)
    place = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)
    return np.where(keys[place] == ids, values[place], -1)


def _segmentations(entries: Entries) -> Texts:
    """What is neither missing nor empty, as it stands in the file."""
    raws = entries.column("segmentation")
    lengths = np.fromiter(map(len, raws), np.int64, len(raws))
    empty = [i for i in np.flatnonzero(lengths <= 32).tolist() if bytes(raws[i]).strip(b" \t\r\n[]") in _EMPTY]
    whole = Texts(len(raws), np.flatnonzero(lengths), np.cumsum(lengths)[lengths > 0],
                  np.frombuffer(entries.segmentations(), np.uint8))  # fmt: skip
    if not any(lengths[i] for i in empty):
        return whole
    return Texts.sparse(len(raws), {i: text for i, text in whole.items() if i not in frozenset(empty)})


_EMPTY = (b"", b"null", b"{}")


def _flags(entries: Entries) -> NDArray[np.int8]:
    """(M,) the flags of every object, as bits."""
    flags = np.zeros(len(entries.annotations), np.int8)
    for name, bit in _FLAGS.items():
        values = entries.column(name)
        if values.count(None) + values.count(0) < len(values):
            flags |= bit * np.array([bool(value) for value in values], np.int8)
    return flags


def _poses(file: CocoFile, entries: Entries, poses: dict[str, int], notes: Notes) -> NDArray[np.int16]:
    """(M,) the number of every pose in `poses`, to which new ones are added as long as there are numbers."""
    column = np.zeros(len(entries.annotations), np.int16)
    for i, text in _said(entries.column("pose")):
        name = "" if text.strip() == "Unspecified" else text.strip()
        if name not in poses and len(poses) > MOST_POSES:
            problem = f"is one more after {MOST_POSES} different ones: not used, nor are others that are new"
            hint = "is it a number of its own for every object? call the key otherwise"
            inside = f"{entries.place('annotations', i)}.pose"
            notes.add("coco.pose", "error", problem, file.path, hint, inside=inside)
            break
        column[i] = poses.setdefault(name, len(poses))
    return column


def _note_object(
    one: Annotation, size: Boxes, unknown: tuple[bool, bool], inside: str, file: CocoFile, notes: Notes
) -> None:
    hint = "correct it, or delete the annotation"
    if unknown[0]:
        problem = f"its image_id is {one.image_id}, which no image has"
        notes.add("coco.annotation.unknown_image", "error", problem, file.path, hint, inside=inside)
    elif unknown[1]:
        problem = f"its category_id is {one.category_id}, which no category has"
        notes.add("coco.annotation.unknown_category", "error", problem, file.path, hint, inside=inside)
    elif (size < 0).any():
        problem = f"has the width {size[0]:g} and the height {size[1]:g}"
        notes.add("coco.bbox.negative", "error", problem, file.path, hint, inside=f"{inside}.bbox")
    else:
        problem = f"is {list(one.bbox)}, further than {masks.FURTHEST:.0g} pixels out"
        notes.add("coco.bbox.far", "error", problem, file.path, hint, inside=f"{inside}.bbox")


def _note_ids(entries: Entries, file: CocoFile, notes: Notes) -> None:
    """Ids that two annotations have. Nothing is lost by them here: other readers keep only the last."""
    ids = np.fromiter(entries.column("id"), np.int64, len(entries.annotations))
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    for first, second in zip(order[same].tolist(), order[same + 1].tolist(), strict=True):
        if ids[first] != -1:  # which stands for those without an id of their own
            problem = f"has the id {ids[first]} of {entries.place('annotations', first)}"
            hint = "number them anew, as vocdet convert --to coco does"
            inside = entries.place("annotations", second)
            notes.add("coco.annotation.id", "warning", problem, file.path, hint, inside=inside)
