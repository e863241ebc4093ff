"""Train and evaluate detectors cell by cell, and make the table of the results.

    python examples/measure_detectors.py cells.toml results.jsonl [--rival COMMAND] [--table]

Every cell is trained with every seed, and each result is a line of the results file: a stopped measurement continues
where it was, because it skips what the file has. The test split is evaluated by pycocotools. `--table` prints the
Markdown table of the file; a cell without a result is named as not run. The cells:

    [[cells]]
    name = "bccd"
    data = "../data/bccd"           # copied into --work first: nothing is written there
    minutes = 8
    size = 320                      # of the rival's input, and for {size}
    seeds = [0, 1, 2]
    commands = ["train-ssd {data} --net mb3-small --minutes {minutes} --seed {seed}"]   # of vocdet, in order

`--rival 'python other.py {data} --minutes {minutes} --size {size} --seed {seed}'` measures another program beside it,
alternating. The last line of its output is a JSON object with ap50 and ap, and with more numbers if it has them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomllib

Row = dict[str, Any]
ROUNDS = 30  # of the latency


@dataclass(frozen=True, slots=True)
class Cell:
    """What is trained, on what, for how long."""

    name: str
    data: Path
    minutes: float
    size: int
    seeds: tuple[int, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One training of a cell: by vocdet, or by the rival."""

    cell: Cell
    side: str  # vocdet or rival
    seed: int
    commands: tuple[str, ...]  # with {data} and {runs} still open

    @property
    def key(self) -> tuple[object, ...]:
        """What a row must have to be the result of this job."""
        return self.cell.name, self.side, self.seed, self.cell.minutes, self.commands


def read_cells(path: Path) -> list[Cell]:
    """The cells of a TOML file; folders are relative to it."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Cell(one["name"], path.parent / one["data"], float(one["minutes"]), int(one.get("size", 320)),
             tuple(one.get("seeds", [0])), tuple(one["commands"]))
        for one in content["cells"]
    ]  # fmt: skip


def jobs(cells: Sequence[Cell], rival: str) -> Iterator[Job]:
    """All trainings, the sides in turn."""
    for cell in cells:
        for seed in cell.seeds:
            known = {"minutes": f"{cell.minutes:g}", "size": cell.size, "seed": seed}
            open_ = {"data": "{data}", "runs": "{runs}"}
            yield Job(cell, "vocdet", seed, tuple(text.format(**known, **open_) for text in cell.commands))
            if rival:
                yield Job(cell, "rival", seed, (rival.format(**known, **open_),))


def read_rows(path: Path) -> list[Row]:
    """The results so far; a line that was not written to its end is passed over."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a line with one write, on a line of its own even after one that was not finished."""
    finished = not path.exists() or path.read_bytes()[-1:] in (b"\n", b"")
    text = ("" if finished else "\n") + json.dumps(row) + "\n"
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, text.encode())
        os.fsync(file)
    finally:
        os.close(file)


def key_of(row: Row) -> tuple[object, ...]:
    """The key of the job that a row is the result of."""
    return row["cell"], row["side"], row["seed"], row["minutes"], tuple(row["commands"])


def measure(job: Job, work: Path, vocdet: Sequence[str]) -> Row:
    """Train and evaluate; a program that fails is a `CalledProcessError`."""
    data = work / "data" / job.cell.data.name
    if not data.exists():
        copy = data.with_name(f"{data.name}.partial")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(job.cell.data, copy, copy_function=shutil.copyfile)
        copy.rename(data)
    runs = work / "runs" / f"{job.cell.name}-{job.seed}".replace("/", "-")
    begun, measured = time.time(), {}
    if job.side == "rival":
        program = job.commands[0].format(data=shlex.quote(str(data)), runs=shlex.quote(str(runs)))
        done = subprocess.run(shlex.split(program), check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(done.stdout.strip().splitlines()[-1])
    else:
        shutil.rmtree(runs, ignore_errors=True)
        for command in job.commands:
            words = shlex.split(command.format(data=shlex.quote(str(data)), runs=shlex.quote(str(runs))))
            subprocess.run([*vocdet, *words, "--runs", str(runs)], check=True, stdout=subprocess.DEVNULL)
        measured = result_of(runs, data)
    return {
        "cell": job.cell.name, "side": job.side, "seed": job.seed, "minutes": job.cell.minutes,
        "commands": list(job.commands), **measured, "commit": commit(), "machine": machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(begun)), "seconds": round(time.time() - begun),
    }  # fmt: skip


def result_of(runs: Path, data: Path) -> Row:
    """The metrics of the newest detector in a folder of runs, its epochs, steps and latency."""
    import csv

    from vocdet.formats.scan import Source
    from vocdet.inference.predictor import load_predictor
    from vocdet.runs.folders import newest_detector
    from vocdet.workflows.eval_options import EvalOptions
    from vocdet.workflows.evaluate import evaluate_detector
    from vocdet.workflows.load import load_dataset

    run = newest_detector(runs)
    loaded = load_dataset(Source(data, skip_bad=True))
    evaluation = evaluate_detector(load_predictor(run, device="cpu"), loaded, EvalOptions("test"))
    with (run / "metrics.csv").open(newline="") as file:
        epochs = sum(1 for _ in csv.DictReader(file))
    one_core = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    timed = subprocess.run(
        [sys.executable, __file__, "--latency", str(run)], check=True, stdout=subprocess.PIPE, text=True, env=one_core
    )
    return average_precision(evaluation.ground_truth, evaluation.detections) | {
        "epochs": epochs, "latency_ms": float(timed.stdout),
    }  # fmt: skip


def average_precision(ground_truth: Any, detections: Sequence[Any]) -> Row:
    """AP at each IoU by pycocotools, their mean, and those at .5 and .75."""
    import numpy as np
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def wide_high(boxes: Any) -> list[list[float]]:
        sides: list[list[float]] = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).tolist()
        return sides

    objects, found = ground_truth.objects, []
    boxes = wide_high(objects.box)
    for row, one in enumerate(detections):
        found += [
            {"image_id": row + 1, "category_id": int(label) + 1, "bbox": box, "score": float(score)}
            for box, score, label in zip(wide_high(one.boxes), one.scores, one.labels, strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": row + 1} for row in range(len(ground_truth))],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(ground_truth.labels)],
            "annotations": [
                {"id": i + 1, "image_id": int(objects.image[i]) + 1, "category_id": int(objects.label[i]) + 1,
                 "bbox": box, "area": box[2] * box[3], "iscrowd": int(objects.crowd[i])}
                for i, box in enumerate(boxes)
            ],
        }  # fmt: skip
        truth.createIndex()
        score = COCOeval(truth, truth.loadRes(found), "bbox") if found else None
        if score is None:
            return {"ap50": 0.0, "ap": 0.0, "ap75": 0.0, "ap_at": {}}
        score.evaluate()
        score.accumulate()
    precision = score.eval["precision"][:, :, :, 0, 2]  # IoU, recall, label; all sizes, 100 detections
    known = precision[0, 0] > -1  # labels with objects
    at = {f"{iou:.2f}": float(precision[i][:, known].mean()) for i, iou in enumerate(score.params.iouThrs)}
    return {"ap50": at["0.50"], "ap": statistics.mean(at.values()), "ap75": at["0.75"], "ap_at": at}


def network_latency(run: Path) -> float:
    """Milliseconds of the network alone for one image, median; on one core if one thread is set."""
    import torch

    from vocdet.models.checkpoint import load_checkpoint
    from vocdet.models.folding import fold_norms
    from vocdet.outputs import BEST

    model, about = load_checkpoint(run / BEST)
    fold_norms(model.eval())
    image = torch.zeros((1, 3, *about.size)).contiguous(memory_format=torch.channels_last)
    taken = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            model(image)
            taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


def commit() -> str:
    """The commit of this checkout, with a + if files differ from it; "" outside of one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True).stdout
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name.strip() + ("+" if changed else "")


def machine() -> str:
    """The processor and the number of cores."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"


def table(cells: Sequence[Cell], rows: Sequence[Row], rival: str) -> str:
    """The results as Markdown: the mean over seeds, and in parentheses the smallest and the largest."""
    by_key: Mapping[tuple[object, ...], Row] = {key_of(row): row for row in rows}
    lines = [
        "| cell | minutes | by | seeds | AP50 | AP | AP75 | epochs | network, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    sides = ("vocdet", "rival") if rival else ("vocdet",)
    for cell in cells:
        wanted = list(jobs([cell], rival))
        for side in sides:
            own = [job for job in wanted if job.side == side]
            found = [by_key[job.key] for job in own if job.key in by_key]
            values = [_spread([row[name] for row in found if name in row]) for name in ("ap50", "ap", "ap75")]
            costs = [_mean([row[name] for row in found if name in row]) for name in ("epochs", "latency_ms")]
            ran = f"{len(found)} of {len(own)}" if found else "**not run**"
            lines.append(f"| {' | '.join([cell.name, f'{cell.minutes:g}', side, ran, *values, *costs])} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f}" if values else "–"


def run_all(cells: Sequence[Cell], results: Path, work: Path, rival: str, vocdet: Sequence[str]) -> int:
    """Measure what the results lack, and return the number of failures."""
    failures = 0
    for job in jobs(cells, rival):
        if job.key in {key_of(row) for row in read_rows(results)}:
            continue
        name = f"{job.cell.name}, {job.side}, seed {job.seed}"
        try:
            row = measure(job, work, vocdet)
        except (subprocess.CalledProcessError, json.JSONDecodeError) as error:
            print(f"{name}: failed: {error}", file=sys.stderr)
            failures += 1
            continue
        append_row(results, row)
        print(f"{name}: AP50 {row['ap50']:.3f}, AP {row['ap']:.3f}", flush=True)
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=Path, nargs="?")
    parser.add_argument("results", type=Path, nargs="?")
    parser.add_argument(
        "--rival", default="", help="command of another program, with {data}, {minutes}, {size}, {seed}"
    )
    parser.add_argument("--vocdet", default=f"{shlex.quote(sys.executable)} -m vocdet_cli", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, default=Path("measured"), help="folder for copies of the data, and runs")
    parser.add_argument("--table", action="store_true", help="print the table of the results, and measure nothing")
    parser.add_argument("--latency", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.latency:
        print(network_latency(options.latency))
        return 0
    if not options.cells or not options.results:
        parser.error("name the file of the cells and the file of the results")
    cells = read_cells(options.cells)
    failures = 0
    if not options.table:
        failures = run_all(cells, options.results, options.work, options.rival, shlex.split(options.vocdet))
    print(table(cells, read_rows(options.results), options.rival))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
