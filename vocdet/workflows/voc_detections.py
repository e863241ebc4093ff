"""Detections as VOC files, to be corrected in labelImg and trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vocdet.boxes import Boxes
from vocdet.data import image_files
from vocdet.data.detections import Detections
from vocdet.errors import ImageError, OutputError
from vocdet.formats.images.facts import APPLIED
from vocdet.formats.voc.masks import MOST_OBJECTS, VOID, class_values, palette_png
from vocdet.formats.voc.preserved import Header
from vocdet.formats.voc.write import ANNOTATIONS, CLASS_MASKS, IMAGES, OBJECT_MASKS, WrittenObject, annotation_text
from vocdet.formats.voc.write_object import NOT_XML
from vocdet.inference.draw_masks import cut_masks, numbered

WriteFile = Callable[[str, bytes], object]  # path in the dataset, content


def check_voc_labels(folder: Path, labels: Sequence[str]) -> None:
    """Raise `OutputError` for a label that XML cannot represent."""
    if bad := [label for label in labels if NOT_XML.search(label)]:
        raise OutputError(f"the label {bad[0]!r} contains a character that XML cannot represent", place=folder)


def write_annotation(
    write: WriteFile, stem: str, file: Path, size: tuple[int, int], detections: Detections, labels: Sequence[str]
) -> None:
    """Write `Annotations/<stem>.xml`, and with masks `SegmentationObject` and `SegmentationClass/<stem>.png`.

    The image is in JPEGImages under the name `stem`, with the suffix of `file`.

    Objects are sorted by score, in whole pixels of the image of `size` (width, height); of overlapping masks the best
    is on top. PNGs of VOC number at most 254 objects and labels: further objects have no mask, and with more labels
    there is no SegmentationClass. COCO results contain all masks.
    """
    segmented = "0"
    if detections.masks is not None:
        crops = cut_masks(detections.masks.take(np.arange(min(len(detections), MOST_OBJECTS))), size[1], size[0])
        segmented = str(int(crops.known.any()))
        values = numbered(crops, range(1, len(crops) + 1), size[1], size[0])
        write(f"{OBJECT_MASKS}/{stem}.png", palette_png(values))
        if len(labels) < VOID:
            classes = class_values(values, detections.labels[: len(crops)].tolist())
            write(f"{CLASS_MASKS}/{stem}.png", palette_png(classes))
    text = detections_text(file, size, detections, labels, segmented=segmented, name=f"{stem}{file.suffix}")
    write(f"{ANNOTATIONS}/{stem}.xml", text.encode())


def detections_text(
    file: Path,
    size: tuple[int, int],
    detections: Detections,
    labels: Sequence[str],
    *,
    segmented: str = "0",
    name: str = "",
) -> str:
    """The annotation of the detections in an image file of `size` (width, height): whole pixels, best first."""
    objects = [
        WrittenObject(labels[label], box)
        for label, box in zip(detections.labels.tolist(), whole_pixels(detections.boxes, size).tolist(), strict=True)
    ]
    folder = IMAGES if name else file.absolute().parent.name
    header = Header(folder=folder, path=str(file.absolute()), segmented=segmented)
    return annotation_text(name or file.name, size, objects, header=header, marked=True, exif=_exif(file))


def _exif(file: Path) -> str:
    """The text of <exif> for detections, which are in pixels of the image as it is shown."""
    try:
        return APPLIED if image_files.read_orientation(file) != 1 else ""
    except ImageError:  # a picture in memory has no file
        return ""


def whole_pixels(boxes: Boxes, size: tuple[int, int]) -> Boxes:
    """Boxes in whole pixels inside the image, at least one pixel wide and high."""
    limit = np.array(size, np.float64)
    low = np.clip(np.rint(boxes[:, :2]), 0, limit - 1)
    return np.concatenate([low, np.clip(np.rint(boxes[:, 2:]), low + 1, limit)], axis=1)
