"""A `Dataset` as COCO files, with one entry on each line and ids from 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset, Objects
from vocdet.data.losses import Loss, counted_losses, split_losses
from vocdet.data.splits import apart
from vocdet.data.texts import Texts
from vocdet.files import writing
from vocdet.formats.coco.rotation import with_boxes_before_rotation
from vocdet.formats.images.facts import exif_mark
from vocdet.formats.images.split_folders import stem_paths
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.extras import DATASET_EXTRAS, coordinates_of, extra_of, in_order, label_extras, voc_facts
from vocdet.formats.shared.values import number_texts, snapped

ANNOTATIONS, IMAGES = "annotations", "images"
_CHUNK = 2000  # entries that are encoded at a time, which bounds the memory
_LARGEST = 1e300  # square pixels; JSON has no infinity


def image_targets(dataset: Dataset) -> tuple[str, ...]:
    """The paths of the images in a COCO folder: images/<stem><suffix>."""
    return tuple(f"{IMAGES}/{path}" for path in stem_paths(dataset))


def write(
    folder: Path,
    dataset: Dataset,
    targets: Sequence[str],
    areas: NDArray[np.float64],
    *,
    coordinates: Coordinates | None = None,  # noqa: ARG001 as in every format: COCO has no choice
) -> list[Loss]:
    """Write annotations/instances.json, or instances_<split>.json for every split; return what COCO cannot hold.

    Images in no split are in instances_rest.json. If trainval is train and val together, the files only state that it
    exists. Boxes are in `bbox`; where its rounded width or height does not give the far corner back, the corners are
    also in `box`. `areas` are those of the masks (M,), NaN for objects without a valid mask; they are written for
    objects that have no area in the dataset.
    """
    losses: Counter[str] = Counter()
    splits = dataset.splits
    divided, twice = apart(splits, len(dataset))
    losses["images in several splits: written to the first"] += twice
    whole = _with_areas(with_boxes_before_rotation(dataset), areas, losses)
    if not splits:
        _write_file(folder / ANNOTATIONS / "instances.json", whole, targets)
        return counted_losses(losses)
    if "trainval" in splits and "trainval" not in divided:
        named = np.concatenate([splits[name] for name in ("train", "val") if name in splits])
        others = len(np.setxor1d(splits["trainval"], named))
        losses["images in trainval but not in train or val, or the reverse"] += others
        if not others:
            whole = replace(whole, extra=_with_trainval(whole))
    for name, rows in divided.items():
        names = [targets[row] for row in rows.tolist()]
        _write_file(folder / ANNOTATIONS / f"instances_{name}.json", whole.subset(rows), names)
    return [*counted_losses(losses), *split_losses(splits)]


def _with_areas(dataset: Dataset, measured: NDArray[np.float64], losses: Counter[str]) -> Dataset:
    """The dataset with an area for every object, and without invalid masks."""
    objects = dataset.objects
    with np.errstate(over="ignore"):
        box_area = snapped(objects.box[:, 2] - objects.box[:, 0]) * snapped(objects.box[:, 3] - objects.box[:, 1])
        usual = np.where(np.isnan(measured), snapped(np.minimum(box_area, _LARGEST)), measured)
    segmentation = objects.segmentation
    invalid = np.isnan(measured[segmentation.rows])
    if invalid.any():
        losses["invalid masks"] += int(invalid.sum())
        segmentation = Texts.sparse(
            len(objects), {row: text for row, text in segmentation.items() if not np.isnan(measured[row])}
        )
    area = np.where(np.isnan(objects.area), usual, objects.area)
    return replace(dataset, objects=replace(objects, area=area, segmentation=segmentation))


def _with_trainval(dataset: Dataset) -> bytes:
    extra = extra_of(dataset.extra)
    coordinates = coordinates_of(dataset)
    if "voc" in extra and coordinates == "zero":  # vocdet did not write it
        return dataset.extra
    return msgspec.json.encode(extra | {"voc": voc_facts(coordinates, trainval=True)})


def _write_file(path: Path, dataset: Dataset, targets: Sequence[str]) -> None:
    extra = extra_of(dataset.extra)
    of_labels = label_extras(extra)
    extra.pop("categories", None)
    extra = in_order({"info": msgspec.Raw(b"{}")} | extra, DATASET_EXTRAS)
    with writing(path) as file:
        file.write(b"{")
        for key, raw in extra.items():
            file.write(msgspec.json.encode(key) + b":" + raw + b",\n")
        _write_list(file, "images", _image_entries(dataset, targets), end=",\n")
        _write_list(file, "annotations", _annotations(dataset), end=",\n")
        _write_list(file, "categories", _categories(dataset, of_labels), end="}\n")


def _write_list(file: IO[bytes], name: str, entries: Iterator[str], *, end: str) -> None:
    file.write(f'"{name}":['.encode())
    separator = "\n"
    while chunk := list(islice(entries, _CHUNK)):
        file.write((separator + ",\n".join(chunk)).encode())
        separator = ",\n"
    file.write(f"]{end}".encode())


def _image_entries(dataset: Dataset, targets: Sequence[str]) -> Iterator[str]:
    images = dataset.images
    encode = msgspec.json.Encoder().encode
    extras = dict(images.extra.items())
    sizes = zip(images.widths.tolist(), images.heights.tolist(), strict=True)
    for row, (target, (width, height)) in enumerate(zip(targets, sizes, strict=True)):
        name = encode(target.partition("/")[2]).decode()
        more = _more(extras.get(row))
        if (mark := exif_mark(images, row)) and '"exif"' not in more:
            more += f',"exif":"{mark}"'
        yield f'{{"id":{row + 1},"file_name":{name},"width":{width},"height":{height}{more}}}'


def _categories(dataset: Dataset, extras: Mapping[str, Mapping[str, msgspec.Raw]]) -> Iterator[str]:
    for i, label in enumerate(dataset.labels, 1):
        entry = {"id": i, "name": label, **extras.get(label, {})}
        yield msgspec.json.encode(entry).decode()


def _annotations(dataset: Dataset) -> Iterator[str]:
    poses = [f',"pose":{msgspec.json.encode(pose).decode()}' for pose in dataset.poses]
    count = len(dataset.objects)
    for first in range(0, count, _CHUNK):
        objects = dataset.objects.take(np.arange(first, min(first + _CHUNK, count)))
        yield from _chunk(objects, poses, first + 1)


def _chunk(objects: Objects, poses: Sequence[str], first_id: int) -> Iterator[str]:
    size = snapped(objects.box[:, 2:] - objects.box[:, :2])  # (M, 2)
    inexact = (snapped(objects.box[:, :2] + size) != objects.box[:, 2:]).any(axis=1)
    numbers = np.column_stack([objects.box[:, :2], size, objects.area])
    optional = _optional_keys(objects, poses, inexact)
    columns = zip(
        (objects.image + 1).tolist(), (objects.label + 1).tolist(),
        *(number_texts(column) for column in numbers.T), objects.crowd.tolist(), strict=True,
    )  # fmt: skip
    for i, (image, label, x, y, width, height, area, crowd) in enumerate(columns):
        yield (
            f'{{"id":{first_id + i},"image_id":{image},"category_id":{label},"bbox":[{x},{y},{width},{height}],'
            f'"area":{area},"iscrowd":{int(crowd)}{optional.get(i, "")}}}'
        )


def _optional_keys(objects: Objects, poses: Sequence[str], inexact: NDArray[np.bool_]) -> dict[int, str]:
    """The keys that only some objects have, as JSON by row."""
    keys: dict[int, str] = {}
    for row, text in objects.segmentation.items():
        keys[row] = f',"segmentation":{text.decode()}'
    for name in ("difficult", "truncated", "occluded"):
        for row in np.flatnonzero(getattr(objects, name)).tolist():
            keys[row] = f'{keys.get(row, "")},"{name}":1'
    for row in np.flatnonzero(objects.pose).tolist():
        keys[row] = keys.get(row, "") + poses[objects.pose[row]]
    for row in np.flatnonzero(inexact).tolist():
        corners = ",".join(number_texts(objects.box[row]))
        keys[row] = f'{keys.get(row, "")},"box":[{corners}]'
    for row, text in objects.extra.items():
        keys[row] = keys.get(row, "") + _more(text)
    return keys


def _more(extra: bytes | None) -> str:
    """The keys of an extra as JSON, with a comma before them."""
    inside = extra.decode().strip()[1:-1].strip() if extra else ""
    return f",{inside}" if inside else ""
