"""What a command that looked at a dataset says about the next one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vocdet_cli import render

if TYPE_CHECKING:
    from vocdet.data.dataset import Dataset


def same_dataset(data: Path, labels: Path | None, coordinates: str) -> list[str]:
    """What the next command is told of the dataset, as this one was."""
    more = (*render.given(labels, "--labels", None), *render.given(coordinates, "--coordinates", "auto"))
    return [*render.given(data), *more]


def training_command(dataset: Dataset) -> str:
    """The training to begin with: a classifier, unless there is nothing to tell apart."""
    return "train-backbone" if len(dataset.labels) > 1 else "train-ssd"
