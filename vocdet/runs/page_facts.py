"""What the page of an evaluation says of its run: facts, commands, curves of the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vocdet.plots.report_page import PageFacts
from vocdet.runs.facts import read_run, table_rows

CURVES = ("val_ap50", "val_ap", "val_f1", "val_mask_ap50", "val_mask_ap")


def page_facts(folder: Path, split: str, data: Path, commands: Sequence[str] = ()) -> PageFacts:
    """The facts in the files of a run; what cannot be read is left out. `commands` repeat the evaluation."""
    run = read_run(folder)
    known = {
        "run": str(folder),
        "network": f"{run.task} {run.net}, {run.size} pixels" if run.task else "",
        "dataset": str(run.data.get("root", data)),
        "training images": str(run.data.get("images", "")),
        "fingerprint of the data": run.dataset,
        "epochs": f"{run.epochs}, the best is {run.best_epoch}" if run.epochs else "",
        "time": f"{run.seconds / 60:.1f} minutes" if run.seconds else "",
        "started": run.started,
    }
    facts = {name: value for name, value in known.items() if value}
    recipe = {name: str(value) for name, value in run.recipe.items() if value not in (None, "", [], {})}
    return PageFacts(f"{folder.name} on {split}", facts, recipe, commands, _training(folder / "metrics.csv"))


def _training(path: Path) -> dict[str, list[float | None]]:
    """The validated metrics by epoch; empty without a journal."""
    rows = table_rows(path, [])
    columns = {name: [row.get(name) for row in rows] for name in ("epoch", *CURVES)}
    shown = {name: values for name, values in columns.items() if any(value is not None for value in values)}
    return shown if len(shown) > 1 and "epoch" in shown else {}
