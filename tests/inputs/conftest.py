"""Datasets of plain pictures, in which one can see where everything went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.data.dataset import Dataset, Images, Objects

Box = tuple[float, float, float, float]
RED = (255, 0, 0)


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Dataset]:
    """Black images of these sizes, each with red rectangles; label k is that of the k-th object of its image."""

    def make(boxes: Sequence[Sequence[Box]], *, size: tuple[int, int] = (60, 40), crowd: Sequence[int] = ()) -> Dataset:
        width, height = size
        for i, of_image in enumerate(boxes):
            pixels = np.zeros((height, width, 3), np.uint8)
            for x0, y0, x1, y1 in of_image:
                pixels[round(y0) : round(y1), round(x0) : round(x1)] = RED
            Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        names = tuple(f"{i}.png" for i in range(len(boxes)))
        n = len(boxes)
        images = Images(names, names, np.full(n, width), np.full(n, height), ("",) * n)
        rows = [(i, k, box) for i, of_image in enumerate(boxes) for k, box in enumerate(of_image)]
        is_crowd = np.isin(np.arange(len(rows)), crowd)
        no = np.zeros(len(rows), np.bool_)
        labels = tuple(str(k) for k in range(max((len(b) for b in boxes), default=0)))
        objects = Objects(
            np.array([row[0] for row in rows], np.int32), np.array([row[1] for row in rows], np.int32),
            np.array([row[2] for row in rows], np.float64), no, no, no, is_crowd, np.zeros(len(rows), np.int32),
        )  # fmt: skip
        return Dataset(tmp_path, labels, images, objects)

    return make
