"""A `Dataset` as a labelme folder: a JSON file beside each image, in a folder for each split."""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss
from vocdet.data.rotated import ANGLE, CORNERS, corners_in
from vocdet.files import write_new
from vocdet.formats.images.lookup import split_suffix
from vocdet.formats.images.split_folders import folder_losses, split_paths
from vocdet.formats.labelme.file import FILE_KEYS
from vocdet.formats.labelme.shapes import SHAPE_KEYS
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.builder import FLAGS
from vocdet.formats.shared.plain_losses import OTHER_BOX

LABEL_LIST = "labels.txt"  # labelme's own, for its option --labels
LABELME_VERSION = "5.5.0"  # of the file format, which labelme checks

_POSES = "poses"
_AREAS = "areas"
_INVALID_MASKS = "invalid masks"
_KEYS = "extras whose names labelme uses otherwise"
_WHY = {
    _INVALID_MASKS: "their boxes are written",
    OTHER_BOX: "the mask says where the object is",
    _POSES: "such as Left or Frontal",
    _AREAS: "where they differ from those of the masks or boxes",
    _KEYS: "",
}


def image_targets(dataset: Dataset) -> tuple[str, ...]:
    """The paths of the images: <split>/<stem><suffix>, or <stem><suffix> without splits."""
    return split_paths(dataset)


def write(
    folder: Path,
    dataset: Dataset,
    targets: Sequence[str],
    areas: NDArray[np.float64],
    *,
    coordinates: Coordinates | None = None,  # noqa: ARG001 as in every format
) -> list[Loss]:
    """Write a JSON file for every image, and labels.txt if the labels are not those of the objects, sorted.

    Returns what labelme cannot hold.

    An object is a rectangle, polygons of one group, a mask, or a rotation as in X-AnyLabeling. Flags are those of the
    shape; extras are keys of it, which labelme keeps when it saves the file.
    """
    objects, images = dataset.objects, dataset.images
    losses: Counter[str] = Counter()
    box_area = (objects.box[:, 2:] - objects.box[:, :2]).prod(axis=1)
    usual = np.where(np.isnan(areas), box_area, areas)
    losses[_AREAS] = int((np.abs(objects.area - usual) > 1e-6 * np.maximum(usual, 1)).sum())  # NaN: none is stated
    losses[_POSES] = int((objects.pose > 0).sum())
    ends = np.searchsorted(objects.image, np.arange(len(dataset)), "right").tolist()
    first, made = 0, {""}
    for row, (target, end) in enumerate(zip(targets, ends, strict=True)):
        size = int(images.widths[row]), int(images.heights[row])
        whole: dict[str, Any] = {
            "version": LABELME_VERSION,
            "flags": {},
            "shapes": _shapes(dataset, range(first, end), size, areas, losses),
        }
        whole |= {"imagePath": target.rpartition("/")[2], "imageData": None}
        whole |= {"imageHeight": size[1], "imageWidth": size[0]}
        whole |= _without(_decoded_extra(images.extra[row]), FILE_KEYS, losses)
        text = json.dumps(whole, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace")
        write_new(f"{folder}/{split_suffix(target)[0]}.json", text, made)
        first = end
    if list(dataset.labels) != sorted(dataset.labels[label] for label in np.unique(objects.label)):
        write_new(f"{folder}/{LABEL_LIST}", "".join(f"{label}\n" for label in dataset.labels).encode(), made)
    found = [Loss(what, losses[what], why) for what, why in _WHY.items() if losses[what]]
    if dataset.extra not in (b"", b"{}"):
        found.append(Loss("extras of the dataset", 1, "such as COCO's info"))
    return [*found, *folder_losses(dataset)]


def _shapes(
    dataset: Dataset, rows: range, size: tuple[int, int], areas: NDArray[np.float64], losses: Counter[str]
) -> list[dict[str, Any]]:
    """The shapes of one image of this size (width, height); several of one object share a new group."""
    objects = dataset.objects
    extras = [_decoded_extra(objects.extra[row]) for row in rows]
    taken = {extra["group_id"] for extra in extras if isinstance(extra.get("group_id"), int)}
    used: set[tuple[int, str]] = set()  # label and group
    shapes = []
    for row, extra in zip(rows, extras, strict=True):
        drawn = _drawn(dataset, row, size, extra, valid=not math.isnan(areas[row]), losses=losses)
        key = int(objects.label[row]), str(extra.get("group_id"))
        group = extra.get("group_id")
        if key in used or (group is None and len(drawn) > 1):  # shapes of one label and group are one object
            group = max(taken, default=0) + 1 if len(drawn) > 1 else None
            taken |= {group} if group is not None else set()
        used |= {key} if group is not None else set()
        flags = {name: True for name in FLAGS if getattr(objects, name)[row]}
        attributes = extra.pop("attributes", None)
        attributes = attributes if isinstance(attributes, dict) else {}
        flags |= {name: value for name, value in attributes.items() if isinstance(value, bool)}
        others = {name: value for name, value in attributes.items() if not isinstance(value, bool)}
        more = {"description": extra.pop("description", ""), "flags": flags, "group_id": group}
        more |= {"attributes": others} if others else {}
        extra.pop("group_id", None)
        more |= _without(extra, SHAPE_KEYS, losses)
        for i, shape in enumerate(drawn):
            begin = {"label": dataset.labels[objects.label[row]]} | shape
            shapes.append(begin | (more if i == 0 else {"group_id": group, "flags": {}}))
    return shapes


def _drawn(
    dataset: Dataset, row: int, size: tuple[int, int], extra: dict[str, Any], *, valid: bool, losses: Counter[str]
) -> list[dict[str, Any]]:
    """What labelme draws for one object: shape_type, points and mask of every shape."""
    box, text = dataset.objects.box[row].tolist(), dataset.objects.segmentation[row]
    corners = corners_in(extra)
    if valid:
        segmentation = masks.parse(text)
        if isinstance(segmentation, masks.Rle):
            if (segmentation.width, segmentation.height) == size and segmentation.area:
                bounds, shape = _mask(segmentation)
                losses[OTHER_BOX] += not np.allclose(bounds, box, rtol=0, atol=1e-6)
                return [shape]
        else:
            losses[OTHER_BOX] += not np.allclose(masks.bounds(segmentation) or (), box, rtol=0, atol=1e-6)
            return [{"points": _point_pairs(polygon), "shape_type": "polygon"} for polygon in segmentation]
    losses[_INVALID_MASKS] += bool(text)
    if corners is not None and not text:
        del extra[CORNERS]
        direction = math.radians(extra.pop(ANGLE))
        return [{"points": _point_pairs(corners), "shape_type": "rotation", "direction": direction}]
    return [{"points": _point_pairs(box), "shape_type": "rectangle"}]


def _mask(rle: masks.Rle) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The bounds of a mask that has pixels, and its shape: a PNG of the pixels inside them."""
    counts = np.array(rle.counts, np.int64)
    bounds = masks.counts_bounds(counts, rle.height)
    assert bounds is not None
    xmin, ymin, xmax, ymax = bounds
    file = io.BytesIO()
    Image.fromarray(masks.window(counts, rle.height, bounds)).save(file, "PNG")
    png = base64.b64encode(file.getvalue()).decode()
    return bounds, {"points": [[xmin, ymin], [xmax - 1, ymax - 1]], "shape_type": "mask", "mask": png}


def _point_pairs(numbers: Sequence[float]) -> list[list[float]]:
    return [[x, y] for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def _float(text: str) -> float | str:
    """A number, or its text where JSON could not hold it again."""
    value = float(text)
    return value if math.isfinite(value) else text


def _decoded_extra(extra: bytes) -> dict[str, Any]:
    decoded = json.loads(extra, parse_float=_float) if extra else {}
    return decoded if isinstance(decoded, dict) else {}


def _without(extra: dict[str, Any], keys: Iterable[str], losses: Counter[str]) -> dict[str, Any]:
    """The extras that can be separate keys."""
    losses[_KEYS] += len(extra.keys() & frozenset(keys))
    return {name: value for name, value in extra.items() if name not in keys}
