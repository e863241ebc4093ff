"""The number types that training computes in."""

from __future__ import annotations

import torch

from vocdet.errors import ArgumentError

TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The type for automatic mixed precision, or None for fp32 throughout.

    `auto` is bf16 on a CUDA device that supports it, fp16 on an older one, and fp32 on a CPU. Another type on a CPU is
    an `ArgumentError`: bf16 is slower there, and gradients of depthwise convolutions on maps of one pixel can be NaN.
    """
    if name == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if name != "fp32" and device.type == "cpu":
        raise ArgumentError(
            f"precision is {name} on a CPU, which trains in fp32", hint='use `precision="auto"` or `precision="fp32"`'
        )
    return TYPES[name]


def make_scaler(precision: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler | None:
    """A scaler that keeps small gradients from vanishing in fp16; None for the other types."""
    return torch.amp.GradScaler(device.type) if precision is torch.float16 else None
