"""COCO JSON as a `Dataset`."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding
from vocdet.data.texts import Texts
from vocdet.errors import AnnotationError, ImageError, Place
from vocdet.formats.coco.layout import CocoFile, find_coco, image_prefix
from vocdet.formats.coco.parse import read_entries
from vocdet.formats.coco.types import Annotation, Entries
from vocdet.formats.extras import KEPT_OF_WHOLE, in_order, pop_trainval
from vocdet.formats.image_index import ImageIndex, Name, find_images, safe_relative, split_suffix
from vocdet.formats.labels import clean_label, read_labels
from vocdet.formats.numbers import snapped
from vocdet.formats.scan import Notes, Progress, Scan, uncollected
from vocdet.wording import counted, nearest

_REFUSED = {
    "path.absolute": "is absolute",
    "path.traversal": "climbs out of the dataset",
    "path.name": "has a control character in it",
    "path.empty": "is empty",
}


def scan(
    path: Path, *, labels: Path | None = None, without_images: bool = False, progress: Progress | None = None
) -> Scan:
    """Read what can be read of a COCO file, or of the COCO files of a folder.

    Images are in the order of the files, and so are labels, unless a list file gives theirs. Of the files in a folder
    each whose name or folder says train, val or test is that part; one that is alone only if it is called
    instances_train and the like. Sizes are those of the images; with `without_images` all may be missing; they are
    what the file says. What is wrong with an entry is a finding, and the entry left out; only a file that is no COCO
    file, or a list file that cannot be read, raises.
    """
    listed = read_labels(labels) if labels is not None else None
    root, files, findings = find_coco(path)
    index = find_images(root)
    without_images = without_images and not index.files
    if not without_images and not index.files:
        hint = "give the folder that holds the annotations and the images"
        raise AnnotationError("no images found", place=root, hint=hint)
    notes = Notes([*findings, *index.findings])
    tables = _Tables(root, index, without_images)
    with uncollected(), image_files.quiet_decoder():
        for file in files:
            tables.add(file, read_entries(file.path, notes), notes, progress)
        dataset = tables.dataset(listed, notes)
    kind = f"COCO, {files[0].source}" if len(files) == 1 else f"{counted(len(files), 'COCO file')}"
    return Scan(dataset, tuple(notes.findings), "zero", "", {}, "coco", kind, tables.all_parts())


def file_names(path: Path) -> list[str]:
    """The names of the images a COCO file lists, with forward slashes; those that lead out of its folder left out."""
    names = (safe_relative(image.file_name).path for image in read_entries(path, Notes()).images)
    return [name for name in names if name]


@dataclass(slots=True)
class _Table:
    """The objects of one file; arrays of one row each."""

    image: NDArray[np.int64]
    label: NDArray[np.int64]  # as in `_Tables.labels`
    box: Boxes
    flags: NDArray[np.bool_]  # (M, 4) crowd, difficult, truncated, occluded
    place: NDArray[np.int32]
    pose: NDArray[np.int16]
    area: NDArray[np.float64]
    segmentation: Texts
    extra: Texts


@dataclass(slots=True)
class _Tables:
    """The columns of a dataset while its files are being read."""

    root: Path
    index: ImageIndex
    without_images: bool
    stems: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    image_extras: list[bytes] = field(default_factory=list)
    row_of: dict[str, int] = field(default_factory=dict)  # file -> row
    taken: set[str] = field(default_factory=set)  # stems
    labels: dict[str, int] = field(default_factory=dict)
    poses: dict[str, int] = field(default_factory=lambda: {"": 0})
    objects: list[_Table] = field(default_factory=list)
    splits: dict[str, list[NDArray[np.int64]]] = field(default_factory=dict)
    files_read: int = 0
    alone: bool = False  # whether a single file may be a part
    trainval: bool = False  # whether a file says that there was one
    extra: dict[str, msgspec.Raw] = field(default_factory=dict)
    categories: dict[str, dict[str, msgspec.Raw]] = field(default_factory=dict)

    def add(self, file: CocoFile, entries: Entries, notes: Notes, progress: Progress | None) -> None:
        """Add what one file lists."""
        rows, fresh = self._add_images(file, entries, notes, progress)
        self.files_read += 1
        self.trainval |= pop_trainval(entries.extra)
        if file.split:
            self.splits.setdefault(file.split, []).append(np.array(sorted(set(rows.values())), np.int64))
            self.alone = file.path.name.startswith("instances_")
        labels = self._add_labels(file, entries, notes)
        self.objects.append(_objects(file, entries, (rows, fresh, labels), self.poses, notes))
        self.extra |= {key: raw for key, raw in entries.extra.items() if key not in self.extra}

    def all_parts(self) -> dict[str, NDArray[np.int64]]:
        """The rows of every part; trainval is train and val together, where vocdet has written that there is one."""
        if not (self.files_read > 1 or self.alone):
            return {}
        splits = {name: np.unique(np.concatenate(rows)) for name, rows in self.splits.items()}
        if self.trainval and "trainval" not in splits:
            some = [splits.get(name, _NO_ROWS) for name in ("train", "val")]
            rows = sorted(np.concatenate(some).tolist(), key=lambda row: f"{self.stems[row]}.xml")  # as VOC lists them
            splits = {"trainval": np.array(rows, np.int64)} | splits
        return splits

    def _add_images(
        self, file: CocoFile, entries: Entries, notes: Notes, progress: Progress | None
    ) -> tuple[dict[int, int], set[int]]:
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
                _note_name(image.file_name, name, file, inside, notes)
            found = self._file_of(wanted, prefix, name.path == "")
            if not found:
                if wanted:
                    problem = f"its image is missing: {wanted[:80]!r}"
                    hint = "put the image back, or delete the entry and its annotations"
                    notes.add("image.missing", "error", problem, file.path, hint, inside=inside)
                continue
            if image.id in rows:
                hint = "give it an id of its own"
                notes.add("coco.image.id", "error", f"the id {image.id} is used twice", file.path, hint, inside=inside)
                continue
            if found in self.row_of:
                rows[image.id] = self.row_of[found]
                before = self.sources[self.row_of[found]]
                if before == file.source:
                    fresh.add(image.id)
                    problem = f"{wanted[:80]!r} is listed before in this file: the objects of both are read"
                    hint = "give it one id, and its annotations that"
                else:
                    problem = f"{wanted[:80]!r} is listed before, in {before}: its objects are read there alone"
                    hint = "an image belongs to one file, and to one part"
                notes.add("coco.image.twice", "error", problem, file.path, hint, inside=inside)
                continue
            size = self._size(found, (image.width, image.height), file, inside, notes)
            if size is None:
                continue
            rows[image.id] = self.row_of[found] = len(self.files)
            fresh.add(image.id)
            self._add_image(found, wanted, file, size, entries.image_extras.get(i, b""))
            if progress is not None:
                progress(i + 1, len(names))
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
        self, found: str, said: tuple[int | None, int | None], file: CocoFile, inside: str, notes: Notes
    ) -> tuple[int, int] | None:
        width, height = said
        sound = width is not None and height is not None and 0 < width < 2**31 and 0 < height < 2**31
        if self.without_images:
            if width is None or height is None or not sound:
                problem = f"is {width} by {height} pixels, which is no size"
                notes.add("coco.image.size", "error", problem, file.path, "write width and height", inside=inside)
                return None
            return width, height
        try:
            header = image_files.read_header(f"{self.root}/{found}")
        except ImageError as error:
            notes.add("image.corrupt", "error", error.problem, self.root / found, error.hint)
            return (width, height) if width is not None and height is not None and sound else None
        size = header.width, header.height
        if said == (None, None) or said == size:
            return size
        if said == size[::-1] and image_files.read_orientation(self.root / found) >= 5:
            return header.height, header.width  # a phone's picture, annotated the way EXIF says it is to be shown
        said_text = "×".join("nothing" if side is None else str(side) for side in said)
        problem = f"is {said_text} here, and {size[0]}×{size[1]} in {found}: the image's size is used"
        hint = "check that the boxes fit: they may be of another size, or another image"
        notes.add("image.size_mismatch", "warning", problem, file.path, hint, inside=inside)
        return size

    def _add_image(self, found: str, wanted: str, file: CocoFile, size: tuple[int, int], extra: bytes) -> None:
        stem = split_suffix(wanted)[0]
        if stem in self.taken:
            others = chain((split_suffix(found)[0], found), (f"{stem}_{i}" for i in range(2, 1 << 30)))
            stem = next(one for one in others if one not in self.taken)
        self.taken.add(stem)
        self.stems.append(stem)
        self.files.append(found)
        self.sources.append(file.source)
        self.sizes.append(size)
        self.image_extras.append(extra)

    def _add_labels(self, file: CocoFile, entries: Entries, notes: Notes) -> dict[int, int]:
        """Label by category id."""
        labels: dict[int, int] = {}
        names: dict[str, str] = {}  # -> where the first of the name is
        for i, category in enumerate(entries.categories):
            inside = entries.place("categories", i)
            name = clean_label(category.name)
            if not name:
                notes.add("coco.category.name", "error", "has no name", file.path, "name it", inside=inside)
                continue
            if name != category.name:
                problem = f"the name {category.name!r} has space around or inside it"
                notes.add("label.whitespace", "warning", problem, file.path, "read without it", inside=inside)
            if category.id in labels:
                problem = f"the id {category.id} is used twice"
                notes.add("coco.category.id", "error", problem, file.path, "give it an id of its own", inside=inside)
                continue
            if name in names:
                problem = f"{name!r} is the name of {names[name]}, too: read as the same label"
                hint = "delete one of the two, or rename it if it means something else"
                notes.add("coco.category.duplicate_name", "warning", problem, file.path, hint, inside=inside)
            names.setdefault(name, inside)
            labels[category.id] = self.labels.setdefault(name, len(self.labels))
            if i in entries.category_extras:
                self.categories.setdefault(name, entries.category_extras[i])
        return labels

    def dataset(self, listed: tuple[str, ...] | None, notes: Notes) -> Dataset:
        """The tables put together."""
        widths, heights = np.array(self.sizes, np.int32).reshape(-1, 2).T
        images = Images(tuple(self.stems), tuple(self.files), widths, heights, tuple(self.sources),
                        Texts.of(self.image_extras))  # fmt: skip
        objects = _joined(self.objects)
        labels = tuple(self.labels)
        extra = in_order(self.extra, KEPT_OF_WHOLE)
        if self.categories:
            extra["categories"] = msgspec.Raw(msgspec.json.encode(self.categories))
        dataset = Dataset(self.root, labels, images, objects, tuple(self.poses),
                          msgspec.json.encode(extra) if extra else b"", "annotations")  # fmt: skip
        return dataset if listed is None else _relabelled(dataset, listed, notes)


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


def _objects(
    file: CocoFile,
    entries: Entries,
    known: tuple[dict[int, int], set[int], dict[int, int]],
    poses: dict[str, int],
    notes: Notes,
) -> _Table:
    """The objects of a file; those that cannot be used are left out and noted.

    `known` are the rows by image id, the ids of images this file brings, and the labels by category id.
    """
    image_rows, fresh, labels = known
    found = entries.annotations
    n = len(found)
    image_ids, category_ids = (np.fromiter(entries.column(name), np.int64, n) for name in _IDS)
    image, label = _looked_up(image_ids, image_rows), _looked_up(category_ids, labels)
    places = np.array(entries.places.get("annotations", range(n)), np.int64)
    box, size = _boxes(file, entries, notes)
    before = [one for one in image_rows if one not in fresh]  # listed by another file, and read there
    elsewhere = np.isin(image_ids, before) if before else np.zeros(n, np.bool_)
    far = ~(np.abs(box) <= masks.FURTHEST).all(axis=1)
    bad = (image < 0) | (label < 0) | far | (box[:, :2] > box[:, 2:]).any(axis=1)
    missing = {one.id for one in entries.images} - image_rows.keys()
    for i in np.flatnonzero(bad & ~elsewhere).tolist():
        if not (image[i] < 0 and found[i].image_id in missing):  # its image was noted
            unknown = bool(image[i] < 0), bool(label[i] < 0)
            _note_object(found[i], size[i], unknown, entries.place("annotations", i), file, notes)
    _note_ids(entries, file, notes)
    flags = np.stack([_flags(entries.column(name)) for name in _FLAGS], axis=1)
    areas = np.array(entries.column("area"), np.float64)  # None becomes NaN
    pose = _poses(file, entries, poses, notes)
    table = _Table(image, label, box, flags, (places + 1).astype(np.int32), pose, areas,
                   _segmentations(entries), Texts.sparse(n, entries.annotation_extras))  # fmt: skip
    rows = np.flatnonzero(~(bad | elsewhere))
    rows = rows[np.argsort(image[rows], kind="stable")]
    return table if len(rows) == n and (rows[1:] > rows[:-1]).all() else _taken(table, rows)


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
_FLAGS = ("iscrowd", "difficult", "truncated", "occluded")


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


def _flags(values: list[int | None]) -> NDArray[np.bool_]:
    if values.count(None) + values.count(0) == len(values):
        return np.zeros(len(values), np.bool_)
    return np.array([bool(value) for value in values], np.bool_)


def _poses(file: CocoFile, entries: Entries, poses: dict[str, int], notes: Notes) -> NDArray[np.int16]:
    """(M,) the number of every pose in `poses`, to which new ones are added as long as there are numbers."""
    column = np.zeros(len(entries.annotations), np.int16)
    for i, text in _said(entries.column("pose")):
        name = "" if text.strip() == "Unspecified" else text.strip()
        if name not in poses and len(poses) > _MOST_POSES:
            problem = f"is one more after {_MOST_POSES} different ones: not used, nor are others that are new"
            hint = "is it a number of its own for every object? call the key otherwise"
            inside = f"{entries.place('annotations', i)}.pose"
            notes.add("coco.pose", "error", problem, file.path, hint, inside=inside)
            break
        column[i] = poses.setdefault(name, len(poses))
    return column


_MOST_POSES = 2**15 - 1


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


def _taken(table: _Table, rows: NDArray[np.int64]) -> _Table:
    return _Table(
        table.image[rows], table.label[rows], table.box[rows], table.flags[rows], table.place[rows], table.pose[rows],
        table.area[rows], table.segmentation.take(rows), table.extra.take(rows),
    )  # fmt: skip


def _joined(tables: Sequence[_Table]) -> Objects:
    """The object table of all files, in image order."""
    image = np.concatenate([table.image for table in tables])
    order = np.argsort(image, kind="stable") if (image[1:] < image[:-1]).any() else None

    def column(name: str) -> NDArray[np.generic]:
        whole = np.concatenate([getattr(table, name) for table in tables])
        return whole if order is None else whole[order]

    def texts(name: str) -> Texts:
        whole = Texts.join(getattr(table, name) for table in tables)
        return whole if order is None else whole.take(order)

    flags = column("flags")
    return Objects(
        image=column("image").astype(np.int32),
        label=column("label").astype(np.int32),
        box=column("box").astype(np.float64),
        difficult=flags[:, 1].astype(np.bool_),
        truncated=flags[:, 2].astype(np.bool_),
        occluded=flags[:, 3].astype(np.bool_),
        crowd=flags[:, 0].astype(np.bool_),
        line=column("place").astype(np.int32),
        pose=column("pose").astype(np.int16),
        area=column("area").astype(np.float64),
        segmentation=texts("segmentation"),
        extra=texts("extra"),
    )


def _relabelled(dataset: Dataset, listed: tuple[str, ...], notes: Notes) -> Dataset:
    """The dataset with the labels of a list; objects of others are left out and noted."""
    index = {label: i for i, label in enumerate(listed)}
    new = np.array([index.get(label, -1) for label in dataset.labels], np.int32)[dataset.objects.label]
    counts = np.bincount(dataset.objects.label, minlength=len(dataset.labels))
    for i, label in enumerate(dataset.labels):
        if label not in index and counts[i]:
            close = nearest(label, listed)
            hint = f"did you mean {close!r}?" if close else "add it to the list, or drop it with vocdet remap"
            problem = f"the label {label!r} of {counted(counts[i], 'object')} is not in the label list"
            notes.findings.append(Finding("label.unknown", "error", problem, Place(dataset.root), hint))
    keep = new >= 0
    objects = replace(dataset.objects.take(keep), label=new[keep])
    return replace(dataset, labels=listed, objects=objects)
