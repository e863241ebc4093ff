"""A finished training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vocdet.plots import notebook


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """The folder of a training, and the metrics of the checkpoint it keeps; a notebook shows them with the curves.

    >>> run.path.name
    'ssd-mb1-0.25-1'
    >>> sorted(run.metrics)
    ['ap', 'ap50']
    """

    path: Path  # holds best.safetensors, recipe.toml, metrics.csv, curves.png, …
    metrics: Mapping[str, float]  # of the validation: ap50, ap, …; empty without one
    best_epoch: int  # whose weights are kept; 0: no epoch was validated
    epochs: int  # completed
    interrupted: bool = False  # whether it can be resumed
    remarks: tuple[str, ...] = ()  # why training ended, which weights are kept, and how far the metrics can be trusted

    def __repr__(self) -> str:
        metrics = "".join(f", {name} {value:.3f}" for name, value in self.metrics.items())
        best = f", best: {self.best_epoch}" if self.best_epoch else ""
        return f"<run {self.path}, epochs: {self.epochs}{best}{metrics}>"

    def _repr_html_(self) -> str:
        from vocdet.runs.journal import CURVES  # loads torch

        curves = notebook.png_file(self.path / CURVES, notebook.LARGE, alt="losses and metrics by epoch")
        remarks = "".join(map(notebook.note, self.remarks))
        rows = self.metrics.items()
        return notebook.heading(repr(self)[1:-1]) + notebook.table(("metric", "value"), rows) + remarks + curves

    def __fspath__(self) -> str:
        return str(self.path)
