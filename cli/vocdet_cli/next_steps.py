"""The command that a dataset needs next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vocdet_cli import render

if TYPE_CHECKING:
    from vocdet.data.dataset import Dataset


def same_dataset(data: Path, labels: Path | None, coordinates: str, crowds: str) -> list[str]:
    """The arguments that name the same dataset to the next command."""
    more = (*render.given(labels, "--labels", None), *render.given(coordinates, "--coordinates", "auto"))
    return [*render.given(data), *more, *render.given(crowds, "--crowds", "ignore")]


def training_command(dataset: Dataset) -> str:
    """The first training: a classifier, unless there is only one label."""
    return "train-backbone" if len(dataset.labels) > 1 else "train-ssd"
