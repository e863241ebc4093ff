"""Frames of a video to annotate: one in every so many seconds, without those that hardly differ from the last one."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.inference.frames import Frame, Video
from vocdet.inputs.images import Image

COMPARED_CELLS = 48  # cells a side in which frames are compared
CHANGED = 12.0  # of 255: difference of the mean color of a cell that noise does not explain
CELLS = 0.004  # share of the cells that must have changed: a small object that moves changes a few


def differing_frames(video: Video, every: float) -> Iterator[tuple[Frame, bool]]:
    """A frame in every `every` seconds, and whether it differs from the last one that did.

    An `ImageError` at the end of a file that has far fewer frames than it states.
    """
    step, due, last, seen = every * video.fps, 0.0, None, 0
    for frame in video.frames:
        seen = frame.number + 1
        if frame.number < due:
            continue
        due += max(step, 1.0)
        cells = _mean_colors(frame.pixels)
        differs = last is None or float((abs(cells - last).max(axis=2) > CHANGED).mean()) >= CELLS
        last = cells if differs else last
        yield frame, differs
    video.check_whole(seen)


def _mean_colors(image: Image) -> NDArray[np.float32]:
    """(COMPARED_CELLS, COMPARED_CELLS, 3) mean colors."""
    return cv2.resize(image, (COMPARED_CELLS, COMPARED_CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
