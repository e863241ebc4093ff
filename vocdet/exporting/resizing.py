"""Resize an image inside a graph as `vocdet.inputs.images.resize` does outside: by averaging or bilinear.

Both are weighted sums of a few neighboring pixels, first along columns, then along rows. Positions are ratios of whole
numbers, so that no rounding moves a pixel. Averages equal those of OpenCV. Its bilinear sums drop bits on the way: here
they lose the mean of that, and one value in sixteen differs by 1 of 255. Dropping the same bits takes three times as
long, so the runtimes of vocdet resize with OpenCV instead, and the graph finds nothing left to do.
"""

from __future__ import annotations

import torch
from torch import Tensor

MOST_BILINEAR = 2  # shrinking by more averages
DROPPED = 0.125  # of a value, by OpenCV in a bilinear sum, on average


def resized(image: Tensor, size: tuple[int, int], to: Tensor | None = None, reach: int | None = None) -> Tensor:
    """An image (H, W, 3) uint8 of any size as (3, height, width), whole numbers as floats, at `size`.

    With `to` (2,), height and width, the image gets that size at the top left, and what remains is 0. Then `reach` is
    the number of pixels along a side that one place may depend on.
    """
    height, width = image.shape[0], image.shape[1]
    goal = torch.tensor(size) if to is None else to
    sides = torch.tensor([height, width])
    average = (sides > MOST_BILINEAR * goal).all()
    rows = _shrunk(image.reshape(height, -1), height, size[0], goal[0], average, reach)  # (h, W * 3)
    columns = rows.reshape(size[0], width, 3).permute(1, 2, 0).reshape(width, -1)  # (W, 3 * h)
    pixels = _shrunk(columns, width, size[1], goal[1], average, reach)  # (w, 3 * h)
    whole = (4 * sides % goal == 0).all()  # quarters of a pixel lose few bits
    lost = torch.where(average | whole, 0.0, DROPPED)
    return (pixels - lost).round().clamp(min=0).reshape(size[1], 3, size[0]).permute(1, 2, 0)


def _shrunk(lines: Tensor, count: int, places: int, goal: Tensor, average: Tensor, reach: int | None) -> Tensor:
    """Lines (count, N) as (places, N): the first `goal` are weighted sums, all others 0."""
    pixels, weights = _taps(count, places, goal, average, reach)
    taps = lines.index_select(0, pixels.flatten()).reshape(places, -1, lines.shape[1]).to(torch.float32)
    return torch.bmm(weights[:, None], taps)[:, 0]


def _taps(count: int, places: int, goal: Tensor, average: Tensor, reach: int | None) -> tuple[Tensor, Tensor]:
    """The pixels (places, K) of `count` that contribute to each of `goal` places, and their weights; 0 beyond."""
    at = torch.arange(places)[:, None]  # (places, 1)
    step = torch.arange((count + places - 1) // places + 1 if reach is None else reach)  # (K,)
    center = ((2 * at + 1) * count - goal).clamp(min=0).minimum(2 * goal * (count - 1))  # in 1 / (2 * goal) pixels
    first = torch.where(average, at * count // goal, center // (2 * goal))
    pixel = first + step
    low, high = torch.maximum(at * count, pixel * goal), torch.minimum((at + 1) * count, (pixel + 1) * goal)
    overlap = (high - low).clamp(min=0).to(torch.float32) / count  # of `count`, in 1 / goal pixels
    near = 1 - (center - 2 * goal * pixel).abs().to(torch.float32) / (2 * goal)
    weights = torch.where(average, overlap, near.clamp(min=0))
    return pixel.clamp(max=count - 1), torch.where(at < goal, weights, 0.0)
