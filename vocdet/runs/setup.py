"""What a training run needs before it can begin: a folder, a batch that fits, a place for decoded images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vocdet.formats import cache
from vocdet.inputs.image_cache import Keep
from vocdet.inputs.samples import Batch
from vocdet.recipes.schema import Data, R, changed
from vocdet.runs.folders import new_run
from vocdet.runs.resume import Resumed
from vocdet.training.batch_size import LARGEST, measured_batch
from vocdet.training.distributed import Group
from vocdet.training.losses import Task
from vocdet.training.precision import choose_precision


@contextmanager
def run_folder(runs: Path, task: str, net: str, group: Group, resumed: Resumed | None) -> Iterator[Path]:
    """The folder of a new run, the same in all processes, or of the one that goes on."""
    if resumed:
        yield resumed.run
    elif group.first:
        with new_run(runs, task, net) as run:
            group.gather(str(run))
            yield run
    else:
        yield Path(group.gather("")[0])


def with_batch(recipe: R, task: Task[Any], batch_of: Callable[[int], Batch], samples: int, group: Group) -> R:
    """The recipe with as many images in a batch as fit, where it leaves that open; the same in all processes.

    `batch_of(n)` makes a batch of n images to try. On a CPU no more than the recipe's kind has by default: small
    batches learn more there in the same time.
    """
    if recipe.train.batch:
        return recipe
    device = next(task.model.parameters()).device
    usual = type(recipe)().train.batch
    most = min(usual if device.type == "cpu" else LARGEST, max(1, samples // group.world))
    precision = choose_precision(recipe.train.precision, device)
    found = measured_batch(task, batch_of, precision=precision, most=most)
    (each,) = group.from_first([found])
    return changed(recipe, batch=int(each) * group.world)


def plain_batches(size: tuple[int, int]) -> Callable[[int], Batch]:
    """Makes batches of so many black images of a size (height, width), with an object in each."""

    def batch_of(n: int) -> Batch:
        images = torch.zeros((n, 3, *size), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        boxes = torch.tensor([[0.0, 0.0, size[1] / 2, size[0] / 2]]).expand(n, 1, 4)
        return Batch(images, boxes, torch.zeros((n, 1), dtype=torch.int64))

    return batch_of


def kept(data: Data) -> Keep:
    """Where decoded images are kept."""
    folder = cache.location()
    return Keep(where=data.cache, folder=folder / "images" if folder else None, shared=data.workers > 0)
