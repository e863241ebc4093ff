"""What a training needs before its first step: options, a run folder, a batch size that fits, a cache of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vocdet.errors import CheckpointError
from vocdet.fetching.weights_files import SILENT, Downloads
from vocdet.file_names import check_recordable
from vocdet.files import check_writable
from vocdet.inputs.batches import Batch
from vocdet.inputs.image_cache import CacheOptions
from vocdet.inputs.loader import START_METHOD
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.recipes.schema import Data, R, changed
from vocdet.runs.folders import new_run
from vocdet.runs.resume import UnfinishedRun, refuse_running
from vocdet.runs.start import StartingWeights
from vocdet.runs.tracking import Service
from vocdet.runs.weights_choice import find_weights
from vocdet.training.batch_size import LARGEST_BATCH, measured_batch
from vocdet.training.distributed import Group, alone
from vocdet.training.losses import Task
from vocdet.training.precision import choose_precision


def never() -> bool:
    """Do not stop."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunOptions:
    """Where and how a training runs; its recipe says what it trains."""

    runs: Path = Path("runs")  # the folder of all runs; a new run gets a new folder in it
    device: str = "auto"
    resume: Path | None = None  # the folder of a run to continue
    given: frozenset[str] = frozenset()  # those of `resume.CHOICES` that the user chose
    group: Group = field(default_factory=alone)  # the processes that train together; only the first one writes
    track: Service | None = None  # a tracking service that receives a copy of the journal
    stop: Callable[[], bool] = never  # training ends after the step in which this is true
    downloads: Downloads = SILENT  # of published weights
    reasons: Mapping[str, str] = field(default_factory=dict)  # why settings of the recipe have their values


def starting_weights(
    weights: str, spec: BackboneSpec, options: RunOptions, task: str, *, complete: bool = True, neck: bool = False
) -> StartingWeights:
    """The weights that a recipe names; see `find_weights`. The first process finds them before all others.

    A process that finds other weights than the first, on another machine for example, raises a `CheckpointError`.
    """
    group = options.group

    def find() -> StartingWeights:
        return find_weights(
            weights, spec, options.runs, task=task, complete=complete, neck=neck, downloads=options.downloads
        )

    start = None
    try:
        start = find() if group.first else None
    finally:
        first, *_ = group.gather((start.name, start.sha256) if start else None)
    start = start or find()
    if first is not None and first[1] != start.sha256:
        problem = (
            f"process {group.rank + 1} starts from {start.name or 'scratch'}, the first from {first[0] or 'scratch'}"
        )
        raise CheckpointError(problem, hint="copy the file to the same folder on every machine")
    return start


def check_run_folder(options: RunOptions) -> None:
    """Raise an error, before anything is read, if the files of a run cannot be written, or another process does."""
    if options.resume:
        if options.group.first:
            refuse_running(options.resume)
        check_writable(options.resume, inside=True, hint="copy the run to a writable folder")
    else:
        check_recordable(options.runs)
        check_writable(options.runs, inside=True)


@contextmanager
def run_folder(options: RunOptions, task: str, net: str, unfinished: UnfinishedRun | None) -> Iterator[Path]:
    """The folder of a new run, the same in all processes, or of the unfinished one."""
    group = options.group
    if unfinished:
        yield unfinished.run
    elif group.first:
        with new_run(options.runs, task, net) as run:
            group.gather(str(run))
            yield run
    else:
        yield Path(group.gather("")[0])


def with_batch(recipe: R, task: Task[Any], batch_of: Callable[[int], Batch], samples: int, group: Group) -> R:
    """The recipe with the largest batch that fits in memory, if it leaves the batch open; the same in all processes.

    `batch_of(n)` makes a batch of n images to try. On a CPU the batch is at most the recipe's default: small batches
    learn more there in the same time.
    """
    if recipe.train.batch:
        return recipe
    device = next(task.model.parameters()).device
    default = type(recipe)().train.batch
    most = min(default if device.type == "cpu" else LARGEST_BATCH, max(1, samples // group.world))
    precision = choose_precision(recipe.train.precision, device)
    batch = measured_batch(task, batch_of, precision=precision, most=most)
    (each,) = group.from_first([batch])
    return changed(recipe, batch=int(each) * group.world)


def blank_batches(size: tuple[int, int]) -> Callable[[int], Batch]:
    """A function that makes a batch of n black images of a size (height, width), with one object in each."""

    def batch_of(n: int) -> Batch:
        images = torch.zeros((n, 3, *size), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        boxes = torch.tensor([[0.0, 0.0, size[1] / 2, size[0] / 2]]).expand(n, 1, 4)
        return Batch(images, boxes, torch.zeros((n, 1), dtype=torch.int64))

    return batch_of


def image_cache(data: Data) -> CacheOptions:
    """How many decoded images are cached, and for which processes."""
    return CacheOptions(budget=None if data.cache == "ram" else 0, shared=data.workers > 0 and START_METHOD == "spawn")
