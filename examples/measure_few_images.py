"""Measure what training keeps with few images: a sample of a dataset is trained on, all other images are held out.

    python examples/measure_few_images.py FOLDER [--images 10 20 50 100] [--seeds 0 1 2] [--mode default patience-0]
        [--weights FILE] [--size 320] [--minutes 0] [--held 0] [--rows few-images.jsonl]

Every run appends a row to a file, and a run that is there is skipped: start it again after an interruption. A row has
AP50 and AP on the held-out images of three checkpoints: the one that the run keeps, its best epoch on val, and its last
weights. `default` trains as `vocdet train-ssd` does without options; `patience-0` trains for 100 passes over the images
and keeps the best epoch. The table at the end names the cells that were not run.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import vocdet

vocdet.prepare_cpu()  # before torch is loaded: training on a CPU is faster

MODES: Mapping[str, dict[str, Any]] = {"default": {}, "patience-0": {"epochs": 100, "patience": 0}}
FIGURES = ("kept", "best", "last")


def measured(options: argparse.Namespace, images: int, seed: int, mode: str) -> dict[str, Any]:
    """Train on a sample, and evaluate three checkpoints on all other images, or on `--held` of them."""
    everything = vocdet.read(options.folder, skip_bad=True)
    values = MODES[mode] | {"weights": options.weights, "size": options.size, "seed": seed, "minutes": options.minutes}
    with tempfile.TemporaryDirectory(prefix="few-images-") as work:
        vocdet.sample(options.folder, Path(work, "data"), images, seed=seed, skip_bad=True)
        few = vocdet.split(vocdet.read(Path(work, "data")), seed=seed)
        chosen = set(few.images.stems)
        rest = np.array([i for i, stem in enumerate(everything.images.stems) if stem not in chosen])
        if 0 < options.held < len(rest):
            rest = np.sort(np.random.default_rng(0).choice(rest, options.held, replace=False))
        begin = (time.time(), time.process_time())
        result = trained(few, Path(work, "runs"), values)
        row = {
            "dataset": options.folder.name, "images": images, "seed": seed, "mode": mode, "values": values,
            "commit": commit(), "train": len(few.splits["train"]), "val": len(few.splits["val"]),
            "held": len(rest), "minutes": round((time.time() - begin[0]) / 60, 2),
            "cpu_minutes": round((time.process_time() - begin[1]) / 60, 2), "steps": result["steps"],
            "best_epoch": result["summary"].peak_epoch, "kept_epoch": result["summary"].best_epoch,
            "remarks": result["summary"].remarks(),
        }  # fmt: skip
        for name, file in zip(FIGURES, ("best", "peak", "last"), strict=True):
            checkpoint = result["run"] / f"{file}.safetensors"
            report = vocdet.evaluate(everything.subset(rest), checkpoint, split="all")
            row |= {f"{name}_ap50": round(report.overall.ap50 or 0, 4), f"{name}_ap": round(report.overall.ap or 0, 4)}
    if mode == "patience-0":  # what was kept before: the best epoch, however little val can tell
        row |= {"kept_ap50": row["best_ap50"], "kept_ap": row["best_ap"]}
    return row


def trained(dataset: vocdet.Dataset, runs: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The run, its summary and its steps; the weights of its best epoch on val are `peak.safetensors`."""
    steps = 0
    for event in vocdet.training_events(dataset, runs=runs, **values):
        if isinstance(event, vocdet.Epoch):
            steps = event.at.steps
            run = next(runs.iterdir())
            if event.best:
                shutil.copy(run / "best.safetensors", run / "peak.safetensors")
    if not isinstance(event, vocdet.DetectorResult):
        raise TypeError(f"a training ended with {event}")
    return {"run": event.run, "summary": event.summary, "steps": steps}


def commit() -> str:
    """The commit of this checkout, if it is one."""
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def table(rows: list[dict[str, Any]], cells: list[tuple[int, int, str]]) -> str:
    """AP50 on the held-out images, a line a cell; a cell without a row is named."""
    known = {(row["images"], row["seed"], row["mode"]): row for row in rows}
    lines = ["| images | seed | mode | steps | kept | best epoch | last weights |", "|---|---|---|---|---|---|---|"]
    for images, seed, mode in cells:
        row = known.get((images, seed, mode))
        figures = [f"{row[f'{name}_ap50']:.3f}" for name in FIGURES] if row else ["not run", "", ""]
        lines.append(f"| {images} | {seed} | {mode} | {row['steps'] if row else ''} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the cells that are not in the file, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--weights", default="auto")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--held", type=int, default=0, help="held-out images to evaluate; 0: all")
    parser.add_argument("--rows", type=Path, default=Path("few-images.jsonl"))
    parser.add_argument("--table", action="store_true", help="only print the table")
    options = parser.parse_args()
    same = {"dataset": options.folder.name, "held_limit": options.held}
    cells = [(n, seed, mode) for n in options.images for seed in options.seeds for mode in options.mode]

    def done() -> list[dict[str, Any]]:
        lines = options.rows.read_text().splitlines() if options.rows.exists() else []
        rows = [json.loads(line) for line in lines]
        return [
            row for row in rows if row.items() >= same.items() and row["values"]["size"] == options.size
            and row["values"]["minutes"] == options.minutes and row["values"]["weights"] == options.weights
        ]  # fmt: skip

    for images, seed, mode in [] if options.table else cells:
        if any((row["images"], row["seed"], row["mode"]) == (images, seed, mode) for row in done()):
            continue
        row = measured(options, images, seed, mode) | same
        with options.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    print(table(done(), cells))


if __name__ == "__main__":
    main()
