"""Which library runs a detector."""

from __future__ import annotations

from pathlib import Path

from vocdet_cli import render
from vocdet_cli.options import RunnerOptions


def note_backend(run: Path, runner: RunnerOptions) -> None:
    """Name the exported file that stands in for a run."""
    from vocdet.workflows.detector import choose_file

    file = choose_file(run, runner.backend, device=runner.device)
    if file != run:
        render.note(f"with {file}; use --backend torch for the run itself")
