"""The pictures of a run: its first batches, and detections in validation images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vocdet.boxes import Boxes, area
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.errors import ImageError
from vocdet.inference.draw import contact_sheet, draw, draw_boxes, draw_objects, side_by_side
from vocdet.inference.draw_masks import scaled_masks
from vocdet.inputs.batches import Batch
from vocdet.inputs.images import Image, decode_image
from vocdet.mask_crops import MaskCrops

MOST_SAMPLES, MOST_CROPS = 16, 24  # on a sheet
EXAMPLES = 8  # validation images
SHEET = 1600  # pixels wide
GAP = 4  # pixels between the cells of a contact sheet


def batch_sheet(batches: Iterable[Batch], labels: Sequence[str]) -> Image:
    """The first samples of some batches as (H, W, 3) RGB: with boxes, masks and label names, crops under their labels.

    The padding of a canvas is left out.
    """
    pictures: list[tuple[Tensor, Boxes, MaskCrops | None]] = []
    names: list[NDArray[np.int64]] = []
    for batch in batches:
        for row in range(min(len(batch), MOST_CROPS - len(pictures))):
            one = batch.part(row, row + 1)
            real = one.labels[0].numpy() >= 0
            height, width = one.images.shape[-2:] if one.sizes is None else one.sizes[0].tolist()
            boxes = one.boxes[0].numpy()[real].astype(np.float64)
            pictures.append((one.images[0, :, :height, :width], boxes, one.masks))
            names.append(one.labels[0].numpy()[real])
    if not pictures:
        raise ValueError("no sample to show")
    crops = all(not area(boxes).any() for _, boxes, _ in pictures) and any(map(len, names))
    if not crops:
        pictures, names = pictures[:MOST_SAMPLES], names[:MOST_SAMPLES]
    columns = 8 if crops else min(len(pictures), 4)
    side = SHEET // columns - GAP
    drawn = []
    for (image, boxes, masks), classes in zip(pictures, names, strict=True):
        picture, scale = _enlarged(image, side)
        texts = [labels[i] for i in classes]
        large = None if masks is None else scaled_masks(masks, scale)
        drawn.append(picture if crops else draw_boxes(picture, boxes * scale, classes.tolist(), texts, large))
    captions = [", ".join(labels[i] for i in classes) for classes in names] if crops else []
    return contact_sheet(drawn, captions=captions, columns=columns, width=SHEET)


def example_sheet(dataset: Dataset, detections: Sequence[Detections], thresholds: NDArray[np.float32]) -> Image:
    """Evenly spaced images of a dataset as (H, W, 3) RGB: annotations on the left, detections on the right.

    Detections below the thresholds (L,) of their labels are left out, and so are images that cannot be read.
    """
    pairs = []
    for row in _evenly(len(dataset), EXAMPLES):
        sample = dataset[row]
        try:
            image = decode_image(sample)
        except ImageError:
            continue
        annotated = draw_objects(image, sample.objects, dataset.labels)
        pairs.append(side_by_side(annotated, draw(image, detections[row].above(thresholds), dataset.labels)))
    return contact_sheet(pairs or [np.full((16, 16, 3), 255, np.uint8)], columns=2, width=SHEET)


def crop_sheet(images: Tensor, true: Sequence[int], predicted: Sequence[int], labels: Sequence[str]) -> Image:
    """Evenly spaced crops (N, 3, H, W) uint8 as (H, W, 3) RGB, each with its label and its predicted label."""
    pictures, captions = [], []
    for row in _evenly(len(images), MOST_CROPS):
        pictures.append(_enlarged(images[row], SHEET // 8 - GAP)[0])
        wrong = f" → {labels[predicted[row]]}" if predicted[row] != true[row] else ""
        captions.append(f"{labels[true[row]]}{wrong}")
    return contact_sheet(pictures, captions=captions, columns=8, width=SHEET)


def _evenly(count: int, most: int) -> list[int]:
    chosen: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).astype(int)).tolist()
    return chosen


def _enlarged(image: Tensor, side: int) -> tuple[Image, float]:
    """A sample (3, H, W) enlarged to a width of `side` pixels, for readable texts, and its scale."""
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    scale = side / pixels.shape[1]
    size = (side, max(1, round(scale * pixels.shape[0])))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8), scale
