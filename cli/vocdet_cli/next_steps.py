"""The command that a dataset needs next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vocdet_cli import render

if TYPE_CHECKING:
    from vocdet.data.dataset import Dataset
    from vocdet.formats.scan import Source


def same_dataset(source: Source) -> list[str]:
    """The arguments that name the same dataset to the next command."""
    return [*render.given(source.path), *same_options(source)]


def same_options(source: Source) -> list[str]:
    """The options with which the next command reads a dataset in the same way."""
    return [
        *render.given(source.format, "--from", "auto"),
        *render.given(source.labels, "--labels", None),
        *render.given(source.coordinates, "--coordinates", "auto"),
        *render.given(source.crowds, "--crowds", "ignore"),
    ]


def training_command(dataset: Dataset) -> str:
    """The first training: a classifier, unless there is only one label."""
    return "train-backbone" if len(dataset.labels) > 1 else "train-ssd"
