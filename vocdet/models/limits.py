"""Limits of every model's description, so that a damaged file cannot request all memory."""

from __future__ import annotations

from vocdet.recipes.schema import LARGEST


def check_input(labels: tuple[str, ...], size: tuple[int, int], std: tuple[float, float, float]) -> None:
    """Raise `ValueError` for missing or duplicate labels, an input size (pixels) out of range, or a zero deviation."""
    if not labels or len(set(labels)) != len(labels):
        raise ValueError("no labels, or a duplicate label")
    if not all(1 <= side <= LARGEST for side in size):
        raise ValueError(f"an input size of {size[0]}x{size[1]} pixels")
    if not all(std):
        raise ValueError("a standard deviation of 0")
