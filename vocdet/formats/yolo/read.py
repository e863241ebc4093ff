"""A folder of YOLO label files as a `Dataset`."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Notes
from vocdet.data.rotated import note_rotated, rotated_extra
from vocdet.data.source_terms import YOLO
from vocdet.formats.images.lookup import BY_FOLDER, image_size, stem_of, unique_stems
from vocdet.formats.scan import Progress, Scan, Source, uncollected
from vocdet.formats.shared.builder import DatasetBuilder
from vocdet.formats.shared.label_lists import is_list_name
from vocdet.formats.shared.settled import settled
from vocdet.formats.shared.values import as_whole, read_labels
from vocdet.formats.yolo.layout import Layout, find_layout
from vocdet.formats.yolo.rotated_rows import rotated_boxes
from vocdet.formats.yolo.rows import OUTSIDE_TOLERANCE, Row, farthest, is_outside, outside_problem, read_rows
from vocdet.formats.yolo.write import PIXEL_DECIMALS
from vocdet.wording import box_text, counted

ROUNDING = 1e-6  # how far, as a fraction of the image, rounding to six decimals may move a box out of it


def scan(
    source: Source,
    *,
    without_images: bool = False,  # noqa: ARG001 as in every format; fractions need the size of the image
    progress: Progress | None = None,
) -> Scan:
    """Read what is readable of a folder, or of the folder of a data.yaml, in the order of its image files.

    An image without a label file has no objects, as in tools that train on such folders, and a warning. Labels are
    those of the data.yaml or classes.txt in their order, else their numbers; a label list gives another order, or names
    the numbers if no file does. The box of a polygon is its bounds. Images are read with their EXIF orientation.
    Raises only if there are no images or label files, or if the label list cannot be read.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    notes = Notes()
    with uncollected(), image_files.quiet_decoder():
        layout = find_layout(source.path, notes)
        reading = _Reading(layout, DatasetBuilder(layout.root), notes)
        for done, image in enumerate(layout.images, 1):
            _read_one(reading, image)
            if progress is not None:
                progress(done, len(layout.images))
        dataset = _dataset(reading, label_list)
    row_of = {file: row for row, file in enumerate(dataset.images.files)}
    splits = {
        split: np.array([row_of[file] for file in files if file in row_of], np.int64)
        for split, files in layout.splits.items()
    }
    left_out = dict.fromkeys((stem_of(file) for file in [*layout.left_out, *reading.unreadable]), "")
    findings = tuple(dict.fromkeys(notes.findings))
    dataset = replace(dataset, splits=splits)
    listed = layout.names_source if is_list_name(layout.names_source) and label_list is None else ""
    scan = Scan(dataset, findings, left_out=left_out, format="yolo", kind=_description(layout),
                label_source=listed)  # fmt: skip
    return settled(scan, reading.builder.facts)


@dataclass(slots=True)
class _Reading:
    """A YOLO folder while its files are read."""

    layout: Layout
    builder: DatasetBuilder  # with the numbers in the files as labels, and fractions cx, cy, w, h as boxes
    notes: Notes
    special: dict[int, Row] = field(default_factory=dict)  # objects with a polygon or keypoints, by row
    unreadable: list[str] = field(default_factory=list)  # images

    def note(self, object_row: int, code: str, problem: str, hint: str) -> None:
        """Note an error of one object."""
        builder = self.builder
        path = builder.root / builder.sources[builder.image[object_row]]
        self.notes.add(code, "error", problem, path, hint, line=builder.line[object_row])


def _read_one(reading: _Reading, image: str) -> None:
    layout, builder, notes = reading.layout, reading.builder, reading.notes
    path = f"{layout.root}/{image}"
    size = image_size(path, None, notes.findings, terms=YOLO, source=path)
    if size is None:
        reading.unreadable.append(image)
        return
    source = layout.label_of.get(image, "")
    content = read_rows(f"{layout.root}/{source}", notes, layout.keypoints) if source else None
    if source and content is None:
        reading.unreadable.append(image)
        return
    row = builder.add_image(image, source, size)
    if content is None:
        hint = "delete it if it is not annotated; if it has no objects, add an empty .txt"
        problem = "has no label file: it is read as an image without objects"
        notes.add("image.unannotated", "warning", problem, Path(path), hint)
        return
    numbers = content.numbers
    count = len(numbers) // 5
    fractions = chain.from_iterable(numbers[i + 1 : i + 5] for i in range(0, 5 * count, 5))
    builder.add_objects([row] * count, map(int, numbers[::5]), fractions, range(1, count + 1))
    for item in content.rows:
        if item.polygon or item.keypoints:
            reading.special[len(builder.image)] = item
        builder.add_objects([row], [item.label], item.box, [item.line])


def _dataset(reading: _Reading, label_list: tuple[str, ...] | None) -> Dataset:
    layout, builder, notes = reading.layout, reading.builder, reading.notes
    shared = [stem for stem in unique_stems(builder.files) if "/" in stem]
    if shared:
        problem = (
            f"{counted(len(shared), 'image')} have the same name as an image in another folder, such as {shared[0]}"
        )
        hint = "their paths become their stems: rename them to change that"
        notes.add("image.stem", "warning", problem, layout.root, hint)
    labels = _number_labels(reading, label_list)
    fractions, sizes = builder.boxes().copy(), builder.sizes().astype(np.float64)
    rotated = rotated_boxes({row: item.polygon for row, item in reading.special.items() if item.polygon}, sizes)
    note_rotated(len(rotated), layout.root, notes)
    outside = _outside(reading, rotated)
    for row, corners in rotated.items():
        fractions[row] = _upright_box(corners / sizes[row])
    keep = _plausible_fractions(reading, fractions, sizes, outside)
    for row, text in _segmentations(reading, sizes):
        if row not in rotated:
            builder.segmentations.add(row, text)
    extras = dict(_keypoints(reading, sizes))
    extras |= {row: msgspec.json.encode(rotated_extra(_rounded(corners))) for row, corners in rotated.items()}
    for row in sorted(extras):
        builder.extras.add(row, extras[row])
    box = _pixel_boxes(np.where(keep[:, None], fractions, 0), sizes)  # avoids overflow of numbers such as 1e308
    return builder.build(labels, notes.findings, box=box, keep=keep)


def _number_labels(reading: _Reading, label_list: tuple[str, ...] | None) -> tuple[str, ...]:
    """The labels of the dataset; numbers in the builder are mapped to its `label_ids`.

    A number without a name is a finding, and becomes -1.
    """
    builder, layout = reading.builder, reading.layout
    numbers = np.array(builder.label, np.int64)
    names = layout.names or label_list or ()
    if not names:
        found, new = np.unique(numbers, return_inverse=True)
        names = label_list = tuple(map(str, found.tolist()))
        numbers = new.reshape(-1)
    _note_repeated(layout, names, reading.notes)
    beyond = numbers >= len(names)
    for row in np.flatnonzero(beyond).tolist():
        source = layout.names_source or "the label list"
        problem = f"the class is {numbers[row]}, and {source} has {counted(len(names), 'label')}, counted from 0"
        reading.note(row, "yolo.class.unknown", problem, "add its name, or correct the line")
    used = np.unique(numbers[~beyond])
    ids = np.full(len(names) + 1, -1, np.int32)
    ids[used] = [builder.label_id(names[number]) for number in used.tolist()]
    builder.label = array("i", ids[np.minimum(numbers, len(names))].tobytes())
    return label_list if label_list is not None else tuple(dict.fromkeys(names))


def _note_repeated(layout: Layout, names: Sequence[str], notes: Notes) -> None:
    numbers_of = defaultdict[str, list[str]](list)
    for i, name in enumerate(names):
        numbers_of[name].append(str(i))
    for name, numbers in numbers_of.items():
        if len(numbers) > 1:
            problem = f"the label {name!r} has the numbers {', '.join(numbers[:5])}: they are read as one label"
            hint = "use different names for different things"
            notes.add("yolo.names.repeated", "warning", problem, layout.root / layout.names_source, hint)


def _outside(reading: _Reading, rotated: Mapping[int, NDArray[np.float64]]) -> list[int]:
    """The rows of polygons outside their images, and of rotated boxes with nothing inside, each with a finding."""
    outside = []
    for row, item in reading.special.items():
        if row in rotated:
            low, high = (
                np.array(item.polygon).reshape(4, 2).min(axis=0),
                np.array(item.polygon).reshape(4, 2).max(axis=0),
            )
            if (high > 0).all() and (low < 1).all():
                continue
        elif not item.polygon or not is_outside(farthest(item.polygon)):
            continue
        outside.append(row)
        reading.note(row, *outside_problem(farthest(item.polygon)))
    return outside


def _upright_box(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """The box cx, cy, w, h around corners (4, 2) in fractions, as far as it is in the image."""
    low, high = np.clip(corners.min(axis=0), 0, 1), np.clip(corners.max(axis=0), 0, 1)
    return np.concatenate([(low + high) / 2, high - low])


def _plausible_fractions(
    reading: _Reading, fractions: NDArray[np.float64], sizes: NDArray[np.float64], outside: Sequence[int]
) -> NDArray[np.bool_]:
    """(M,) whether the numbers of an object can be fractions of its image; others are findings.

    Those of the rows `outside` have a finding.
    """
    known = np.zeros(len(fractions), np.bool_)
    known[list(outside)] = True
    negative = fractions[:, 2:].min(axis=1, initial=0) < 0
    far = (fractions.min(axis=1, initial=0) < -OUTSIDE_TOLERANCE) | (
        fractions.max(axis=1, initial=0) > 1 + OUTSIDE_TOLERANCE
    )
    for row in np.flatnonzero((negative | far) & ~known).tolist():
        text = box_text(fractions[row])
        if negative[row]:
            problem, code = f"the box {text} has a negative size (cx cy w h)", "yolo.row.inverted"
            hint = "draw the object again, or delete the line"
        elif fractions[row].max() > 2:
            problem, code = (
                f"the box {text} looks like pixels, not fractions of the image (cx cy w h)",
                "yolo.row.pixels",
            )
            width, height = sizes[row].tolist()
            hint = f"divide x and w by the width of the image, {width:.0f}, and y and h by its height, {height:.0f}"
        else:
            problem, code = (
                f"the box {text} is outside the image: all values are fractions from 0 to 1",
                "yolo.row.out_of_range",
            )
            hint = "draw the object again, or delete the line"
        reading.note(row, code, problem, hint)
    keep: NDArray[np.bool_] = ~(negative | far | known)
    return keep


def _pixel_boxes(fractions: NDArray[np.float64], sizes: NDArray[np.float64]) -> Boxes:
    """(M, 4) boxes in pixels, to six decimals, without what rounding of fractions adds at an edge."""
    center, half = fractions[:, :2], fractions[:, 2:] / 2
    boxes = np.concatenate([(center - half) * sizes, (center + half) * sizes], axis=1)
    limits = np.concatenate([sizes, sizes], axis=1)
    inside = np.clip(boxes, 0, limits)
    boxes = np.where(np.abs(boxes - inside) <= ROUNDING * limits, inside, boxes)
    return np.round(boxes, PIXEL_DECIMALS) + 0.0  # and no -0.0


def _segmentations(reading: _Reading, sizes: NDArray[np.float64]) -> Iterator[tuple[int, bytes]]:
    for row, item in reading.special.items():
        if item.polygon:
            yield row, msgspec.json.encode([_scaled(item.polygon, sizes[row])])


def _keypoints(reading: _Reading, sizes: NDArray[np.float64]) -> Iterator[tuple[int, bytes]]:
    """COCO's `keypoints` of every pose: x, y in pixels and 0 (not labeled), 1 (hidden) or 2 (visible)."""
    shape = reading.layout.keypoints
    for row, item in reading.special.items():
        if shape is None or not item.keypoints:
            continue
        points = np.array(item.keypoints).reshape(shape)
        pixels = _scaled(points[:, :2].ravel().tolist(), sizes[row])
        visible = points[:, 2] if points.shape[1] == 3 else np.where(points.any(axis=1), 2, 0)
        triples = [[x, y, as_whole(v)] for x, y, v in zip(pixels[::2], pixels[1::2], visible.tolist(), strict=True)]
        extra = {
            "keypoints": [value for triple in triples for value in triple],
            "num_keypoints": int((visible > 0).sum()),
        }
        yield row, msgspec.json.encode(extra)


def _scaled(points: Sequence[float], size: NDArray[np.float64]) -> list[float]:
    return _rounded(np.array(points).reshape(-1, 2) * size)


def _rounded(points: NDArray[np.float64]) -> list[float]:
    return list(map(as_whole, (np.round(points, PIXEL_DECIMALS) + 0.0).ravel().tolist()))


def _description(layout: Layout) -> str:
    sources: Mapping[str, int] = Counter(source.rpartition("/")[0] for source in layout.label_of.values())
    where = ", ".join(sorted(sources)[:3]) + (", ..." if len(sources) > 3 else "")
    count = counted(sum(sources.values()), "label file")
    by_folder = BY_FOLDER if layout.splits_by_folder else ""
    return f"a YOLO folder, {count} {'in ' + where if where else 'beside the images'}{by_folder}"
