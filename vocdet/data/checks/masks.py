"""Checks of masks and areas."""

from __future__ import annotations

import numpy as np

from vocdet import masks
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, Severity, object_place, object_text
from vocdet.data.mask_areas import MaskAreas, mask_areas
from vocdet.wording import quoted

_THIN = 1.2  # pixels: polygons that are wider on average cover some
_REDRAW = "draw it again, or delete it"


def mask_findings(dataset: Dataset, measured: MaskAreas | None = None) -> list[Finding]:
    """Invalid masks, masks without pixels or of a wrong size, and impossible areas.

    `measured` is the result of `mask_areas` for the dataset, if it is known.
    """
    findings: list[Finding] = []
    objects, images = dataset.objects, dataset.images
    mask_facts = measured or mask_areas(objects.segmentation)

    def note(code: str, severity: Severity, problem: str, row: int, hint: str) -> None:
        text = f"the mask of {quoted(dataset.labels[objects.label[row]])} {problem}"
        findings.append(Finding(code, severity, text, object_place(dataset, row), hint))

    for row, error in mask_facts.errors.items():
        note(f"mask.{error.code}", "error", str(error), row, _REDRAW)
    for row, (height, width) in mask_facts.sizes.items():
        image = objects.image[row]
        if (height, width) != (images.heights[image], images.widths[image]):
            problem = f"is {width}×{height}, its image {images.widths[image]}×{images.heights[image]}"
            note("mask.size", "error", problem, row, "export it again")
        elif not mask_facts.area[row]:
            note("mask.empty", "warning", "has no pixel", row, _REDRAW)
    longest = (objects.box[:, 2:] - objects.box[:, :2]).max(axis=1, initial=0)
    for row in np.flatnonzero(mask_facts.area < _THIN * longest).tolist():  # NaN without a valid mask
        if row not in mask_facts.sizes and not _draws(dataset, row):
            note("mask.empty", "warning", "has no pixel: its points are on a line, or nearly", row, _REDRAW)
    for row in _outside_rows(dataset, mask_facts):
        note("mask.empty", "warning", "has no pixel in its image", row, _REDRAW)
    polygons = objects.crowd & (mask_facts.area >= 0)
    polygons[list(mask_facts.sizes)] = False
    for row in np.flatnonzero(polygons).tolist():
        hint = "COCO's own crowds are RLEs, and some tools require that"
        note("mask.crowd_polygon", "warning", "is a crowd with polygons", row, hint)
    return findings + _area_findings(dataset)


def _draws(dataset: Dataset, row: int) -> bool:
    """Whether the polygons of an object have an area and cover a pixel; true where its box is too small for that."""
    if np.subtract(dataset.objects.box[row, 2:], dataset.objects.box[row, :2]).min() < 1:
        return True  # has its own finding
    segmentation = masks.parse(dataset.objects.segmentation[row])
    if isinstance(segmentation, masks.Rle):
        return True
    polygons = [np.reshape(polygon, (-1, 2)) for polygon in segmentation]
    start = np.floor(np.concatenate(polygons).min(axis=0))
    width, height = np.ceil(np.concatenate(polygons).max(axis=0) - start).tolist()
    if width * height > masks.MOST_PIXELS:
        return True
    moved = [(polygon - start).ravel().tolist() for polygon in polygons]
    return masks.area(segmentation) > 0 and bool(masks.pixels(moved, int(height), int(width)).any())


def _outside_rows(dataset: Dataset, measured: MaskAreas) -> list[int]:
    """The rows of polygons without a pixel in their images."""
    images, image = dataset.images, dataset.objects.image
    sizes = np.stack([images.widths[image], images.heights[image]], axis=1)  # (M, 2)
    with np.errstate(invalid="ignore"):  # NaN for other masks
        outside = (measured.bounds[:, 2:] <= 0).any(axis=1) | (measured.bounds[:, :2] >= sizes).any(axis=1)
    return np.flatnonzero(outside).tolist()


def _area_findings(dataset: Dataset) -> list[Finding]:
    objects = dataset.objects
    box_area = (objects.box[:, 2:] - objects.box[:, :2]).prod(axis=1)  # (M,)
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero((objects.area <= 0) & (box_area > 0) | (objects.area > 2 * box_area + 4))
    hint = "evaluation takes small, medium and large from it: delete it, and it is computed from the mask"
    findings = []
    for row in wrong:
        problem = (
            f"the area of {object_text(dataset, row)[len('the box of ') :]} is {objects.area[row]:g}, its box has "
        )
        place = object_place(dataset, row)
        findings.append(Finding("area.wrong", "warning", f"{problem}{box_area[row]:g}", place, hint))
    return findings
