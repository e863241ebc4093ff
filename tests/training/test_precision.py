"""What training computes in, and where that makes no sense."""

from __future__ import annotations

import pytest
import torch

from vocdet.errors import ArgumentError
from vocdet.training.precision import choose_precision, make_scaler

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_cpu_uses_fp32_by_default() -> None:
    assert choose_precision("auto", CPU) is None
    assert choose_precision("fp32", CPU) is None


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_cpu_trains_in_fp32_alone(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"precision is {name} on a CPU, which trains in fp32") as caught:
        choose_precision(name, CPU)
    assert caught.value.hint == 'use `precision="auto"` or `precision="fp32"`'


@pytest.mark.parametrize(("knows", "chosen"), [(True, torch.bfloat16), (False, torch.float16)])
def test_cuda_has_bf16_where_it_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, knows: bool, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: knows)
    assert choose_precision("auto", CUDA) is chosen
    assert choose_precision("fp32", CUDA) is None


def test_only_fp16_needs_a_scaler() -> None:
    assert make_scaler(None, CPU) is None
    assert make_scaler(torch.bfloat16, CPU) is None
    scaler = make_scaler(torch.float16, CPU)
    assert scaler is not None
    assert scaler.get_scale() > 1
