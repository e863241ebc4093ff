"""The processes that train one model together, each on its own device, as torchrun starts them.

This module does without `DistributedDataParallel`. A loss is a sum over the whole batch divided by a count over the
whole batch, so the counts of all processes are added up between forward and backward, and the gradients after it. The
result is that of one process with the whole batch, however it is divided. A process whose share of the last batch is
empty adds zeros, and accumulating the gradients of several batches needs no special case. The wrapper sends gradients
while backward is still running, which gains little for a MobileNet with its few parameters.
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

from vocdet.errors import ArgumentError, DeviceError, PeerError, TrainingError

T = TypeVar("T")

PROCESS_TIMEOUT = timedelta(
    minutes=30
)  # for a process that does not answer: the first may be busy with plots or a disk
_LOST = re.compile(r"by peer|gloo/transport|broken pipe|ncclRemoteError|communicator was aborted|timed? ?out", re.I)
_LATE = re.compile(r"timed? ?out", re.I)


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a training. All of them must call every operation, in the same order.

    In a single process every operation returns its argument. If another process ended or hangs, an operation raises
    `PeerError`.
    """

    rank: int = 0  # of this process: 0 is the first, the one that writes and decides
    world: int = 1  # number of processes

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and decides."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all processes; the same, bit for bit, in every process."""
        if self.world > 1:
            with _together():
                dist.all_reduce(tensor)

    def sum_flat(self, tensors: Sequence[Tensor]) -> None:
        """The same for many tensors at once: those of one type are sent together."""
        if self.world > 1:
            for alike in _by_type(tensors):
                flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
                self.sum_(flat)
                _give_back(flat, alike)

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the first process, so that all start with the same values."""
        if self.world > 1:
            for alike in _by_type(tensors):
                flat = torch.cat([tensor.detach().reshape(-1) for tensor in alike])
                if flat.numel():
                    with _together():
                        dist.broadcast(flat.view(torch.uint8), 0)  # as bytes: not every backend knows every type
                _give_back(flat, alike)

    def from_first(self, values: Sequence[float]) -> list[float]:
        """The numbers of the first process: its clock, and its decisions."""
        if self.world == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64)
        self.broadcast_([numbers])
        return [float(value) for value in numbers]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.world == 1:
            return flag
        count = torch.tensor([int(flag)])
        self.sum_(count)
        return bool(count)

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of their ranks; they are pickled."""
        if self.world == 1:
            return [value]
        values: list[T] = [value] * self.world
        with _together():
            dist.all_gather_object(values, value)
        return values

    def merge(self, mine: Sequence[T]) -> list[T]:
        """The items of all processes in the order of their ranks: results of `share_of` rows in order."""
        return [one for each in self.gather(list(mine)) for one in each]


def alone() -> Group:
    """The group of a single process."""
    return Group()


@contextmanager
def join(device: str | torch.device = "cpu") -> Iterator[Group]:
    """Inside, this process and its peers form a group, described by torchrun's environment variables `RANK`,
    `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`.

    `device` is the one this process trains on; CUDA devices communicate by NCCL, CPUs by gloo. Without these variables
    the group is this process alone. An existing group is used and left open. If the processes cannot connect, it is a
    `TrainingError`.
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
        # gloo beside NCCL: counts, decisions and detections are CPU tensors
        dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PROCESS_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(
            f"process {rank + 1} of {world} did not find the others: {reason}",
            hint="start them with torchrun, which sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT",
        ) from error
    try:
        yield Group(rank, world)
    finally:
        dist.destroy_process_group()


def _is_cuda(device: str | torch.device) -> bool:
    """Whether it is a CUDA device, which becomes this process's current one."""
    try:
        if torch.device(device).type != "cuda":
            return False
        torch.cuda.set_device(device)
    except (RuntimeError, AssertionError, ValueError) as error:  # AssertionError: torch was built without CUDA
        raise DeviceError(f"there is no device {str(device)!r}", hint='use `device="cpu"` or `device="0,1"`') from error
    return True


def place_in_world() -> tuple[int, int]:
    """Rank and number of processes from torchrun's environment variables: (0, 1) without them."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return 0, 1
    try:
        rank, world = int(os.environ.get("RANK", "")), int(os.environ["WORLD_SIZE"])
    except ValueError:
        rank, world = -1, 0
    if not 0 <= rank < world:
        given = ", ".join(f"{name}={os.environ.get(name, '')}" for name in ("RANK", "WORLD_SIZE"))
        raise ArgumentError(f"the environment says {given}", hint="unset both, or start with torchrun, which sets them")
    return rank, world


def share_of(n: int, rank: int, world: int) -> slice:
    """The rows out of `n` that a process handles: nearly equal shares, in order; empty if there are fewer rows."""
    each, more = divmod(n, world)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def synchronized(model: nn.Module) -> nn.Module:
    """The model with batch norms over the batches of all processes; weights and their names are the same.

    Every process must then run the model as often as all others, on an empty batch, too.
    """
    if any(parameter.device.type != "cuda" for parameter in model.parameters()):
        raise DeviceError(
            "batch norms over several processes need CUDA devices",
            hint="set sync_norm = false in the recipe to train on the CPU",
        )
    converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    return converted


@contextmanager
def _together() -> Iterator[None]:
    """Inside, errors caused by the end of a process become `PeerError`."""
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        if _LATE.search(str(error)):
            minutes = round(PROCESS_TIMEOUT.total_seconds() / 60)
            problem, hint = f"another process of this training has not answered for {minutes} minutes", "it may hang"
        else:
            problem, hint = "another process of this training ended", "its message is above"
        raise PeerError(problem, hint=hint) from error


def _by_type(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors by their type and device."""
    groups: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    return list(groups.values())


@torch.no_grad()
def _give_back(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    at = 0
    for tensor in tensors:
        tensor.copy_(flat[at : at + tensor.numel()].view(tensor.shape))
        at += tensor.numel()
