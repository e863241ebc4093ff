"""What of a dataset can be used: the one place that says what is left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.checks.boxes import SMALLEST_SIDE, pixels_outside, shape_findings
from vocdet.data.checks.masks import mask_findings
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, image_size_text, object_place, object_text
from vocdet.data.mask_areas import mask_areas
from vocdet.data.texts import Texts
from vocdet.errors import raise_all
from vocdet.wording import counted, listed

_Target = Literal["image", "object", "mask", "line"]

# By the beginning of its code, what an error with a line concerns; without a line it concerns the whole image.
_WHOLE_FILE = ("xml.", "json.", "image.", "voc.size.")
_NOT_DATA = ("imagesets.", "yolo.list.", "yolo.names.", "yolo.yaml.", "coco.")  # outside of entries


def usable(dataset: Dataset) -> tuple[Dataset, tuple[Finding, ...]]:
    """The dataset to train and evaluate with: boxes clipped to their images, without those smaller than a pixel.

    No image is removed, even if it has no objects left. Every change is a warning.
    """
    objects = dataset.objects
    clipped = clip_to_images(dataset)
    cut = np.flatnonzero((clipped != objects.box).any(axis=1))
    keep = _shorter_sides(clipped) >= SMALLEST_SIDE
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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was left out of a dataset because of errors, and the errors."""

    errors: tuple[Finding, ...] = ()
    images: int = 0  # with all their objects
    objects: int = 0  # of other images
    masks: int = 0  # of objects that remain
    clipped: int = 0  # boxes that remain, clipped to their images

    def __bool__(self) -> bool:
        return bool(self.errors)

    def __str__(self) -> str:
        """In words, as in "2 images and 1 object"; "" if all errors are in split files, label lists and the like."""
        counts = (self.images, "image"), (self.objects, "object"), (self.masks, "mask")
        return listed((counted(*one) for one in counts if one[0]), conjunction="and")

    def as_dict(self) -> dict[str, object]:
        """The content of a JSON file."""
        counts = {name: getattr(self, name) for name in ("images", "objects", "masks", "clipped")}
        errors = [{"code": one.code, "place": str(one.place), "problem": one.problem} for one in self.errors]
        return counts | {"errors": errors}

    def __add__(self, other: LeftOut) -> LeftOut:
        """What was left out of two datasets."""
        counts = (getattr(self, name) + getattr(other, name) for name in ("images", "objects", "masks", "clipped"))
        return LeftOut(self.errors + other.errors, *counts)


NOTHING = LeftOut()


def all_errors(dataset: Dataset, findings: Sequence[Finding]) -> list[Finding]:
    """The errors of a dataset as it was read, of its reader and of its boxes and masks: what `check` calls errors.

    Only broken pixels are missing, which show when images are decoded.
    """
    comparable = without_mismatched(dataset, findings)
    every = [*findings, *shape_findings(comparable), *mask_findings(dataset)]
    return [finding for finding in every if finding.severity == "error"]


def without_mismatched(dataset: Dataset, findings: Sequence[Finding]) -> Dataset:
    """The dataset without the objects of images that have another size than their annotation says.

    That is an error of the image; errors of their boxes would only follow from it.
    """
    paths = {one.place.path for one in findings if (one.code, one.severity) == ("image.size_mismatch", "error")}
    if not paths:
        return dataset
    rows = [row for row, file in enumerate(dataset.images.files) if dataset.root / file in paths]
    return dataset.select_objects(~np.isin(dataset.objects.image, rows))


def refuse(dataset: Dataset, errors: Sequence[Finding]) -> None:
    """Raise the errors together, with the argument that leaves out what they concern; return if there are none."""
    if not errors:
        return
    rest, left_out = without_errors(dataset, errors)
    steps = [f"leaves out {left_out}"] if str(left_out) else []
    steps += [f"clips {counted(left_out.clipped, 'box', 'boxes')}"] if left_out.clipped else []
    steps = [*(steps or ["leaves out what they concern"]), "uses the rest"]
    remedy = f"`skip_bad=True` {listed(steps, conjunction='and')}"
    raise_all([finding.as_error() for finding in errors], remedy=remedy if len(rest.objects) else "")


def without_errors(dataset: Dataset, errors: Sequence[Finding]) -> tuple[Dataset, LeftOut]:
    """The dataset without what has an error, and what that is. Its readers have left out what they could not read.

    Left out are images whose file or annotation is broken, objects without area or outside their image, and invalid
    masks of objects that remain. A box that is only partly outside its image is clipped to it.
    """
    if not errors:
        return dataset, NOTHING
    dataset, masks = _without_invalid_masks(dataset)
    dataset, clipped = _without_invalid_boxes(dataset)
    targets: dict[_Target, Counter[tuple[Path, str]]] = {"image": Counter(), "object": Counter(), "mask": Counter()}
    for finding in errors:
        if (target := _target(finding)) in targets:
            key = finding.place.path, finding.place.inside.partition("]")[0] or str(finding.place.line or "")
            targets[target][key] = max(targets[target][key], finding.count)
    broken = {path for path, _ in targets["image"]}
    rows = [row for row, paths in enumerate(_files_of_images(dataset)) if not broken.isdisjoint(paths)]
    kept = np.setdiff1d(np.arange(len(dataset)), rows)
    objects = max(0, sum(targets["object"].values()) - clipped)
    left_out = LeftOut(
        tuple(errors), sum(targets["image"].values()), objects, max(masks, len(targets["mask"])), clipped
    )
    return dataset.subset(kept) if rows else dataset, left_out


def _target(finding: Finding) -> _Target:
    """What an error makes unusable."""
    code, inside, line = finding.code, finding.place.inside, finding.place.line
    if code.startswith("mask."):
        return "mask"
    if inside.startswith(("annotations[", "shapes[")):
        return "object"
    if inside.startswith("images[") and code != "coco.image.twice":
        return "image"
    if code.startswith(_NOT_DATA):
        return "line"
    return "object" if line and not code.startswith(_WHOLE_FILE) else "image"


def _files_of_images(dataset: Dataset) -> list[set[Path]]:
    """The files of every image: its own, and its annotation unless that describes other images as well."""
    images, root = dataset.images, dataset.root
    shared = Counter(images.sources)
    return [
        {root / file} | ({root / source} if source and shared[source] == 1 else set())
        for file, source in zip(images.files, images.sources, strict=True)
    ]


def _without_invalid_boxes(dataset: Dataset) -> tuple[Dataset, int]:
    """The dataset with boxes inside their images, and how many were clipped; those without area are left out."""
    objects, outside = dataset.objects, pixels_outside(dataset) > 1
    box = np.where(outside[:, None], clip_to_images(dataset), objects.box)
    sides = _shorter_sides(box)
    keep = np.where(outside, sides >= SMALLEST_SIDE, sides > 0)
    clipped = int((outside & keep).sum())
    if keep.all() and not clipped:
        return dataset, 0
    return replace(dataset, objects=replace(objects, box=box)).select_objects(keep), clipped


def _without_invalid_masks(dataset: Dataset) -> tuple[Dataset, int]:
    """The dataset without masks that are none or have another size than their image, and how many these were."""
    objects, images = dataset.objects, dataset.images
    measured = mask_areas(objects.segmentation)
    invalid = set(measured.errors)
    for row, size in measured.sizes.items():
        image = objects.image[row]
        if size != (images.heights[image], images.widths[image]):
            invalid.add(row)
    if not invalid:
        return dataset, 0
    masks = {row: text for row, text in objects.segmentation.items() if row not in invalid}
    return replace(dataset, objects=replace(objects, segmentation=Texts.sparse(len(objects), masks))), len(invalid)


def _shorter_sides(box: Boxes) -> NDArray[np.float64]:
    return np.asarray((box[:, 2:] - box[:, :2]).min(axis=1, initial=np.inf))  # (M,)
