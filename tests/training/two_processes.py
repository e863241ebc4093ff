"""What each of two processes does, and what it found: run by `test_distributed.py`, with torchrun's environment."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from vocdet.errors import PeerError
from vocdet.inputs.batches import Batch
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.training.distributed import Group, alone, join, share_of
from vocdet.training.learner import Learner
from vocdet.training.optim import MovingAverage, make_optimizer
from vocdet.training.shards import Shards
from vocdet.training.tasks import DetectTask

IMAGES, BATCH = 9, 4  # the last batch is one image: the second process has none of it
EPOCHS = 2


def sums(group: Group) -> dict[str, Any]:
    """Process r starts from tensors of r + 1."""
    mine = float(group.rank + 1)
    one = torch.full((3,), mine, dtype=torch.float64)
    group.sum_(one)
    many = [
        torch.full((2, 3, 4, 5), mine).to(memory_format=torch.channels_last) * torch.arange(5),
        torch.tensor(10 * mine),
        torch.full((2,), group.rank + 1),
        torch.zeros(0),
        torch.full((2, 2), mine, requires_grad=True),
    ]
    group.sum_flat(many)
    strides = many[0].stride()
    uneven = torch.rand(999, generator=torch.Generator().manual_seed(group.rank))
    group.sum_flat([uneven])
    return {"one": one, "many": [t.detach() for t in many], "strides": strides, "uneven": uneven}


def words(group: Group) -> dict[str, Any]:
    weights = [torch.full((3, 2), float(group.rank)), torch.tensor(group.rank), torch.tensor([group.rank == 0])]
    group.broadcast_([*weights, torch.zeros(0, dtype=torch.bfloat16)])
    rows = list(range(5))[share_of(5, group.rank, group.world)]
    return {
        "weights": weights,
        "clock": group.from_first([0.1 + group.rank, float("nan")]),
        "any": [group.any(flag) for flag in (False, group.rank == 1, True)],
        "gathered": group.gather({"rank": group.rank}),
        "merged": group.merge([row * row for row in rows]),
        "merged with nothing": group.merge(["a"][share_of(1, group.rank, group.world)]),
        "inside": joined_again(),
    }


def joined_again() -> Group:
    with join() as group:
        return group


class FrozenNorm(nn.BatchNorm2d):
    """A batch norm that keeps the statistics it has."""

    def train(self, mode: bool = True) -> FrozenNorm:
        return super().train(False)


def detector(*, frozen: bool) -> SsdLite:
    """The same every time."""
    torch.manual_seed(0)
    model = SsdLite(SsdSpec(BackboneSpec("mb1", 0.25), ("a", "b", "c"), (64, 64), torchvision_anchors()))
    for norm in [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]:
        norm.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
        if frozen:
            norm.__class__ = FrozenNorm
    return model


def pictures() -> Batch:
    """Images with one to three objects, so that the parts of a batch match different numbers of anchors."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (IMAGES, 3, 64, 64), generator=generator, dtype=torch.uint8)
    corner = 30 * torch.rand(IMAGES, 3, 2, generator=generator)
    boxes = torch.cat([corner, corner + 10 + 20 * torch.rand(IMAGES, 3, 2, generator=generator)], 2)
    labels = torch.randint(0, 3, (IMAGES, 3), generator=generator)
    labels[::2, 1:] = -1
    return Batch(pixels, boxes, labels)


def learned(group: Group, optimizer: str, accumulate: int, *, frozen: bool) -> dict[str, Any]:
    """Losses of every step and the weights after a few epochs, a process with its part of every batch."""
    model = detector(frozen=frozen)
    task = DetectTask(model)
    average = MovingAverage(model, detector(frozen=False), decay=0.9)
    chosen = make_optimizer(model, name=optimizer, lr=0.01, weight_decay=0.01)
    learner = Learner(Shards(task, 1, group), chosen, average, group, clip=1.0)
    whole, images = pictures(), 0
    losses: list[dict[str, float]] = []
    for epoch in range(EPOCHS):
        order = np.random.default_rng(epoch).permutation(IMAGES)
        parts = [np.array_split(order[k : k + BATCH], group.world)[group.rank] for k in range(0, IMAGES, BATCH)]
        batches = [Batch(whole.images[rows], whole.boxes[rows], whole.labels[rows]) for rows in parts]
        for first in range(0, len(batches), accumulate):
            step, count = learner.step(batches[first : first + accumulate], 1.0, len(losses))
            losses.append(step)
            images += count
    return {"losses": losses, "images": images, "weights": state(model), "average": state(average.model)}


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items() if value.is_floating_point()}


def trainings(group: Group) -> dict[str, Any]:
    """Together, each with its part of every batch; and the first alone with the whole."""
    kinds = {"sgd": ("sgd", 1), "adamw": ("adamw", 1), "muon": ("muon", 1), "two batches a step": ("sgd", 2)}
    found: dict[str, Any] = {"before": state(detector(frozen=True))}
    for name, (optimizer, accumulate) in kinds.items():
        found[name] = learned(group, optimizer, accumulate, frozen=True)
        if group.first:
            found[f"{name}, alone"] = learned(alone(), optimizer, accumulate, frozen=True)
    found["free norms"] = learned(group, "sgd", 1, frozen=False)
    return found


def an_end(group: Group) -> dict[str, Any]:
    """The second process fails; the first waits for it."""
    if group.rank == 1:
        raise KeyError("the second fails")
    try:
        group.sum_(torch.ones(1))
    except PeerError as error:
        return {"problem": str(error)}
    return {}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    try:
        with join("cpu") as group:
            found = {"group": group, **sums(group), **words(group), **trainings(group)}
            found |= an_end(group)
    except KeyError as error:
        found["failed"] = str(error)
    found["open"] = dist.is_initialized()
    (folder / f"{os.environ['RANK']}.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    second = os.fork()  # after the imports, which take longer than everything else
    os.environ["RANK"] = "0" if second else "1"
    main(Path(sys.argv[1]))
    if second:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]))
