"""A `Dataset` as a YOLO folder: images/train, labels/train and so on, and a data.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss
from vocdet.data.usable import clip_to_images
from vocdet.errors import AnnotationError
from vocdet.files import write_new
from vocdet.formats.images.lookup import split_suffix
from vocdet.formats.images.split_folders import SPLITS, folder_losses, split_paths
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.plain_losses import plain_losses

PIXEL_DECIMALS = 6  # of a box, written and read
DECIMALS = 12  # of a fraction; fewer would lose millionths of a pixel

_SMALLEST = 5e-7  # pixels; a narrower box has no area after rounding
_NOT_PLAIN = re.compile("[\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")  # YAML needs these escaped


def image_targets(dataset: Dataset) -> tuple[str, ...]:
    """The paths of the images: images/<split>/<stem><suffix>, or images/<stem><suffix> without splits."""
    return tuple(f"images/{path}" for path in split_paths(dataset))


def write(
    folder: Path,
    dataset: Dataset,
    targets: Sequence[str],
    areas: NDArray[np.float64],  # noqa: ARG001 as in every format
    *,
    coordinates: Coordinates | None = None,  # noqa: ARG001 as in every format
) -> list[Loss]:
    """Write a label file for every image, and data.yaml; return what these cannot hold.

    A label file has the path of its image, with labels/ for images/ and .txt for the suffix. Boxes are clipped to
    their images, because other tools refuse rows, or even files, with boxes outside; boxes without area in the image
    are left out. Raises an `AnnotationError` if the size of an image is unknown.
    """
    sizes = image_sizes(dataset)
    objects = dataset.objects
    boxes, keep = written_boxes(dataset)
    rows = _label_lines(boxes[keep], objects.label[keep], sizes[objects.image[keep]])
    write_label_files(folder, dataset, targets, rows, objects.image[keep])
    masks = Loss("masks", len(objects.segmentation.rows), "only their boxes are written; yolo-seg holds polygons")
    return [
        *_box_losses(dataset, keep),
        *([masks] if masks.count else []),
        *plain_losses(dataset),
        *folder_losses(dataset, "images/"),
    ]


def image_sizes(dataset: Dataset) -> NDArray[np.float64]:
    """(N, 2) width and height of every image; an `AnnotationError` if one is unknown."""
    sizes = np.stack([dataset.images.widths, dataset.images.heights], axis=1).astype(np.float64)
    unknown = np.flatnonzero((sizes <= 0).any(axis=1))
    if len(unknown):
        place = dataset.root / dataset.images.files[unknown[0]]
        hint = "YOLO boxes are fractions of it: restore the image"
        raise AnnotationError("the size of this image is unknown", place=place, hint=hint)
    return sizes


def written_boxes(dataset: Dataset) -> tuple[Boxes, NDArray[np.bool_]]:
    """The boxes (M, 4) clipped to their images, and which of them (M,) have an area that can be written."""
    boxes = np.round(clip_to_images(dataset), PIXEL_DECIMALS)
    return boxes, (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= _SMALLEST


def write_label_files(
    folder: Path, dataset: Dataset, targets: Sequence[str], rows: Sequence[str], image: NDArray[np.int32]
) -> None:
    """Write the rows of all objects to the files of their images, whose rows `image` (M,) has, and data.yaml."""
    ends = np.searchsorted(image, np.arange(len(dataset)), "right").tolist()
    first, made = 0, {""}
    for target, end in zip(targets, ends, strict=True):
        source = "labels" + split_suffix(target)[0].removeprefix("images") + ".txt"
        write_new(f"{folder}/{source}", "".join(rows[first:end]).encode(), made)
        first = end
    write_new(f"{folder}/data.yaml", _yaml(dataset, targets).encode(), made)


def _label_lines(boxes: Boxes, labels: NDArray[np.int32], sizes: NDArray[np.float64]) -> list[str]:
    center = (boxes[:, :2] + boxes[:, 2:]) / 2 / sizes
    size = (boxes[:, 2:] - boxes[:, :2]) / sizes
    fractions = np.concatenate([center, size], axis=1).tolist()
    return [
        f"{label} {fraction(cx)} {fraction(cy)} {fraction(w)} {fraction(h)}\n"
        for label, (cx, cy, w, h) in zip(labels.tolist(), fractions, strict=True)
    ]


def fraction(value: float) -> str:
    """A fraction of an image as text."""
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _yaml(dataset: Dataset, targets: Sequence[str]) -> str:
    folders = {target.split("/")[1] for target in targets if target.count("/") > 1}
    splits = [split for split in SPLITS if split in folders]
    lines = [f"{split}: images/{split}" for split in splits]
    if not splits:
        lines.append("# no train and val yet: all images are in images/")
    lines += ["", f"nc: {len(dataset.labels)}", "names:"]
    lines += [f"  {i}: {_quoted(label)}" for i, label in enumerate(dataset.labels)]
    return "\n".join([*lines, ""]) if dataset.labels else "\n".join([*lines[:-1], "names: {}", ""])


def _quoted(text: str) -> str:
    """A text in double quotes, valid in both JSON and YAML."""
    return _NOT_PLAIN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def _box_losses(dataset: Dataset, keep: NDArray[np.bool_]) -> list[Loss]:
    clipped = (clip_to_images(dataset) != dataset.objects.box).any(axis=1) & keep
    counts = {
        ("boxes clipped to their images", "other tools refuse boxes outside"): clipped,
        ("boxes without area in their images", "left out: other tools refuse them"): ~keep,
    }
    return [Loss(what, int(rows.sum()), why) for (what, why), rows in counts.items() if rows.any()]
