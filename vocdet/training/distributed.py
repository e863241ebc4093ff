"""The processes that train one model together, each on a device of its own, as torchrun starts them.

There is no `DistributedDataParallel` here. A loss is a sum over the whole batch divided by a count over the whole
batch, so the counts of all processes are added up between forward and backward, and the gradients after it: that gives
what one process with the whole batch has, whatever part of it each of them has. A process whose part of the last batch
is empty adds zeros, and adding up the gradients of several batches needs no special case. What the wrapper would gain,
gradients that travel while backward is still at work, is little for a MobileNet: it has few parameters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vocdet.errors import VocdetError

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)  # for a process that does not answer: the first may be busy with pictures or a disk
_LOST = re.compile(r"by peer|gloo/transport|broken pipe|ncclRemoteError|communicator was aborted|timed? ?out", re.I)
_LATE = re.compile(r"timed? ?out", re.I)


class PeerEnded(VocdetError):
    """Another process of the training ended or hangs; why, it says itself."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a training; every operation is to be called by all of them, in the same order.

    Of a process that is alone every operation gives back what it was given. Where another one ended or hangs an
    operation raises `PeerEnded`.
    """

    rank: int = 0  # of this process: 0 is the first, the one that writes and decides
    world: int = 1  # how many there are

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Put the sum over all processes in the place of a tensor; the same, bit for bit, in every process."""
        if self.world > 1:
            with _together():
                dist.all_reduce(tensor)

    def sum_flat(self, tensors: Sequence[Tensor]) -> None:
        """The same for many tensors at once: those of one type travel together."""
        if self.world > 1:
            for alike in _alike(tensors):
                flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
                self.sum_(flat)
                _give_back(flat, alike)

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Put the first process's values in the place of tensors, so that all start from the same."""
        if self.world > 1:
            for alike in _alike(tensors):
                flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
                if flat.numel():
                    with _together():
                        dist.broadcast(flat.view(torch.uint8), 0)  # as bytes: not every backend knows every type
                _give_back(flat, alike)

    def from_first(self, values: Sequence[float]) -> list[float]:
        """The first process's numbers, as many as are given: its clock, and what it decides."""
        if self.world == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.float64)
        self.broadcast_([told])
        return [float(value) for value in told]

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.world == 1:
            return flag
        count = torch.tensor([int(flag)])
        self.sum_(count)
        return bool(count)

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of their ranks; it is pickled on its way."""
        if self.world == 1:
            return [value]
        found: list[T] = [value] * self.world
        with _together():
            dist.all_gather_object(found, value)
        return found

    def merge(self, mine: Sequence[T]) -> list[T]:
        """What all processes have, in the order of their ranks: what they made of their `part`s, in order again."""
        return [one for each in self.gather(list(mine)) for one in each]


def alone() -> Group:
    """The group of a process that trains by itself."""
    return Group()


@contextmanager
def join(device: str | torch.device = "cpu") -> Iterator[Group]:
    """Inside, this process and its peers are a group, as torchrun's environment tells it: `RANK`, `WORLD_SIZE`,
    `MASTER_ADDR` and `MASTER_PORT`.

    `device` is the one this process trains on; CUDA devices talk by NCCL, CPUs by gloo. Without such an environment
    the process is alone. A group that was made before is used as it is, and kept. Where the processes do not find
    each other it is a `VocdetError`.
    """
    if dist.is_available() and dist.is_initialized():
        yield Group(dist.get_rank(), dist.get_world_size())
        return
    rank, world = place_in_world()
    if world == 1:
        yield alone()
        return
    cuda = _is_cuda(device)
    try:
        # gloo beside NCCL: counts, decisions and detections are no CUDA tensors
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise VocdetError(
            f"process {rank + 1} of {world} did not find the others: {reason}",
            hint="start them with --device 0,1 or with torchrun, which sets RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT",
        ) from error
    try:
        yield Group(rank, world)
    finally:
        dist.destroy_process_group()


def _is_cuda(device: str | torch.device) -> bool:
    """Whether it is a CUDA device, which is then this process's current one."""
    try:
        if torch.device(device).type != "cuda":
            return False
        torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, ValueError) as error:  # AssertionError: torch was built without CUDA
        raise VocdetError(f"there is no device {str(device)!r}", hint="use --device cpu, or CUDA as in 0,1") from error
    return True


def place_in_world() -> tuple[int, int]:
    """Rank and number of the processes that torchrun's environment tells of: (0, 1) without one."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return 0, 1
    try:
        rank, world = int(os.environ.get("RANK", "")), int(os.environ["WORLD_SIZE"])
    except ValueError:
        rank, world = -1, 0
    if not 0 <= rank < world:
        given = ", ".join(f"{name}={os.environ.get(name, '')}" for name in ("RANK", "WORLD_SIZE"))
        raise VocdetError(f"the environment says {given}", hint="unset both, or start with torchrun, which sets them")
    return rank, world


def part(n: int, rank: int, world: int) -> slice:
    """The rows out of `n` that a process looks at: nearly equal parts, in order; empty where there are fewer rows."""
    each, more = divmod(n, world)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def synchronized(model: nn.Module) -> nn.Module:
    """The model with batch norms that see the batches of all processes; weights and their names stay the same.

    Every process then has to run the model as often as all others, on an empty batch too.
    """
    if any(parameter.device.type != "cuda" for parameter in model.parameters()):
        raise VocdetError(
            "batch norms over several processes need CUDA devices",
            hint="leave sync_norm out on the CPU",
        )
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return made


@contextmanager
def _together() -> Iterator[None]:
    """Inside, what comes of a process that ended is `PeerEnded`."""
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        if _LATE.search(str(error)):
            minutes = round(PATIENCE.total_seconds() / 60)
            problem, hint = f"another process of this training has not answered for {minutes} minutes", "it may hang"
        else:
            problem, hint = "another process of this training ended", "its message is above"
        raise PeerEnded(problem, hint=hint) from error


def _alike(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors by their type and device."""
    found: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(found.values())


@torch.no_grad()
def _give_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    at = 0
    for tensor in tensors:
        tensor.copy_(flat[at : at + tensor.numel()].view(tensor.shape))
        at += tensor.numel()
