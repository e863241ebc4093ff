"""Run folders: `runs/<task>-<net>-N`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vocdet.errors import CheckpointError, VocdetError
from vocdet.files import make_folder, unwritable
from vocdet.inference.predictor import BEST
from vocdet.models.build import DETECTORS
from vocdet.models.checkpoint import SUFFIX, CheckpointInfo, read_info


def make_run(folder: Path, task: str, net: str) -> Path:
    """A new, empty run folder with the first free number; two processes never get the same."""
    number = 1 + max((n for n in map(_number, folder.glob(f"{task}-{net}-*")) if n), default=0)
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
    """A run folder that is gone again when the block ends without a checkpoint in it."""
    run = make_run(folder, task, net)
    try:
        yield run
    finally:
        if not any(run.glob(f"*{SUFFIX}")):
            shutil.rmtree(run, ignore_errors=True)


def newest_detector(folder: Path) -> Path:
    """The run of any detector whose best checkpoint was written last."""
    return newest_run(folder, *DETECTORS)


def newest_run(folder: Path, *tasks: str, net: str | None = None, reduced_tail: bool | None = None) -> Path:
    """The run of one of these tasks (and of this backbone) whose best checkpoint was written last."""
    found = []
    for best in folder.glob(f"*/{BEST}"):
        try:
            about = read_info(best)
        except VocdetError:
            continue  # someone else's folder, or a damaged one: not a run to choose unasked
        same_net = net is None or about.backbone.name == net
        same_tail = reduced_tail is None or about.backbone.reduced_tail == reduced_tail
        if about.task in tasks and same_net and same_tail:
            found.append((best.stat().st_mtime_ns, best.parent))
    if not found:
        which = f"{' or '.join(tasks)} run" + (f" of {net}" if net else "")
        hint = f"run {' or '.join(f'vocdet train-{task}' for task in tasks)}, or name a run"
        raise CheckpointError(f"there is no {which} in it", place=folder, hint=hint)
    return max(found)[1]


def run_info(run: Path) -> CheckpointInfo:
    """What the best checkpoint of a run says of itself."""
    return read_info(run / BEST if run.is_dir() else run)


def _number(run: Path) -> int:
    tail = run.name.rsplit("-", 1)[1]
    return int(tail) if tail.isascii() and tail.isdigit() and len(tail) < 9 else 0
