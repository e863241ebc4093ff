"""One image of a dataset for the page: its objects, detections, masks, and the command that corrects it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.evaluation.errors import CORRECT, UNCOUNTED
from vocdet.viewing.table import FLAGS, Predictions, ViewTable

MOST_SHOWN = 40  # objects, and detections, over a thumbnail
MOST_DETECTIONS = 300  # of an image
LOWEST = np.float32(0.05)  # score of a detection that is below the threshold


def describe(table: ViewTable, row: int, *, whole: bool = False) -> dict[str, Any]:
    """An image for JSON; the `whole` of it with masks, flags, low scores and paths, else what a thumbnail shows."""
    dataset, found = table.dataset, table.predictions
    images, objects = dataset.images, dataset.objects
    first, last = table.first_objects[row : row + 2].tolist()
    mine = range(first, last if whole else min(last, first + MOST_SHOWN))
    item: dict[str, Any] = {
        "row": row, "name": images.files[row], "width": int(images.widths[row]), "height": int(images.heights[row]),
        "count": last - first, "errors": int(table.error_counts[row]),
        "objects": [
            {"label": int(objects.label[i]), "box": _sides(objects.box[i]),
             "missed": bool(found.missed[i]) if found else False}
            for i in mine
        ],
        "detections": _detections(found, row, whole=whole) if found else [],
        "looked": bool(found.images[row]) if found else False,
    }  # fmt: skip
    if whole:
        for i, one in zip(mine, item["objects"], strict=True):
            one["flags"] = [name for name in FLAGS if getattr(objects, name)[i]]
            one["mask"] = _outline(objects.segmentation[i], item["height"], item["width"])
        path, source = image_path(dataset, row), images.sources[row]
        item |= {"path": str(path), "source": str(dataset.root.absolute() / source) if source else ""}
        item["command"] = _command(path, source, dataset)
        item["splits"] = [name for name, rows in dataset.splits.items() if (rows == row).any()]
    return item


def image_path(dataset: Dataset, row: int) -> Path:
    """The file of an image."""
    return dataset.root.absolute() / dataset.images.files[row]


def _detections(found: Predictions, row: int, *, whole: bool) -> list[dict[str, Any]]:
    first, last = found.firsts[row : row + 2].tolist()
    rows = np.arange(first, last)
    counted = found.kind[rows] != UNCOUNTED
    rows = rows[(counted | (found.table.score[rows] >= LOWEST)) if whole else counted]
    rows = rows[np.argsort(-found.table.score[rows], kind="stable")][: MOST_DETECTIONS if whole else MOST_SHOWN]
    return [_detection(found, i, whole=whole) for i in rows.tolist()]


def _detection(found: Predictions, i: int, *, whole: bool) -> dict[str, Any]:
    table, kind = found.table, int(found.kind[i])
    one: dict[str, Any] = {
        "label": int(table.label[i]), "box": _sides(table.box[i]), "score": float(str(table.score[i])), "kind": kind,
        "correct": kind == CORRECT,
    }  # fmt: skip
    if whole and table.mask is not None:
        one["mask"] = _outline(table.mask[i])
    return one


def _sides(box: NDArray[np.float64]) -> list[float]:
    return [round(side, 1) for side in box.tolist()]


def _outline(segmentation: bytes, height: int = 0, width: int = 0) -> list[list[float]]:
    """The polygons (x1, y1, x2, y2, ...) of a mask, the rings of its holes among them; empty without a valid one."""
    if not segmentation:
        return []
    try:
        mask = masks.parse(segmentation)
        if not isinstance(mask, masks.Rle):
            return mask
        pixels = masks.pixels(mask, height or mask.height, width or mask.width)
    except masks.MaskError:
        return []
    contours = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
    return [(contour.reshape(-1) + 0.5).tolist() for contour in contours if len(contour) > 2]


def _command(path: Path, source: str, dataset: Dataset) -> str:
    """The command that opens an image in labelImg, with its annotation; "" where labelImg does not write its format."""
    if source and not source.lower().endswith((".xml", ".txt")):
        return ""
    folder = (dataset.root.absolute() / source).parent if source else path.parent
    names = next((one for one in ("classes.txt", "labels.txt") if (dataset.root / one).is_file()), "")
    lists = str(dataset.root.absolute() / names) if names else ""  # labelImg takes "" for no list
    return shlex.join(["labelImg", str(path), lists, str(folder)])
