"""Checks of boxes: without area, outside their images, too small, duplicated."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes, area
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, Severity, image_size_text, object_place, object_text
from vocdet.data.source_terms import terms_of
from vocdet.wording import quoted

SMALLEST_SIDE = 1.0  # pixels; smaller boxes are useless for training
SMALLEST_DRAWN = 4.0  # pixels; a box shorter than this both ways comes from a slip of the mouse
NEAR = 0.9  # from this IoU on, two boxes of a label count as the same object drawn twice

_CHUNK = 20_000  # objects that are compared together: bounds the memory
_MOST_NEIGHBORS = 100  # compared with each box: bounds the time for thousands of boxes in one place


def box_findings(dataset: Dataset) -> list[Finding]:
    """Boxes without area, outside their image, tiny, duplicated, nearly duplicated, or with two labels."""
    return [*shape_findings(dataset), *_duplicates(dataset), *_near_duplicates(dataset)]


def shape_findings(dataset: Dataset) -> list[Finding]:
    """Boxes without area, outside their image, or tiny: all errors of boxes are among them."""
    objects = dataset.objects
    size = objects.box[:, 2:] - objects.box[:, :2]  # (M, 2)
    beyond = pixels_outside(dataset)
    shortest, longest = size.min(axis=1, initial=np.inf), size.max(axis=1, initial=0)
    findings = []
    for row in np.flatnonzero((shortest < SMALLEST_SIDE) | (beyond > 0) | (longest < SMALLEST_DRAWN)):
        text, place = object_text(dataset, row), object_place(dataset, row)
        terms = terms_of(dataset, objects.image[row])
        if shortest[row] <= 0:
            problem = f"{text} has no area"
            findings.append(Finding("box.zero_area", "error", problem, place, terms.redraw))
        elif beyond[row] > 0:
            severity: Severity = "error" if beyond[row] > 1 else "warning"
            problem = f"{text} reaches {beyond[row]:.4g} px beyond its image, {image_size_text(dataset, row)}"
            hint = f"redraw it; if many do, the {terms.file} may belong to another size or to another image"
            findings.append(Finding("box.out_of_image", severity, problem, place, hint))
        elif shortest[row] < SMALLEST_SIDE:
            problem = f"{text} is less than a pixel wide or high"
            findings.append(
                Finding("box.tiny", "warning", problem, place, f"it is not used: delete its {terms.object}")
            )
        else:
            problem = f"{text} is {size[row, 0]:.4g}×{size[row, 1]:.4g} px"
            hint = f"{terms.redraw}: it may be a slip of the mouse"
            findings.append(Finding("box.tiny", "warning", problem, place, hint))
    return findings


def pixels_outside(dataset: Dataset) -> NDArray[np.float64]:
    """(M,) how far every box extends beyond its image, in pixels; computed by column to save memory."""
    objects, images = dataset.objects, dataset.images
    beyond = np.zeros(len(objects))
    for side, limits in enumerate((images.widths, images.heights) * 2):
        value = objects.box[:, side]
        np.maximum(beyond, np.maximum(-value, value - limits[objects.image]), out=beyond)
    return beyond


def _duplicates(dataset: Dataset) -> list[Finding]:
    objects = dataset.objects
    columns = (objects.image, *objects.box.T)
    order = np.lexsort(columns)
    repeated = np.ones(max(len(order) - 1, 0), np.bool_)
    for column in columns:  # one by one, to save memory
        ordered = column[order]
        repeated &= ordered[1:] == ordered[:-1]
    same = np.flatnonzero(repeated)
    findings = []
    for first, second in zip(order[same], order[same + 1], strict=True):
        one, other = (dataset.labels[objects.label[row]] for row in (first, second))
        place, text = object_place(dataset, second), object_text(dataset, second)
        where = _spot(dataset, first)
        if one == other:
            problem, hint = f"{text} is there twice, see {where}", "delete one of the two"
            findings.append(Finding("box.duplicate", "warning", problem, place, hint))
        else:
            problem, hint = f"{text} is also a {quoted(one)}, see {where}", "delete the wrong one"
            findings.append(Finding("box.two_labels", "warning", problem, place, hint))
    return findings


def _near_duplicates(dataset: Dataset) -> list[Finding]:
    findings = []
    for first, second, iou in near_twins(dataset):
        like = f"{int(100 * iou) / 100:.2f}".lstrip("0")  # rounded down, never to 1.00
        text = f"{object_text(dataset, second)} is nearly that of {_spot(dataset, first)} (IoU {like})"
        hint = "delete one if both are the same object"
        findings.append(Finding("box.near_duplicate", "warning", text, object_place(dataset, second), hint))
    return findings


def near_twins(dataset: Dataset) -> list[tuple[int, int, float]]:
    """Pairs of rows of one label in one image whose boxes have an IoU of at least `NEAR`, with that IoU.

    Every object is the second of at most one pair, with the first object it resembles. Identical boxes, boxes without
    area and crowds are excluded.
    """
    image = dataset.objects.image  # in ascending order
    cuts = [0, *np.searchsorted(image, image[_CHUNK::_CHUNK]).tolist(), len(image)]  # between images
    return [pair for start, stop in pairwise(cuts) for pair in _near_twins_within(dataset, slice(start, stop))]


def _near_twins_within(dataset: Dataset, chunk: slice) -> list[tuple[int, int, float]]:
    """The pairs of `near_twins` among consecutive objects."""
    objects = dataset.objects
    boxes = objects.box[chunk]
    rows = np.flatnonzero(~objects.crowd[chunk] & (area(boxes) > 0))
    group = objects.image[chunk][rows].astype(np.int64) * len(dataset.labels) + objects.label[chunk][rows]
    order = np.lexsort((boxes[rows, 0], group))
    rows, group = rows[order], group[order]
    box = boxes[rows]  # in each group from left to right
    # where a twin further right must begin; a little more, as 1 - .9 is a little less than .1
    reach = box[:, 0] + (1 - NEAR + 1e-9) * (box[:, 2] - box[:, 0])
    first = np.full(len(boxes), len(boxes))  # of every object: the first one that it resembles
    alike = np.zeros(len(boxes))  # IoU with that
    at = np.arange(len(rows))
    for step in range(1, _MOST_NEIGHBORS + 1):
        at = at[: np.searchsorted(at, len(rows) - step)]
        at = at[(group[at] == group[at + step]) & (box[at + step, 0] <= reach[at])]
        if not len(at):
            break
        iou = _paired_iou(box[at], box[at + step])
        twin = np.flatnonzero((iou >= NEAR) & (box[at] != box[at + step]).any(axis=1))
        pair = np.sort(np.stack([rows[at[twin]], rows[at[twin] + step]], axis=1), axis=1)  # (P, 2) earlier, later
        for one in (0, 1):  # an object is in two pairs of a step at most, as the right and as the left one
            some = (rows[at[twin]] == pair[:, one]) & (pair[:, 0] < first[pair[:, 1]])
            first[pair[some, 1]], alike[pair[some, 1]] = pair[some, 0], iou[twin[some]]
    start = chunk.start
    return [(start + int(first[row]), start + int(row), float(alike[row])) for row in np.flatnonzero(alike)]


def _paired_iou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """(P,) the IoU of row i of `a` with row i of `b`; all have area."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    return np.asarray(shared / (area(a) + area(b) - shared), np.float64)


def _spot(dataset: Dataset, row: int | np.intp) -> str:
    """Where an object is in its file, for a reader of that file."""
    line = int(dataset.objects.line[row])
    return f"{dataset.entries}[{line - 1}]" if dataset.entries else f"line {line}"
