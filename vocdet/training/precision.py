"""What the sums of training are made in."""

from __future__ import annotations

import torch

from vocdet.errors import VocdetError

TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The type for automatic mixed precision, or None for fp32 throughout.

    `auto` is bf16 on a CUDA device that computes in it, fp16 on an older one, and fp32 on a CPU: there bf16 in eager
    mode is slower. fp16 on a CPU is an error.
    """
    if name == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if name == "fp16" and device.type == "cpu":
        raise VocdetError("precision is fp16 on a CPU", hint="use auto, fp32 or bf16 there")
    return TYPES[name]


def make_scaler(precision: torch.dtype | None, device: torch.device) -> torch.amp.GradScaler | None:
    """What keeps small gradients from vanishing in fp16; the others need none."""
    return torch.amp.GradScaler(device.type) if precision is torch.float16 else None
