"""The device on which ONNX Runtime runs a file."""

from __future__ import annotations

import pytest

from vocdet.errors import DeviceError
from vocdet.runtimes.onnx import _providers

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def test_a_device_is_a_provider_and_its_number() -> None:
    assert _providers("auto", [CUDA, CPU]) == [CUDA, CPU]
    assert _providers("cpu", [CUDA, CPU]) == _providers("cpu:0", [CPU]) == [CPU]
    assert _providers("cuda", [CUDA, CPU]) == [CUDA]
    assert _providers("cuda:1", [CUDA, CPU]) == [(CUDA, {"device_id": "1"})]


@pytest.mark.parametrize("device", ["cuda:1", "tpu", "cpu:x"])
def test_an_unknown_device_is_an_error(device: str) -> None:
    with pytest.raises(DeviceError, match=f"device '{device}' is not available in ONNX Runtime"):
        _providers(device, [CPU])
