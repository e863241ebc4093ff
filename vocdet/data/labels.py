"""Labels by their meaning."""

from __future__ import annotations


def is_background(label: str) -> bool:
    """Whether a label stands for what is no object: background, pytorch-ssd's BACKGROUND, labelme's __ignore__."""
    return label.strip("_").casefold() == "background" or label.casefold() == "__ignore__"
