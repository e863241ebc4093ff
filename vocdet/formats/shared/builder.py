"""The columns of a dataset under construction; every reader fills the same ones."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding, object_place
from vocdet.data.texts import Texts
from vocdet.formats.images.facts import ImageFacts
from vocdet.formats.images.lookup import ImageSize, unique_stems
from vocdet.wording import did_you_mean, quoted

if TYPE_CHECKING:
    Column: TypeAlias = "array[Any]"

DIFFICULT, TRUNCATED, OCCLUDED, CROWD = 1, 2, 4, 8  # bits of a flag
FLAGS = {"difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED, "crowd": CROWD}
MOST_POSES = 2**15 - 1  # a dataset can hold

_MOST_HINTS = 20  # unknown labels for which the nearest match is searched
_CORRECT = "add it to the list, or correct the annotation"


@dataclass(slots=True)
class TextColumn:
    """A sparse column of byte strings, with rows in ascending order."""

    rows: Column = field(default_factory=lambda: array("q"))
    ends: Column = field(default_factory=lambda: array("q"))
    data: bytearray = field(default_factory=bytearray)

    def add(self, row: int, text: bytes) -> None:
        """Add the text of a row; empty texts are skipped."""
        if text:
            self.data += text
            self.rows.append(row)
            self.ends.append(len(self.data))

    def extend(self, first: int, texts: Texts) -> None:
        """Add the texts of consecutive rows from `first` on."""
        _extend(self.rows, texts.rows + first)
        _extend(self.ends, texts.ends + len(self.data))
        self.data += texts.data.data

    def texts(self, count: int) -> Texts:
        """The column of `count` rows."""
        return Texts(count, _array(self.rows), _array(self.ends), _read_only(np.frombuffer(self.data, np.uint8)))


@dataclass(slots=True)
class DatasetBuilder:
    """The columns of a dataset; row i of every image column is image i, row i of every object column object i.

    A reader adds an image and then its objects, or many objects at once as arrays. `build` takes replacements for the
    boxes.
    """

    root: Path
    files: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)  # empty: `unique_stems` of the files
    widths: Column = field(default_factory=lambda: array("i"))
    heights: Column = field(default_factory=lambda: array("i"))
    image_extras: TextColumn = field(default_factory=TextColumn)
    label_ids: dict[str, int] = field(default_factory=dict)  # in order of appearance
    pose_ids: dict[str, int] = field(default_factory=lambda: {"": 0})
    image: Column = field(default_factory=lambda: array("i"))  # from here on, a row an object
    label: Column = field(default_factory=lambda: array("i"))  # as in label_ids; -1: to be dropped
    box: Column = field(default_factory=lambda: array("d"))  # four an object, as written
    flags: Column = field(default_factory=lambda: array("b"))
    line: Column = field(default_factory=lambda: array("i"))
    pose: Column = field(default_factory=lambda: array("h"))
    area: Column = field(default_factory=lambda: array("d"))  # empty: no file states areas
    segmentations: TextColumn = field(default_factory=TextColumn)
    extras: TextColumn = field(default_factory=TextColumn)
    facts: dict[int, ImageFacts] = field(default_factory=dict)  # of unusual images, for `settled`

    def add_image(
        self, file: str, source: str, size: tuple[int, int] | ImageSize, *, stem: str = "", extra: bytes = b""
    ) -> int:
        """Add an image of `size` (width, height); return its row. Either all images have a `stem`, or none."""
        row = len(self.files)
        self.files.append(file)
        self.sources.append(source)
        self.widths.append(size[0])
        self.heights.append(size[1])
        if isinstance(size, ImageSize) and size.facts is not None:
            self.facts[row] = size.facts
        if stem:
            self.stems.append(stem)
        if extra:
            self.image_extras.add(row, extra)
        return row

    def add_objects(
        self,
        image: Iterable[int] | NDArray[np.integer],
        label: Iterable[int] | NDArray[np.integer],
        box: Iterable[float] | NDArray[np.float64],
        line: Iterable[int] | NDArray[np.integer],
        *,
        flags: Iterable[int] | NDArray[np.integer] | None = None,
        pose: Iterable[int] | NDArray[np.integer] | None = None,
    ) -> None:
        """Add columns of objects in images that are present; `box` has four numbers for each object."""
        _extend(self.image, image)
        _extend(self.label, label)
        _extend(self.box, box)
        _extend(self.line, line)
        _extend(self.flags, bytes(len(self.image) - len(self.flags)) if flags is None else flags)
        _extend(self.pose, bytes(2 * (len(self.image) - len(self.pose))) if pose is None else pose)

    def label_id(self, name: str) -> int:
        """The id of a label; a new label gets the next one."""
        return self.label_ids.setdefault(name, len(self.label_ids))

    def sizes(self) -> NDArray[np.int32]:
        """(M, 2) the width and height of every object's image."""
        return self.sizes_of(_array(self.image))

    def sizes_of(self, images: NDArray[np.int64]) -> NDArray[np.int32]:
        """(M, 2) the width and height of these images; of the last one for −1."""
        sides = np.stack([_array(self.widths), _array(self.heights)], axis=1)
        return np.asarray(sides[images], np.int32) if len(sides) else np.zeros((len(images), 2), np.int32)

    def boxes(self) -> Boxes:
        """(M, 4) the boxes as written."""
        return _array(self.box).reshape(-1, 4)

    def build(
        self,
        labels: Sequence[str],
        findings: list[Finding],
        *,
        box: Boxes | None = None,
        keep: NDArray[np.bool_] | None = None,
        extra: bytes = b"",
        entries: str = "",
    ) -> Dataset:
        """Build the dataset with these labels. Objects of other labels are left out, with a finding for every file.

        `box` (M, 4) replaces the boxes as written; objects that `keep` (M,) excludes are left out. `extra` and
        `entries` are those of the dataset.
        """
        known_labels = frozenset(labels)
        unknown = [name for name in self.label_ids if name not in known_labels]
        index = {name: i for i, name in enumerate((*labels, *unknown))}
        new = np.array([*(index[name] for name in self.label_ids), -1], np.int32)  # -1 stays -1
        label = _read_only(new[_array(self.label)])
        count = len(label)
        known = label >= 0
        objects = Objects(
            image=_array(self.image),
            label=label if known.all() else np.maximum(label, 0),
            box=self.boxes() if box is None else box,
            **self._flag_columns(),
            line=_array(self.line),
            pose=_array(self.pose),
            area=_array(self.area) if self.area else np.full(count, math.nan),
            segmentation=self.segmentations.texts(count),
            extra=self.extras.texts(count),
        )
        stems = self.stems or unique_stems(self.files)
        images = Images(tuple(stems), tuple(self.files), _array(self.widths), _array(self.heights),
                        tuple(self.sources), self.image_extras.texts(len(self.files)))  # fmt: skip
        dataset = Dataset(self.root, tuple(index), images, objects, tuple(self.pose_ids), extra, entries)
        kept = known if keep is None else known & keep
        if unknown:
            findings += unknown_labels(dataset, labels, known)
            kept &= label < len(labels)
        if not kept.all():
            dataset = dataset.select_objects(kept)
        return replace(dataset, labels=tuple(labels)) if unknown else dataset

    def _flag_columns(self) -> dict[str, NDArray[np.bool_]]:
        flags = _array(self.flags)
        bits = {"difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED, "crowd": CROWD}
        return {name: _read_only(flags & bit > 0) for name, bit in bits.items()}


def unknown_labels(dataset: Dataset, labels: Sequence[str], known: NDArray[np.bool_]) -> list[Finding]:
    """One finding for every annotation file and unknown label in it: those of `dataset` after the first `labels`.

    Its place is the first such object; `known` (M,) is False for objects without any label.
    """
    objects = dataset.objects
    first: dict[tuple[str, int], int] = {}
    counts: Counter[tuple[str, int]] = Counter()
    for row in np.flatnonzero(known & (objects.label >= len(labels))).tolist():
        key = dataset.images.sources[objects.image[row]], int(objects.label[row])
        first.setdefault(key, row)
        counts[key] += 1
    others = dataset.labels[len(labels) :]
    hints = {name: did_you_mean(name, labels) or _CORRECT for name in others[:_MOST_HINTS]}
    findings = []
    for key, row in first.items():
        name, count = dataset.labels[key[1]], counts[key]
        problem = f"the label {quoted(name)} is not in the label list"
        findings.append(
            Finding("label.unknown", "error", problem, object_place(dataset, row), hints.get(name, _CORRECT), count)
        )
    return findings


def _extend(column: Column, values: Any) -> None:
    """Append numbers, or the bytes of numbers, to a column."""
    if isinstance(values, np.ndarray):
        column.frombytes(np.ascontiguousarray(values, column.typecode).tobytes())
    elif isinstance(values, bytes):
        column.frombytes(values)
    else:
        column.extend(values)


def _array(column: Column) -> NDArray[Any]:
    """A column as a read-only array that shares its memory."""
    return _read_only(np.frombuffer(column, column.typecode) if column else np.empty(0, column.typecode))


def _read_only(values: NDArray[Any]) -> NDArray[Any]:
    values.setflags(write=False)
    return values
