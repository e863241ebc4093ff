"""A `Dataset` as CSV files in TensorFlow's order: filename,width,height,class,xmin,ymin,xmax,ymax."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss, split_losses
from vocdet.data.splits import SPLIT_ORDER
from vocdet.files import write_new
from vocdet.formats.images.split_folders import stem_paths
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.plain_losses import plain_losses
from vocdet.formats.shared.values import number_texts

COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
IMAGES = "images"


def image_targets(dataset: Dataset) -> tuple[str, ...]:
    """The paths of the images: images/<stem><suffix>."""
    return tuple(f"{IMAGES}/{path}" for path in stem_paths(dataset))


def write(
    folder: Path,
    dataset: Dataset,
    targets: Sequence[str],
    areas: NDArray[np.float64],  # noqa: ARG001 as in every format
    *,
    coordinates: Coordinates | None = None,  # noqa: ARG001 as in every format
) -> list[Loss]:
    """Write annotations.csv, or a CSV file for every split, and classes.csv; return what CSV cannot hold.

    A file name is a path below images/. An image without objects has one row, with nothing after its size. Images in
    no split are in rest.csv. classes.csv has a label and its number in each row, as RetinaNet reads them.
    """
    rows = _image_rows(dataset, targets)
    made = {""}
    for name, images in _file_rows(dataset).items():
        found = [rows[row] for row in images.tolist()]
        write_new(f"{folder}/{name}.csv", _csv_bytes([COLUMNS], *found), made)
    classes = [(label, number) for number, label in enumerate(dataset.labels)]
    write_new(f"{folder}/classes.csv", _csv_bytes(classes), made)
    masks = Loss("masks", len(dataset.objects.segmentation.rows), "only their boxes are written")
    return [*([masks] if masks.count else []), *plain_losses(dataset), *split_losses(dataset.splits)]


def _file_rows(dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """The images of every file, by its name."""
    splits = {name: rows for name, rows in dataset.splits.items() if name in SPLIT_ORDER and len(rows)}
    if not splits:
        return {"annotations": np.arange(len(dataset))}
    divided = [splits[name] for name in ("train", "val") if name in splits]
    if len(divided) == 2 and np.array_equal(np.union1d(*divided), np.unique(splits.get("trainval", []))):
        del splits["trainval"]  # follows from these two
    rest = np.setdiff1d(np.arange(len(dataset)), np.concatenate(list(splits.values())))
    return splits | ({"rest": rest} if len(rest) else {})


def _image_rows(dataset: Dataset, targets: Sequence[str]) -> list[list[tuple[object, ...]]]:
    """The rows of every image."""
    images, objects = dataset.images, dataset.objects
    numbers = iter(number_texts(objects.box.ravel()))
    boxes = zip(numbers, numbers, numbers, numbers, strict=True)
    begins = [
        (target.removeprefix(f"{IMAGES}/"), width or "", height or "")
        for target, width, height in zip(targets, images.widths.tolist(), images.heights.tolist(), strict=True)
    ]
    rows: list[list[tuple[object, ...]]] = [[] for _ in begins]
    for image, label, box in zip(objects.image.tolist(), objects.label.tolist(), boxes, strict=True):
        rows[image].append((*begins[image], dataset.labels[label], *box))
    return [found or [(*begin, "", "", "", "", "")] for found, begin in zip(rows, begins, strict=True)]


def _csv_bytes(*blocks: Sequence[Sequence[object]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for block in blocks:
        writer.writerows(block)
    return file.getvalue().encode("utf-8", "surrogateescape")
