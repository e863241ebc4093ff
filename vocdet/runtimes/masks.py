"""Paste the masks of boxes into their image, without torch."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.masks import MASK_THRESHOLD, placed, rle_json


def pasted(masks: NDArray[Any], boxes: Boxes, height: int, width: int) -> list[bytes]:
    """The compressed RLE, as JSON, of every mask in an image of this size; as `vocdet.models.rcnn.paste.pasted` does.

    `masks` (N, m, m) are probabilities inside `boxes` (N, 4), pixels of the image.
    """
    side = masks.shape[-1]
    boxes = boxes.astype(np.float32)
    center, half = (boxes[:, 2:] + boxes[:, :2]) * np.float32(0.5), (boxes[:, 2:] - boxes[:, :2]) * np.float32(0.5)
    half = half * np.float32((side + 2) / side)  # a border of 0, so that a mask can end inside its box
    corners = np.concatenate([center - half, center + half], axis=1).astype(np.int64)
    framed = np.pad(masks.astype(np.float32), ((0, 0), (1, 1), (1, 1)))
    return [rle_json(_in_image(mask, box, height, width)) for mask, box in zip(framed, corners.tolist(), strict=True)]


def _in_image(mask: NDArray[np.float32], box: list[int], height: int, width: int) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    size = (max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1))
    large = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR)) > MASK_THRESHOLD
    return placed(large, x0, y0, height, width)
