"""What training and evaluation use: boxes clipped to their images, without invalid objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, image_size_text, object_place, object_text

SMALLEST_SIDE = 1.0  # pixels; smaller boxes are useless for training


def usable(dataset: Dataset) -> tuple[Dataset, tuple[Finding, ...]]:
    """The dataset to train and evaluate with: boxes clipped to their images, without those smaller than a pixel.

    No image is removed, even if it has no objects left. Every change is a warning.
    """
    objects = dataset.objects
    clipped = clip_to_images(dataset)
    cut = np.flatnonzero((clipped != objects.box).any(axis=1))
    side = (clipped[:, 2:] - clipped[:, :2]).min(axis=1, initial=np.inf)  # (M,)
    keep = side >= SMALLEST_SIDE
    findings = []
    for row in np.union1d(cut, np.flatnonzero(~keep)):
        change = "clipped to" if keep[row] else "left out: less than a pixel wide or high in"
        problem = f"{object_text(dataset, row)} is {change} the image, {image_size_text(dataset, row)}"
        code = "box.clipped" if keep[row] else "box.left_out"
        findings.append(Finding(code, "warning", problem, object_place(dataset, row)))
    if not findings:
        return dataset, ()
    return replace(dataset, objects=replace(objects, box=clipped)).select_objects(keep), tuple(findings)


def clip_to_images(dataset: Dataset) -> Boxes:
    """(M, 4) boxes clipped to their images; a box outside its image has no area left."""
    image = dataset.objects.image
    limits = np.stack([dataset.images.widths[image], dataset.images.heights[image]] * 2, axis=1)  # (M, 4)
    return np.clip(dataset.objects.box, 0, limits.astype(np.float64))
