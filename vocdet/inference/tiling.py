"""The detections in an image from those in its tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vocdet import masks
from vocdet.data.detections import Detections
from vocdet.data.seams import Merged, Windows, merge
from vocdet.data.texts import Texts
from vocdet.data.tiles import Tiles


def merged_images(detections: Sequence[Detections], tiles: Tiles, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
    """The detections in images of these (width, height) from those in all their views, one image after another."""
    images, first = [], 0
    for size in sizes:
        windows = tiles.views(*size)
        images.append(merged(detections[first : first + len(windows)], windows, size))
        first += len(windows)
    return images


def merged(found: Sequence[Detections], windows: Windows, size: tuple[int, int]) -> Detections:
    """The detections in an image of `size` (width, height) from those in its windows (V, 4), one for each object.

    See `vocdet.data.seams.merge`.
    """
    if len(found) == 1:
        return found[0]
    results = merge([(one.boxes, one.scores, one.labels) for one in found], windows, size)
    labels = np.concatenate([one.labels for one in found])
    return Detections(
        np.array([one.box for one in results]).reshape(-1, 4),
        np.array([one.score for one in results], np.float32),
        np.array([labels[one.rows[0]] for one in results], np.int64),
        _masks(results, found, windows, size),
    )


def _masks(
    results: Sequence[Merged], found: Sequence[Detections], windows: Windows, size: tuple[int, int]
) -> Texts | None:
    """The mask of every result in the image: that of the detection it shows, or those of its parts together."""
    if any(one.masks is None for one in found):
        return None
    width, height = size
    firsts = np.cumsum([0, *(len(one) for one in found)])
    texts = []
    for result in results:
        pixels = np.zeros((height, width), np.bool_)
        for row in result.shown:
            view = int(np.searchsorted(firsts, row, side="right")) - 1
            x0, y0, x1, y1 = windows[view].tolist()
            column = found[view].masks
            text = column[row - int(firsts[view])] if column is not None else b""
            counts = masks.counts_of(text, y1 - y0, x1 - x0)
            if counts is not None:
                pixels[y0:y1, x0:x1] |= masks.window(counts, y1 - y0, (0, 0, x1 - x0, y1 - y0))
        texts.append(masks.rle_json(pixels))
    return Texts.of(texts)
