"""A folder of YOLO's text labels as a `Dataset`, and back."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data import image_files
from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.texts import Texts
from vocdet.errors import ImageError
from vocdet.formats.image_index import split_suffix, unique_stems
from vocdet.formats.labels import read_labels
from vocdet.formats.scan import Notes, Progress, Scan, uncollected
from vocdet.formats.yolo.layout import Layout, find_layout, looks_like
from vocdet.formats.yolo.rows import BEYOND, Row, read_rows
from vocdet.formats.yolo.settings import first_bytes
from vocdet.formats.yolo.write import PIXEL_DECIMALS, image_targets, write
from vocdet.wording import box_text, counted, nearest

__all__ = ["image_targets", "looks_like", "scan", "write"]

ROUNDING = 1e-6  # a share that was rounded to six decimals, as most are, may lead this far out of its image

_HEAD = 4096  # bytes of a JPEG in which its EXIF tag is, if it has one


def scan(
    path: Path,
    *,
    labels: Path | None = None,
    without_images: bool = False,  # noqa: ARG001 as other formats: without its image, a share is no pixels
    progress: Progress | None = None,
) -> Scan:
    """Read what can be read of a folder, or of the folder of a data.yaml, in the order of its image files.

    An image without a label file is, as for the tools that train on such folders, one that shows none of the labels:
    a warning. Labels are those of the data.yaml or classes.txt in their order, else their numbers; a list file gives
    another order, or names them where nothing else does. A polygon's box is its bounds. A JPEG is taken as its EXIF
    tag turns it. Only a folder without images or label files, or a list file that cannot be read, raises.
    """
    listed = read_labels(labels) if labels is not None else None
    notes = Notes()
    with uncollected(), image_files.quiet_decoder():
        layout = find_layout(path, notes)
        rows = _Rows()
        for done, image in enumerate(layout.images, 1):
            _read_one(layout, image, rows, notes)
            if progress is not None:
                progress(done, len(layout.images))
        dataset = _dataset(layout, rows, listed, notes)
    row_of = {file: row for row, file in enumerate(rows.files)}
    splits = {
        split: np.array([row_of[file] for file in files if file in row_of], np.int64)
        for split, files in layout.splits.items()
    }
    left_out = dict.fromkeys((_stem(file) for file in [*layout.passed_over, *rows.unreadable]), "")
    findings = tuple(dict.fromkeys(notes.findings))
    return Scan(dataset, findings, left_out=left_out, format="yolo", kind=_kind(layout), splits=splits)


@dataclass(slots=True)
class _Rows:
    """The columns of a dataset while its files are being read."""

    files: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    widths: array[int] = field(default_factory=lambda: array("i"))
    heights: array[int] = field(default_factory=lambda: array("i"))
    image: array[int] = field(default_factory=lambda: array("i"))  # from here on, an entry an object
    label: array[int] = field(default_factory=lambda: array("i"))  # as written
    share: array[float] = field(default_factory=lambda: array("d"))  # cx, cy, w, h of every object
    line: array[int] = field(default_factory=lambda: array("i"))
    special: dict[int, Row] = field(default_factory=dict)  # by object: those with a polygon or keypoints
    unreadable: list[str] = field(default_factory=list)  # images


def _read_one(layout: Layout, image: str, rows: _Rows, notes: Notes) -> None:
    path = layout.root / image
    try:
        header = image_files.read_header(path)
        size = header.width, header.height
        if header.format == "JPEG" and _turned(path):
            size = size[::-1]
            problem = f"its EXIF tag turns it: its boxes are taken as those of the turned image, {size[0]}×{size[1]}"
            hint = "look at its boxes; if they do not fit, save it without EXIF"
            notes.add("image.turned", "warning", problem, path, hint)
    except ImageError as error:
        hint = error.hint.replace("XML", "label file")
        notes.add("image.corrupt", "error", error.problem, path, hint)
        rows.unreadable.append(image)
        return
    source = layout.label_of.get(image, "")
    row = len(rows.files)
    rows.files.append(image)
    rows.sources.append(source)
    rows.widths.append(size[0])
    rows.heights.append(size[1])
    if not source:
        hint = "delete it if nobody has looked for objects in it; else put an empty .txt there"
        problem = "has no label file: it is taken as an image that shows none of the labels"
        notes.add("image.unannotated", "warning", problem, path, hint)
        return
    content = read_rows(f"{layout.root}/{source}", notes, layout.keypoints)
    if content is None:
        return
    count = len(content.numbers) // 5
    for i in range(0, 5 * count, 5):
        rows.label.append(int(content.numbers[i]))
        rows.share.extend(content.numbers[i + 1 : i + 5])
    rows.line.extend(range(1, count + 1))
    for item in content.rows:
        if item.polygon or item.keypoints:
            rows.special[len(rows.label)] = item
        rows.label.append(item.label)
        rows.share.extend(item.box)
        rows.line.append(item.line)
    rows.image.extend([row] * (count + len(content.rows)))


def _turned(path: Path) -> bool:
    """Whether the EXIF tag of a JPEG lays it on its side; its first bytes mostly show that it has none."""
    return b"Exif\0" in first_bytes(path, _HEAD) and image_files.read_orientation(path) >= 5


def _dataset(layout: Layout, rows: _Rows, listed: tuple[str, ...] | None, notes: Notes) -> Dataset:
    widths, heights = np.array(rows.widths, np.int32), np.array(rows.heights, np.int32)
    stems = unique_stems(rows.files)
    shared = [file for file, stem in zip(rows.files, stems, strict=True) if "/" in stem]
    if shared:
        problem = f"{counted(len(shared), 'image')} share their names with others in other folders, as {shared[0]} does"
        hint = "their stems are their paths: rename them if that is not wanted"
        notes.add("image.stem", "warning", problem, layout.root, hint)
    images = Images(tuple(stems), tuple(rows.files), widths, heights, tuple(rows.sources))
    known, label = _labels(layout, rows, listed, notes)
    image = np.array(rows.image, np.int32)
    sizes = np.stack([widths, heights], axis=1)[image].astype(np.float64)  # (M, 2)
    shares = np.array(rows.share, np.float64).reshape(-1, 4)
    keep = (label >= 0) & _plausible(layout, rows, shares, sizes, notes)
    none = np.zeros(len(label), np.bool_)
    objects = Objects(
        image=image,
        label=np.maximum(label, 0),
        box=_pixels(np.where(keep[:, None], shares, 0), sizes),  # those of 1e308 would not be finite
        difficult=none,
        truncated=none,
        occluded=none,
        crowd=none,
        line=np.array(rows.line, np.int32),
        segmentation=Texts.sparse(len(label), _segmentations(rows, sizes)),
        extra=Texts.sparse(len(label), _keypoints(layout, rows, sizes)),
    )
    return Dataset(layout.root, known, images, objects if keep.all() else objects.take(keep))


def _labels(
    layout: Layout, rows: _Rows, listed: tuple[str, ...] | None, notes: Notes
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The labels, and for every object (M,) which it has; -1 where a finding says that it has none of them."""
    numbers = np.array(rows.label, np.int64)
    names = layout.names or listed or ()
    if not names:
        found, label = np.unique(numbers, return_inverse=True)
        return tuple(map(str, found.tolist())), label.reshape(-1)
    known = listed if listed is not None else tuple(dict.fromkeys(names))
    _note_repeated(layout, names, notes)
    index = {name: i for i, name in enumerate(known)}
    new = np.array([index.get(name, -1) for name in names], np.int64)
    beyond = numbers >= len(names)
    label = np.where(beyond, -1, new[np.minimum(numbers, len(names) - 1)])
    hints: dict[str, str] = {}
    for row in np.flatnonzero(label < 0).tolist():
        if beyond[row]:
            source = layout.names_source or "the label list"
            problem = f"the class is {numbers[row]}, and {source} has {counted(len(names), 'label')}, counted from 0"
            _note(layout, rows, row, "yolo.class.unknown", problem, "add its name, or correct the line", notes)
            continue
        name = names[numbers[row]]
        if name not in hints:
            close = nearest(name, known)
            hints[name] = f"did you mean {close!r}?" if close else "add it to the list, or delete the line"
        problem = f"the label {name!r} is not in the label list"
        _note(layout, rows, row, "label.unknown", problem, hints[name], notes)
    return known, label


def _note_repeated(layout: Layout, names: Sequence[str], notes: Notes) -> None:
    numbers_of = defaultdict[str, list[str]](list)
    for i, name in enumerate(names):
        numbers_of[name].append(str(i))
    for name, numbers in numbers_of.items():
        if len(numbers) > 1:
            problem = f"the label {name!r} has the numbers {', '.join(numbers[:5])}: they are taken as one label"
            hint = "give them different names if they are different things"
            notes.add("yolo.names.repeated", "warning", problem, layout.root / layout.names_source, hint)


def _note(layout: Layout, rows: _Rows, row: int, code: str, problem: str, hint: str, notes: Notes) -> None:
    path = layout.root / rows.sources[rows.image[row]]
    notes.add(code, "error", problem, path, hint, line=rows.line[row])


def _plausible(
    layout: Layout, rows: _Rows, shares: NDArray[np.float64], sizes: NDArray[np.float64], notes: Notes
) -> NDArray[np.bool_]:
    """(M,) whether the numbers of an object can be shares of its image; those that cannot are findings."""
    negative = shares[:, 2:].min(axis=1, initial=0) < 0
    far = (shares.min(axis=1, initial=0) < -BEYOND) | (shares.max(axis=1, initial=0) > 1 + BEYOND)
    for row in np.flatnonzero(negative | far).tolist():
        text = box_text(shares[row])
        if negative[row]:
            problem, code = f"the box {text} has a negative size (cx cy w h)", "yolo.row.inverted"
            hint = "draw the object again, or delete the line"
        elif shares[row].max() > 2:
            problem, code = (
                f"the box {text} looks like pixels, not like shares of the image (cx cy w h)",
                "yolo.row.pixels",
            )
            width, height = sizes[row].tolist()
            hint = f"divide x and w by the width of the image, {width:.0f}, and y and h by its height, {height:.0f}"
        else:
            problem, code = (
                f"the box {text} is not within the image: all are shares from 0 to 1",
                "yolo.row.out_of_range",
            )
            hint = "draw the object again, or delete the line"
        _note(layout, rows, row, code, problem, hint, notes)
    keep: NDArray[np.bool_] = ~(negative | far)
    return keep


def _pixels(shares: NDArray[np.float64], sizes: NDArray[np.float64]) -> Boxes:
    """(M, 4) boxes in pixels, to six decimals, without what rounding of the shares adds beyond an edge."""
    centre, half = shares[:, :2], shares[:, 2:] / 2
    boxes = np.concatenate([(centre - half) * sizes, (centre + half) * sizes], axis=1)
    limits = np.concatenate([sizes, sizes], axis=1)
    inside = np.clip(boxes, 0, limits)
    boxes = np.where(np.abs(boxes - inside) <= ROUNDING * limits, inside, boxes)
    return np.round(boxes, PIXEL_DECIMALS) + 0.0  # and no -0.0


def _segmentations(rows: _Rows, sizes: NDArray[np.float64]) -> dict[int, bytes]:
    return {
        row: msgspec.json.encode([_scaled(item.polygon, sizes[row])])
        for row, item in rows.special.items()
        if item.polygon
    }


def _keypoints(layout: Layout, rows: _Rows, sizes: NDArray[np.float64]) -> dict[int, bytes]:
    """COCO's `keypoints` of every pose: x, y in pixels and whether it is 0 not labelled, 1 hidden or 2 seen."""
    found = {}
    for row, item in rows.special.items():
        if layout.keypoints is None or not item.keypoints:
            continue
        points = np.array(item.keypoints).reshape(layout.keypoints)
        pixels = _scaled(points[:, :2].ravel().tolist(), sizes[row])
        seen = points[:, 2] if points.shape[1] == 3 else np.where(points.any(axis=1), 2, 0)
        triples = [[x, y, _short(v)] for x, y, v in zip(pixels[::2], pixels[1::2], seen.tolist(), strict=True)]
        extra = {"keypoints": [value for triple in triples for value in triple], "num_keypoints": int((seen > 0).sum())}
        found[row] = msgspec.json.encode(extra)
    return found


def _scaled(points: Sequence[float], size: NDArray[np.float64]) -> list[float]:
    scaled = np.array(points).reshape(-1, 2) * size
    return list(map(_short, (np.round(scaled, PIXEL_DECIMALS) + 0.0).ravel().tolist()))


def _short(value: float) -> float:
    return int(value) if value == int(value) else value


def _stem(file: str) -> str:
    return split_suffix(file)[0].rpartition("/")[2]


def _kind(layout: Layout) -> str:
    sources: Mapping[str, int] = Counter(source.rpartition("/")[0] for source in layout.label_of.values())
    where = ", ".join(sorted(sources)[:3]) + (", ..." if len(sources) > 3 else "")
    count = counted(sum(sources.values()), "label file")
    return f"a YOLO folder, {count} {'in ' + where if where else 'beside the images'}"
