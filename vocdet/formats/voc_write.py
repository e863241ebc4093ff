"""VOC files as labelImg writes them, from strings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.sax.saxutils import quoteattr

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.errors import OutputError
from vocdet.files import write_new
from vocdet.formats import coordinates as conventions
from vocdet.formats import image_sets, voc_extra, voc_masks, voc_rest
from vocdet.formats.coordinates import Coordinates, minimum_text, number_text
from vocdet.formats.losses import Loss, counted_losses
from vocdet.formats.voc_extra import SAME, Header
from vocdet.formats.voc_rest import NOT_XML, xml_text

ANNOTATIONS, IMAGES = "Annotations", "JPEGImages"
OBJECT_MASKS, CLASS_MASKS = "SegmentationObject", "SegmentationClass"


class WrittenObject(NamedTuple):
    """An object as `annotation_text` wants it."""

    label: str
    box: Sequence[float]  # xmin, ymin, xmax, ymax as a `Dataset` has them
    difficult: bool = False
    truncated: bool = False
    pose: str = ""
    rest: str = ""  # XML of what else there is to say, lines indented by two tabs


def annotation_text(
    filename: str,
    size: tuple[int, int],
    objects: Iterable[WrittenObject],
    *,
    header: Header | None = None,
    coordinates: Coordinates = "zero",
    marked: bool = False,
) -> str:
    """An annotation as labelImg writes it.

    Boxes are a `Dataset`'s (0-based, half-open) and are written in the convention asked for: the inverse of
    reading. `size` is width, height. `marked` says the convention in the file, where nothing else tells it.
    """
    lines = [_beginning(filename, size, header or Header(), coordinates if marked else "")]
    lines += [_object(item, coordinates) for item in objects]
    return "".join([*lines, "</annotation>\n"])


def _beginning(filename: str, size: tuple[int, int], header: Header, mark: str) -> str:
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in header.attributes.items())
    lines = [f"<annotation{attributes}>"]
    if header.folder is not None:
        lines.append(f"\t<folder>{xml_text(header.folder)}</folder>")
    lines.append(f"\t<filename>{xml_text(filename)}</filename>")
    if header.path is not None:
        lines.append(f"\t<path>{xml_text(filename if header.path == SAME else header.path)}</path>")
    if header.source is not None:
        inner = (f"\t\t<{name}>{xml_text(value)}</{name}>" for name, value in header.source.items())
        lines += ["\t<source>", *inner, "\t</source>"]
    depth = [] if header.depth is None else [f"\t\t<depth>{xml_text(header.depth)}</depth>"]
    lines += ["\t<size>", f"\t\t<width>{size[0]}</width>", f"\t\t<height>{size[1]}</height>", *depth, "\t</size>"]
    if header.segmented is not None:
        lines.append(f"\t<segmented>{xml_text('0' if header.segmented == SAME else header.segmented)}</segmented>")
    if mark:
        lines.append(f"\t<coordinates>{mark}</coordinates>")
    lines += [f"\t{tag}" for tag in header.tags]
    if header.coco:
        lines.append(f"\t<coco>{xml_text(header.coco.decode())}</coco>")
    return "\n".join([*lines, ""])


def _object(item: WrittenObject, coordinates: Coordinates) -> str:
    label, (xmin, ymin, xmax, ymax), difficult, truncated, pose, rest = item
    return (
        f"\t<object>\n\t\t<name>{_label(label)}</name>\n\t\t<pose>{xml_text(pose) if pose else 'Unspecified'}</pose>\n"
        f"\t\t<truncated>{int(truncated)}</truncated>\n\t\t<difficult>{int(difficult)}</difficult>\n\t\t<bndbox>\n"
        f"\t\t\t<xmin>{minimum_text(xmin, coordinates)}</xmin>\n\t\t\t<ymin>{minimum_text(ymin, coordinates)}</ymin>\n"
        f"\t\t\t<xmax>{number_text(xmax)}</xmax>\n\t\t\t<ymax>{number_text(ymax)}</ymax>\n"
        f"\t\t</bndbox>\n{rest}\t</object>\n"
    )


@cache
def _label(name: str) -> str:
    return xml_text(name)


def image_targets(dataset: Dataset, parts: Mapping[str, NDArray[np.int64]]) -> tuple[str, ...]:  # noqa: ARG001 as other formats
    """Where the images of a VOC folder lie: JPEGImages/<stem><suffix>."""
    pairs = zip(dataset.images.stems, dataset.images.files, strict=True)
    return tuple(f"{IMAGES}/{stem}{PurePosixPath(file).suffix}" for stem, file in pairs)


def write(
    folder: Path,
    dataset: Dataset,
    parts: Mapping[str, NDArray[np.int64]],
    targets: Sequence[str],
    areas: NDArray[np.float64],
    *,
    coordinates: Coordinates | None = None,
) -> list[Loss]:
    """Write Annotations, ImageSets, masks and a label list into a new folder; return what VOC cannot hold.

    Without `coordinates` the numbers are again what they were in the VOC files the dataset came from, and 0-based
    where it did not come from any. `areas` are those of the masks (M,), NaN where there is none: an area is only
    written where it is another one.
    """
    bad = [label for label in dataset.labels if NOT_XML.search(label)]
    if bad:
        problem = f"the label {bad[0]!r} has a character that XML cannot hold"
        raise OutputError(problem, place=folder, hint="rename it with vocdet remap")
    extras = dict(dataset.images.extra.items())
    with_masks = np.bincount(dataset.objects.image[dataset.objects.segmentation.rows], minlength=len(dataset)) > 0
    headers = [
        _header(dataset, row, extras.get(row, b""), any_mask) for row, any_mask in enumerate(with_masks.tolist())
    ]
    chosen, marked = _coordinates(dataset, headers, coordinates)
    losses: Counter[str] = Counter()
    masked = {row for row, header in enumerate(headers) if header.masks}
    rests = voc_rest.texts(dataset, chosen, masked, areas, losses)
    boxes = dataset.objects.box.tolist()
    names = [dataset.labels[i] for i in dataset.objects.label.tolist()]
    poses = [dataset.poses[i] for i in dataset.objects.pose.tolist()]
    flags = zip(dataset.objects.difficult.tolist(), dataset.objects.truncated.tolist(), strict=True)
    objects = [
        WrittenObject(name, box, difficult, truncated, pose, rests.get(i, ""))
        for i, (name, box, pose, (difficult, truncated)) in enumerate(zip(names, boxes, poses, flags, strict=True))
    ]
    sizes = list(zip(dataset.images.widths.tolist(), dataset.images.heights.tolist(), strict=True))
    ends = np.searchsorted(dataset.objects.image, np.arange(len(dataset)), "right").tolist()
    first, made = 0, set[str]()
    for row, (stem, target, end) in enumerate(zip(dataset.images.stems, targets, ends, strict=True)):
        filename = target.rpartition("/")[2]
        content = annotation_text(filename, sizes[row], objects[first:end], header=headers[row],
                                  coordinates=chosen, marked=marked)  # fmt: skip
        write_new(f"{folder}/{ANNOTATIONS}/{stem}.xml", content.encode(), made)
        if row in masked:
            _write_masks(folder, dataset, row, (first, end), headers[row], made)
        first = end
    for name, content in image_sets.part_texts(dataset, parts).items() if parts else ():
        write_new(f"{folder}/{image_sets.FOLDER.as_posix()}/{name}.txt", content.encode(), made)
    if dataset.labels != tuple(sorted(set(names))):
        write_new(f"{folder}/{voc_extra.LABEL_LIST}", "".join(f"{label}\n" for label in dataset.labels).encode(), made)
    aside = {key: raw for key, raw in voc_extra.extra_of(dataset.extra).items() if key != "voc"}
    if aside:
        write_new(f"{folder}/{voc_extra.DATASET_FILE}", msgspec.json.encode(aside) + b"\n", made)
    return counted_losses(losses)


def _header(dataset: Dataset, row: int, text: bytes, masked: bool) -> Header:
    """The header an image came with, by its extra, or one of its own."""
    extra = voc_extra.extra_of(text)
    header = voc_extra.header_of(extra) or Header()
    if header.segmented == SAME:
        header.segmented = str(int(masked))
    if header.masks:
        header.masks = _fits_png(dataset, row)
    header.tags = [tag for tag in header.tags if voc_rest.is_fragment(tag)]
    header.coco = voc_rest.coco_json({key: value for key, value in extra.items() if key != "voc"})
    return header


def _fits_png(dataset: Dataset, row: int) -> bool:
    """Whether the RLEs of an image can be one picture: few enough, of the image's size, and none on another."""
    first, end = np.searchsorted(dataset.objects.image, (row, row + 1)).tolist()
    size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
    texts = [dataset.objects.segmentation[i] for i in range(first, end)]
    pixels = [voc_rest.mask_pixels(text, size) for text in texts if text]
    whole = [mask for mask in pixels if mask is not None]
    apart = len(whole) == len(pixels) and (not whole or int(np.sum(whole, axis=0).max()) <= 1)
    return apart and end - first <= voc_masks.MOST_OBJECTS


def _coordinates(dataset: Dataset, headers: Sequence[Header], asked: Coordinates | None) -> tuple[Coordinates, bool]:
    """The convention to write in, and whether a reader would take it for the other one if the files did not say it."""
    chosen = asked or voc_extra.coordinates_of(dataset)
    boxes = dataset.objects.box.copy()
    boxes[:, :2] += chosen == "one"
    image = dataset.objects.image
    sizes = np.stack([dataset.images.widths[image], dataset.images.heights[image]], axis=1)  # (M, 2)
    databases = [" ".join((header.source or {}).values()) for header in headers]
    return chosen, conventions.decide("auto", boxes, sizes, databases)[0] != chosen


def _write_masks(
    folder: Path, dataset: Dataset, row: int, span: tuple[int, int], header: Header, made: set[str]
) -> None:
    """SegmentationObject and SegmentationClass of an image whose masks came from there."""
    size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
    pixels = [voc_rest.mask_pixels(dataset.objects.segmentation[i], size) for i in range(*span)]
    void = voc_rest.mask_pixels(header.void.encode(), size)
    stem = dataset.images.stems[row]
    labels = dataset.objects.label[slice(*span)].tolist()
    write_new(f"{folder}/{OBJECT_MASKS}/{stem}.png", voc_masks.object_png(pixels, void, size), made)
    write_new(f"{folder}/{CLASS_MASKS}/{stem}.png", voc_masks.class_png(pixels, labels, void, size), made)
