"""The annotations of a COCO file as objects of a dataset, column by column."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.boxes import Boxes
from vocdet.data.findings import Finding, Notes
from vocdet.data.rotated import note_rotated
from vocdet.data.texts import Texts
from vocdet.errors import Place
from vocdet.formats.coco.layout import CocoFile
from vocdet.formats.coco.rotation import turn_boxes
from vocdet.formats.coco.segmentations import bounds, is_usual, normalized
from vocdet.formats.coco.types import CocoEntries
from vocdet.formats.shared.builder import CROWD, DIFFICULT, MOST_POSES, OCCLUDED, TRUNCATED, DatasetBuilder
from vocdet.formats.shared.values import snapped

_KEY_FLAGS = {"iscrowd": CROWD, "difficult": DIFFICULT, "truncated": TRUNCATED, "occluded": OCCLUDED}
_EMPTY = (b"", b"null", b"{}", b'""')  # segmentations without their brackets
_LONGEST_EMPTY = 32  # bytes
_SAME_AREA = 1e-3  # relative difference
_FEWEST_BOXES = 2  # boxes that are no coincidence
_LEAST_SIDE = 16  # pixels of an image in which objects are larger than a pixel
_PIXELS = "multiply x and width by the width of the image, y and height by its height"
_SIZES = "write x, y, width and height"
_SAMPLED_MASKS = 500  # segmentations whose notation is looked at


@dataclass(frozen=True, slots=True)
class CocoContent:
    """The entries of one file, what the ids in it refer to, and where its findings go."""

    file: CocoFile
    entries: CocoEntries
    notes: Notes
    rows: dict[int, int] = field(default_factory=dict)  # image id -> row of the image
    in_other_files: set[int] = field(default_factory=set)  # ids of images whose objects an earlier file has
    labels: dict[int, int] = field(default_factory=dict)  # category id -> label
    ambiguous_categories: set[int] = field(default_factory=set)  # ids of several categories

    def error(self, code: str, problem: str, hint: str, inside: str) -> None:
        """Note an error at a place in the file, as in annotations[3].bbox."""
        self.notes.add(code, "error", problem, self.file.path, hint, inside=inside)

    def warning(self, code: str, problem: str, hint: str, inside: str) -> None:
        """Note a warning at a place in the file."""
        self.notes.add(code, "warning", problem, self.file.path, hint, inside=inside)


def add_objects(content: CocoContent, builder: DatasetBuilder) -> None:
    """Add the objects of a file, ordered by image; those that cannot be used are left out, with a finding."""
    entries = content.entries
    n = len(entries.annotations)
    image, label = _mapped(entries, "image_id", content.rows), _mapped(entries, "category_id", content.labels)
    box, size = _corners(content)
    usable = _usable(content, image, label, box, size)
    if _are_no_pixel_boxes(content, box, size, np.flatnonzero(usable), builder.sizes_of(image)):
        usable[:] = False
    note_rotated(turn_boxes(entries, box, builder.sizes_of(image), usable), content.file.path, content.notes)
    _note_repeated_ids(content)
    rows = np.flatnonzero(usable)
    rows = rows[np.argsort(image[rows], kind="stable")]
    first = len(builder.image)
    lines = np.array(entries.places.get("annotations", range(n)), np.int64) + 1
    pose = _poses(content, builder.pose_ids)
    areas = np.array(entries.column("area"), np.float64)  # None becomes NaN
    columns: list[NDArray[Any]] = [image, label, box, lines, _flag_bits(entries), pose, areas]
    segmentations, extras = _segmentation_column(content), Texts.sparse(n, entries.annotation_extras)
    if len(rows) < n or (rows[1:] < rows[:-1]).any():
        columns = [column[rows] for column in columns]
        segmentations, extras = segmentations.take(rows), extras.take(rows)
    *required, flags, pose, areas = columns
    builder.add_objects(*required, flags=flags, pose=pose)
    builder.area.frombytes(areas.tobytes())
    builder.segmentations.extend(first, segmentations)
    builder.extras.extend(first, extras)


def _mapped(entries: CocoEntries, name: str, table: dict[int, int]) -> NDArray[np.int64]:
    """(M,) what the ids in a column stand for; −1 for unknown ids."""
    ids = np.fromiter(entries.column(name), np.int64, len(entries.annotations))
    if not table:
        return np.full(len(ids), -1)
    keys = np.array(sorted(table), np.int64)
    values = np.array([table[key] for key in keys.tolist()], np.int64)
    place = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)
    return np.where(keys[place] == ids, values[place], -1)


def _corners(content: CocoContent) -> tuple[Boxes, NDArray[np.float64]]:
    """Corners (M, 4), and the width and height in the file (M, 2).

    Corners come from the key `box` where vocdet wrote it: it is `bbox` without rounding.
    """
    entries = content.entries
    numbers = np.fromiter(chain.from_iterable(entries.column("bbox")), np.float64, 4 * len(entries.annotations))
    box = numbers.reshape(-1, 4)
    for i in np.flatnonzero(~box.any(axis=1)).tolist():
        if (derived := bounds(bytes(entries.annotations[i].segmentation))) is not None:
            box[i] = derived
            problem = "is [0, 0, 0, 0]: the box around the segmentation is used"
            hint = '`vocdet.convert(source, target, to="coco")` writes boxes'
            content.warning("coco.bbox.derived", problem, hint, f"{entries.place('annotations', i)}.bbox")
    size = box[:, 2:].copy()
    with np.errstate(over="ignore", invalid="ignore"):
        box[:, 2:] = snapped(box[:, :2] + size)
    for i, exact in _present(entries.column("box")):
        if np.abs(exact - box[i]).max() <= 1e-6 * max(1.0, np.abs(box[i]).max()):
            box[i] = exact
        else:
            problem = f"is {list(exact)}, not the corners of bbox {list(entries.annotations[i].bbox)}: ignored"
            content.warning("coco.box", problem, "delete it: bbox is enough", f"{entries.place('annotations', i)}.box")
    return box, size


def _usable(
    content: CocoContent, image: NDArray[np.int64], label: NDArray[np.int64], box: Boxes, size: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(M,) whether an object can be used; those that cannot are findings, unless another file has them."""
    entries = content.entries
    image_ids = np.fromiter(entries.column("image_id"), np.int64, len(image))
    elsewhere = np.isin(image_ids, list(content.in_other_files))
    far = ~(np.abs(box) <= masks.FURTHEST).all(axis=1)
    bad = (image < 0) | (label < 0) | far | (box[:, :2] > box[:, 2:]).any(axis=1)
    left_out = {one.id for one in entries.images} - content.rows.keys()
    for i in np.flatnonzero(bad & ~elsewhere).tolist():
        if image[i] >= 0 or entries.annotations[i].image_id not in left_out:  # else its image has a finding
            _note_unusable(content, i, unknown_image=bool(image[i] < 0), unknown_label=bool(label[i] < 0), size=size[i])
    usable: NDArray[np.bool_] = ~(bad | elsewhere)
    return usable


def _note_unusable(
    content: CocoContent, i: int, *, unknown_image: bool, unknown_label: bool, size: NDArray[np.float64]
) -> None:
    annotation, inside = content.entries.annotations[i], content.entries.place("annotations", i)
    hint = "correct it, or delete the annotation"
    if unknown_image:
        problem = f"its image_id is {content.entries.id_text(annotation.image_id)}, which no image has"
        content.error("coco.annotation.unknown_image", problem, hint, inside)
    elif unknown_label:
        which = (
            "several categories have" if annotation.category_id in content.ambiguous_categories else "no category has"
        )
        problem = f"its category_id is {content.entries.id_text(annotation.category_id)}, which {which}"
        content.error("coco.annotation.unknown_category", problem, hint, inside)
    elif (size < 0).any():
        problem = f"has the width {size[0]:g} and the height {size[1]:g}"
        content.error("coco.bbox.negative", problem, hint, f"{inside}.bbox")
    else:
        problem = f"is {list(annotation.bbox)}, more than {masks.FURTHEST:.0g} pixels from the image"
        content.error("coco.bbox.far", problem, hint, f"{inside}.bbox")


def _are_no_pixel_boxes(
    content: CocoContent, box: Boxes, size: NDArray[np.float64], rows: NDArray[np.int64], images: NDArray[np.int32]
) -> bool:
    """Whether the boxes of these objects are not x, y, width and height in pixels, with a finding.

    `images` (M, 2) are the sizes of the images.
    """
    hint = ""
    for some in (rows[:_SAMPLED_MASKS], rows):  # a few of them rule out nearly every file
        areas = np.array([content.entries.annotations[i].area for i in some.tolist()], np.float64)
        hint = _other_meaning(np.column_stack([box[some, :2], size[some]]), areas, images[some])
        if not hint:
            return False
    first = int(rows[0])
    shown = f"{list(content.entries.annotations[first].bbox)} and so on"
    if hint == _PIXELS:
        code, problem = "coco.bbox.looks_normalized", f"all boxes are shares of the image, not pixels: {shown}"
    else:
        code, problem = "coco.bbox.looks_like_corners", f"by their areas, all boxes are xmin, ymin, xmax, ymax: {shown}"
    place = Place(content.file.path, inside=f"{content.entries.place('annotations', first)}.bbox")
    content.notes.findings.append(Finding(code, "error", problem, place, hint, len(rows)))
    return True


def _other_meaning(values: Boxes, areas: NDArray[np.float64], images: NDArray[np.int32]) -> str:
    """What to do with all these values of `bbox` (N, 4), which mean something else; "" if they do not."""
    if len(values) < _FEWEST_BOXES:
        return ""
    shares = ((values >= 0) & (values <= 1)).all() and (values[:, 2:] > 0).all() and (values % 1).any()
    if shares and (images >= _LEAST_SIDE).all():
        return _PIXELS
    return _SIZES if _are_corners(values[:, :2], values[:, 2:], areas) else ""


def _are_corners(first: Boxes, second: Boxes, areas: NDArray[np.float64]) -> bool:
    """Whether all areas are those between two corners, and none is a product of width and height."""
    between = (second - first).prod(axis=1)
    with np.errstate(invalid="ignore"):
        corners = (second > first).all(axis=1) & (np.abs(between - areas) <= _SAME_AREA * areas)
        sizes = np.abs(second.prod(axis=1) - areas) <= _SAME_AREA * areas
    return bool(corners.all() and not sizes.any())


def _note_repeated_ids(content: CocoContent) -> None:
    """Warn of ids that two annotations share: both are read here, but other readers keep only the last."""
    entries = content.entries
    ids = np.fromiter(entries.column("id"), np.int64, len(entries.annotations))
    order = np.argsort(ids, kind="stable")
    same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    for first, second in zip(order[same].tolist(), order[same + 1].tolist(), strict=True):
        if ids[first] != -1:  # the id of annotations without a usable one
            problem = f"has the id {ids[first]} of {entries.place('annotations', first)}"
            hint = '`vocdet.convert(source, target, to="coco")` writes unique ids'
            content.warning("coco.annotation.id", problem, hint, entries.place("annotations", second))


def _present(column: list[Any]) -> list[tuple[int, Any]]:
    """Index and value of the entries of a column that have one."""
    if column.count(None) == len(column):
        return []
    return [(i, value) for i, value in enumerate(column) if value]


def _segmentation_column(content: CocoContent) -> Texts:
    """The segmentations that are neither missing nor empty, as JSON in COCO's notation."""
    raws = content.entries.column("segmentation")
    lengths = np.fromiter(map(len, raws), np.int64, len(raws))
    short = np.flatnonzero(lengths <= _LONGEST_EMPTY).tolist()
    empty = [i for i in short if bytes(raws[i]).strip(b" \t\r\n[]") in _EMPTY]
    whole = Texts(len(raws), np.flatnonzero(lengths), np.cumsum(lengths)[lengths > 0],
                  np.frombuffer(content.entries.segmentations(), np.uint8))  # fmt: skip
    changed = _in_other_notations(content, whole, frozenset(empty))
    if not changed and not any(lengths[i] for i in empty):
        return whole
    changed |= dict.fromkeys(empty, b"")
    return Texts.sparse(len(raws), {i: changed.get(i, text) for i, text in whole.items()})


def _in_other_notations(content: CocoContent, whole: Texts, empty: Container[int]) -> dict[int, bytes]:
    """The segmentations in other notations than COCO's, translated, by row; each notation is a finding.

    A file is the work of one program: lists of points, which begin like polygons, are looked for in a sample.
    """
    starts = np.concatenate([[0], whole.ends[:-1]]).astype(np.int64)[: len(whole.rows)]
    first, second = whole.data[starts], whole.data[np.minimum(starts + 1, len(whole.data) - 1)]
    compact = (first == ord("[")) & (second == ord("[")) | (first == ord("{"))
    raws = content.entries.column("segmentation")
    usual = whole.rows[compact]
    some = usual[:: max(1, len(usual) // _SAMPLED_MASKS)].tolist()
    rows = whole.rows if any(not is_usual(bytes(raws[i])) for i in some) else whole.rows[~compact]
    changed: dict[int, bytes] = {}
    notations: dict[str, list[int]] = {}
    for i in rows.tolist():
        if i not in empty and not is_usual(raw := bytes(raws[i])):
            text, notation = normalized(raw)
            if notation:
                changed[i] = text
                notations.setdefault(notation, []).append(i)
    for notation, found in notations.items():
        inside = f"{content.entries.place('annotations', found[0])}.segmentation"
        problem, hint = f"is {notation}, read as polygons", "COCO has a list of numbers for each polygon"
        place = Place(content.file.path, inside=inside)
        content.notes.findings.append(Finding("coco.segmentation", "warning", problem, place, hint, len(found)))
    return changed


def _flag_bits(entries: CocoEntries) -> NDArray[np.int8]:
    """(M,) the flags of every object, as bits."""
    flags = np.zeros(len(entries.annotations), np.int8)
    for name, bit in _KEY_FLAGS.items():
        values = entries.column(name)
        if values.count(None) + values.count(0) < len(values):
            flags |= bit * np.array([bool(value) for value in values], np.int8)
    return flags


def _poses(content: CocoContent, pose_ids: dict[str, int]) -> NDArray[np.int16]:
    """(M,) the number of every pose in `pose_ids`, which gains new poses up to the limit of a dataset."""
    entries = content.entries
    column = np.zeros(len(entries.annotations), np.int16)
    for i, text in _present(entries.column("pose")):
        name = "" if text.strip() == "Unspecified" else text.strip()
        if name not in pose_ids and len(pose_ids) > MOST_POSES:
            problem = f"exceeds the limit of {MOST_POSES} different poses: this and later ones are ignored"
            hint = "rename the key if every object has a different value"
            content.error("coco.pose", problem, hint, f"{entries.place('annotations', i)}.pose")
            break
        column[i] = pose_ids.setdefault(name, len(pose_ids))
    return column
