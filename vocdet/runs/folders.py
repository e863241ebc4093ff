"""Run folders: `runs/<task>-<net>-N`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocdet.errors import RunError, VocdetError
from vocdet.files import make_folder, unwritable
from vocdet.models.checkpoint import SUFFIX, CheckpointInfo, read_info
from vocdet.outputs import BEST, write_marker
from vocdet.recipes.schema import DETECTORS

NOT_FINITE_FILE = "not-finite.json"  # the images of a step that was not finite


def make_run(folder: Path, task: str, net: str) -> Path:
    """A new, empty run folder with the first free number; two processes never get the same."""
    number = 1 + max((run_number(run.name) for run in folder.glob(f"{task}-{net}-*")), default=0)
    make_folder(folder)
    while True:
        run = folder / f"{task}-{net}-{number}"
        try:
            run.mkdir()
            return run
        except FileExistsError:
            number += 1
        except OSError as error:
            raise unwritable(run, error) from error


@contextmanager
def new_run(folder: Path, task: str, net: str) -> Iterator[Path]:
    """A new run folder; it is deleted if the block ends without a checkpoint, or a list of bad images, in it."""
    run = make_run(folder, task, net)
    try:
        write_marker(run, "run")
        yield run
    finally:
        if not any(run.glob(f"*{SUFFIX}")) and not (run / NOT_FINITE_FILE).exists():
            shutil.rmtree(run, ignore_errors=True)


def newest_detector(folder: Path) -> Path:
    """The detector run with the newest best checkpoint."""
    return newest_run(folder, *DETECTORS)


def newest_run(folder: Path, *tasks: str, net: str | None = None, reduced_tail: bool | None = None) -> Path:
    """The run of one of these tasks (and of this backbone) with the newest best checkpoint; a `RunError` if none."""
    runs = []
    for best in folder.glob(f"*/{BEST}"):
        try:
            info = read_info(best)
        except VocdetError:
            continue  # not a run, or a damaged one
        same_net = net is None or info.backbone.name == net
        same_tail = reduced_tail is None or info.backbone.reduced_tail == reduced_tail
        if info.task in tasks and same_net and same_tail:
            runs.append((best.stat().st_mtime_ns, best.parent))
    if not runs:
        wanted = f"{' or '.join(tasks)} run" + (f" of {net}" if net else "")
        backbone = tasks == ("backbone",)
        train = "`vocdet.train_backbone(dataset)`" if backbone else "`vocdet.train_detector(dataset)`"
        raise RunError(f"no {wanted} in this folder", place=folder, hint=f"run {train}, or name a run")
    return max(runs)[1]


def run_info(run: Path) -> CheckpointInfo:
    """The description of a run's best checkpoint, or of a checkpoint file."""
    return read_info(run / BEST if run.is_dir() else run)


def run_number(name: str) -> int:
    """The number at the end of a name such as `ssd-mb3-small-2`; 0 if there is none."""
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 9 else 0
