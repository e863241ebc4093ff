"""The largest batch that fits in memory, measured on the network itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vocdet.errors import DeviceError
from vocdet.inputs.batches import Batch
from vocdet.machine import memory
from vocdet.training.losses import Task

SHARE = 0.7  # of the free memory; the rest is for kernels and other programs
STEP = 8  # larger batches are multiples of this
LARGEST_BATCH = 1024


def measured_batch(
    task: Task[Any], batch_of: Callable[[int], Batch], *, precision: torch.dtype | None, most: int
) -> int:
    """The largest batch, `most` at most, whose training step fits into the free memory of the model's device.

    `batch_of(n)` makes a batch of n images. Its memory is measured with two small batches: the values retained for
    the backward pass, and on CUDA the peak. If not even one image fits, it is a `DeviceError`.
    """
    device = next(task.model.parameters()).device
    measure = _peak if device.type == "cuda" else _retained
    model = copy.deepcopy(task.model).train()  # its norms may see images that are not real
    one, two = (measure(task, model, batch_of(n), precision) for n in (2, 4))
    per_image = max(1, (two - one) // 2)
    fixed = max(0, one - 2 * per_image)
    optimizer = 4 * sum(p.numel() * p.element_size() for p in task.model.parameters())  # gradient, average, two moments
    fits = int((SHARE * free_memory(device) - fixed - optimizer) / per_image)
    if fits < 1:
        need = (fixed + optimizer + per_image) >> 20
        raise DeviceError(
            f"one image needs {need} MB, more than the memory of {device} has free",
            hint="use a smaller `size=` or `net=`, or close other programs that use the memory",
        )
    return min(most, LARGEST_BATCH, fits if fits < STEP else fits // STEP * STEP)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; for a CPU those that this process may still allocate."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return memory().available


def _retained(task: Task[Any], model: nn.Module, batch: Batch, precision: torch.dtype | None) -> int:
    """Bytes of the values that the forward pass retains for the backward pass, without weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    retained: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            retained[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = _forward(task, model, batch, precision)
        size = sum(retained.values())
    del losses
    return 2 * size  # the gradients need about as much again during the backward pass


def _peak(task: Task[Any], model: nn.Module, batch: Batch, precision: torch.dtype | None) -> int:
    """Bytes at the peak of a step, beyond those allocated before."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    torch.autograd.grad(torch.stack(_forward(task, model, batch, precision)).sum(), parameters)
    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device)) - before


def _forward(task: Task[Any], model: nn.Module, batch: Batch, precision: torch.dtype | None) -> list[Tensor]:
    device = next(model.parameters()).device
    with torch.autocast(device.type, precision, enabled=precision is not None):
        return [share.total for share in task.losses(model, batch).values()]
