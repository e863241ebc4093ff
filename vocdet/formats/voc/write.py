"""A `Dataset` as a VOC folder, with files as labelImg writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.findings import object_place, object_text
from vocdet.data.losses import Loss, counted_losses
from vocdet.errors import OutputError
from vocdet.files import write_new
from vocdet.formats.images.facts import exif_mark
from vocdet.formats.images.split_folders import stem_paths
from vocdet.formats.scan import Coordinates
from vocdet.formats.shared.extras import coordinates_of, extra_of
from vocdet.formats.shared.values import number_text
from vocdet.formats.voc import coordinates as conventions
from vocdet.formats.voc import image_sets, preserved, write_object
from vocdet.formats.voc import masks as voc_masks
from vocdet.formats.voc.coordinates import minimum_text
from vocdet.formats.voc.preserved import AS_DEFAULT, Header
from vocdet.formats.voc.write_header import header_of, header_text
from vocdet.formats.voc.write_object import NOT_XML, xml_text

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
OBJECT_MASKS, CLASS_MASKS = "SegmentationObject", "SegmentationClass"
LARGEST_XML = 10_000_000  # bytes; the limit of many parsers


class WrittenObject(NamedTuple):
    """An object for `annotation_text`."""

    label: str
    box: Sequence[float]  # xmin, ymin, xmax, ymax as a `Dataset` has them
    difficult: bool = False
    truncated: bool = False
    pose: str = ""
    rare_fields: str = ""  # XML of all other fields, in lines indented by two tabs


def annotation_text(
    filename: str,
    size: tuple[int, int],
    objects: Iterable[WrittenObject],
    *,
    header: Header | None = None,
    coordinates: Coordinates = "zero",
    marked: bool = False,
    exif: str = "",
) -> str:
    """An annotation as labelImg writes it.

    Boxes are those of a `Dataset` (0-based, half-open); `coordinates` is the convention to write them in. `size` is
    (width, height). `marked` states the convention in the file, for readers that would otherwise infer another one;
    `exif` says whether an EXIF orientation of the image is applied (see `exif_mark`).
    """
    lines = [header_text(filename, size, header or Header(), coordinates if marked else "", exif)]
    lines += [object_xml(item, coordinates) for item in objects]
    return "".join([*lines, "</annotation>\n"])


def object_xml(item: WrittenObject, coordinates: Coordinates) -> str:
    label, (xmin, ymin, xmax, ymax), difficult, truncated, pose, rare_fields = item
    return (
        f"\t<object>\n\t\t<name>{_name(label)}</name>\n\t\t<pose>{xml_text(pose) if pose else 'Unspecified'}</pose>\n"
        f"\t\t<truncated>{int(truncated)}</truncated>\n\t\t<difficult>{int(difficult)}</difficult>\n\t\t<bndbox>\n"
        f"\t\t\t<xmin>{minimum_text(xmin, coordinates)}</xmin>\n\t\t\t<ymin>{minimum_text(ymin, coordinates)}</ymin>\n"
        f"\t\t\t<xmax>{number_text(xmax)}</xmax>\n\t\t\t<ymax>{number_text(ymax)}</ymax>\n"
        f"\t\t</bndbox>\n{rare_fields}\t</object>\n"
    )


@cache
def _name(name: str) -> str:
    return xml_text(name)


def image_targets(dataset: Dataset) -> tuple[str, ...]:
    """The paths of the images in a VOC folder: JPEGImages/<stem><suffix>."""
    return tuple(f"{IMAGES}/{path}" for path in stem_paths(dataset))


def write(
    folder: Path,
    dataset: Dataset,
    targets: Sequence[str],
    areas: NDArray[np.float64],
    *,
    coordinates: Coordinates | None = None,
) -> list[Loss]:
    """Write Annotations, ImageSets, masks and a label list into a new folder; return what VOC cannot hold.

    The default of `coordinates` is the convention of the VOC files that the dataset comes from, else `zero`. `areas`
    (M,) are those of the masks, NaN for objects without one; an area is only written if it differs. Fields without a
    tag in VOC have vocdet's own tags, or are in dataset.json. OutputError for content that XML cannot hold.
    """
    invalid = [label for label in dataset.labels if NOT_XML.search(label)]
    if invalid:
        problem = f"the label {invalid[0]!r} has a character that XML cannot hold"
        raise OutputError(problem, place=folder, hint="rename it with `vocdet.remap(dataset)`")
    losses: Counter[str] = Counter()
    invalid_poses = [i for i, pose in enumerate(dataset.poses) if NOT_XML.search(pose)]
    losses["poses with characters that XML cannot hold"] += int(np.isin(dataset.objects.pose, invalid_poses).sum())
    headers = _headers(dataset, areas, losses)
    chosen, marked = _convention(dataset, headers, coordinates)
    in_png_images = {row for row, header in enumerate(headers) if header.masks}
    rare_fields = write_object.texts(dataset, chosen, in_png_images, areas, losses)
    boxes = dataset.objects.box.tolist()
    names = [dataset.labels[i] for i in dataset.objects.label.tolist()]
    poses = [dataset.poses[i] for i in dataset.objects.pose.tolist()]
    flags = zip(dataset.objects.difficult.tolist(), dataset.objects.truncated.tolist(), strict=True)
    objects = [
        WrittenObject(name, box, difficult, truncated, pose, rare_fields.get(i, ""))
        for i, (name, box, pose, (difficult, truncated)) in enumerate(zip(names, boxes, poses, flags, strict=True))
    ]
    sizes = list(zip(dataset.images.widths.tolist(), dataset.images.heights.tolist(), strict=True))
    ends = np.searchsorted(dataset.objects.image, np.arange(len(dataset)), "right").tolist()
    first, made = 0, set[str]()
    for row, (stem, target, end) in enumerate(zip(dataset.images.stems, targets, ends, strict=True)):
        filename = target.rpartition("/")[2]
        content = annotation_text(filename, sizes[row], objects[first:end], header=headers[row],
                                  coordinates=chosen, marked=marked,
                                  exif=exif_mark(dataset.images, row)).encode()  # fmt: skip
        if len(content) > LARGEST_XML:
            problem = f"needs an XML file of {len(content) / 1e6:.0f} MB, too large for XML parsers"
            raise OutputError(problem, place=dataset.root / dataset.images.files[row], hint="leave this image out")
        write_new(f"{folder}/{ANNOTATIONS}/{stem}.xml", content, made)
        if headers[row].masks:
            _write_masks(folder, dataset, row, headers[row], losses, made)
        first = end
    _write_lists(folder, dataset, names, made)
    return counted_losses(losses)


def _headers(dataset: Dataset, areas: NDArray[np.float64], losses: Counter[str]) -> list[Header]:
    """The header of every image; its `masks` is True if SegmentationObject will have them."""
    extras = dict(dataset.images.extra.items())
    rows = dataset.objects.segmentation.rows
    masked = np.bincount(dataset.objects.image[rows[~np.isnan(areas[rows])]], minlength=len(dataset)) > 0
    headers = []
    for row, any_mask in enumerate(masked.tolist()):
        header = header_of(extras.get(row, b""), losses)
        if header.masks:
            header.masks = _picture(dataset, row, header) is not None
            losses["SegmentationObject files: masks overlap or have another size"] += not header.masks
        if header.segmented == AS_DEFAULT:
            header.segmented = str(int(any_mask or header.masks))
        headers.append(header)
    return headers


def _picture(dataset: Dataset, row: int, header: Header) -> NDArray[np.uint8] | None:
    """The numbers (H, W) of SegmentationObject for an image; None if its masks do not fit there."""
    first, end = np.searchsorted(dataset.objects.image, (row, row + 1)).tolist()
    size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
    return voc_masks.object_values([dataset.objects.segmentation[i] for i in range(first, end)], header.void, size)


def _convention(dataset: Dataset, headers: Sequence[Header], requested: Coordinates | None) -> tuple[Coordinates, bool]:
    """The convention to write in, and whether the files must state it because a reader would infer the other one.

    OutputError if the requested one cannot represent a box.
    """
    chosen = requested or coordinates_of(dataset)
    narrow = _narrow(dataset.objects.box) if chosen == "one" else []
    if narrow:
        if requested:
            text = object_text(dataset, narrow[0])
            problem = f"{text} is less than a pixel wide or high, which 1-based numbers cannot represent"
            raise OutputError(problem, place=object_place(dataset, narrow[0]), hint='use `write_coordinates="zero"`')
        chosen = "zero"
    boxes = dataset.objects.box.copy()
    boxes[:, :2] += chosen == "one"
    image = dataset.objects.image
    sizes = np.stack([dataset.images.widths[image], dataset.images.heights[image]], axis=1)  # (M, 2)
    databases = [" ".join((header.source or {}).values()) for header in headers]
    return chosen, conventions.decide("auto", boxes, sizes, databases)[0] != chosen


def _narrow(boxes: Boxes) -> list[int]:
    """The rows of boxes whose 1-based xmin or ymin would exceed their xmax or ymax."""
    rows = np.flatnonzero((boxes[:, 2:] - boxes[:, :2] < 1 + 1e-6).any(axis=1))
    first = [[float(minimum_text(side, "one")) for side in box] for box in boxes[rows, :2].tolist()]
    return [row for row, low in zip(rows.tolist(), first, strict=True) if (boxes[row, 2:] < low).any()]


def _write_masks(
    folder: Path, dataset: Dataset, row: int, header: Header, losses: Counter[str], made: set[str]
) -> None:
    """Write SegmentationObject and SegmentationClass of an image."""
    numbers = _picture(dataset, row, header)
    if numbers is None:
        return
    stem = dataset.images.stems[row]
    write_new(f"{folder}/{OBJECT_MASKS}/{stem}.png", voc_masks.palette_png(numbers), made)
    if len(dataset.labels) > voc_masks.MOST_OBJECTS:
        losses["SegmentationClass files: more labels than pixel values"] += 1
        return
    labels = dataset.objects.label[slice(*np.searchsorted(dataset.objects.image, (row, row + 1)))]
    classes = voc_masks.class_values(numbers, labels.tolist())
    write_new(f"{folder}/{CLASS_MASKS}/{stem}.png", voc_masks.palette_png(classes), made)


def _write_lists(folder: Path, dataset: Dataset, names: Sequence[str], made: set[str]) -> None:
    """Write ImageSets, the labels unless they are the sorted ones that occur, and the extra of the dataset."""
    for name, text in image_sets.split_texts(dataset, dataset.splits).items() if dataset.splits else ():
        write_new(f"{folder}/{image_sets.FOLDER.as_posix()}/{name}.txt", text.encode(), made)
    if dataset.labels != tuple(sorted(set(names))):
        text = "".join(f"{label}\n" for label in dataset.labels)
        mark = "\ufeff" if text.startswith("\ufeff") else ""  # otherwise reading would remove that of the label
        write_new(f"{folder}/{preserved.LABEL_LIST}", (mark + text).encode(), made)
    extra = {key: raw for key, raw in extra_of(dataset.extra).items() if key != "voc"}
    if extra:
        write_new(f"{folder}/{preserved.DATASET_FILE}", msgspec.json.encode(extra) + b"\n", made)
