"""Which library runs a detector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vocdet_cli import render
from vocdet_cli.options import DetectOptions

if TYPE_CHECKING:
    from vocdet.workflows.detector import DetectorOptions


def chosen_backend(run: Path, runner: DetectOptions) -> DetectorOptions:
    """How the detector of a run is opened; an exported file that stands in for it is named."""
    from vocdet.runtimes.description import is_exported
    from vocdet.workflows.detector import DetectorOptions, choose_export

    tiles, export = runner.tiles(), choose_export(run, runner.backend, device=runner.device)
    if export and not is_exported(run):
        render.note(f"with {export.path}; use --backend torch for the run itself")
    backend = runner.backend if export else "torch"
    return DetectorOptions(runner.device, backend, tiles, runner.score, runner.batch, export)
