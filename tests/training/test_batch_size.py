"""How many images a batch may have is measured on the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vocdet.errors import DeviceError
from vocdet.inputs.batches import Batch
from vocdet.machine import MemorySize
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.training import batch_size
from vocdet.training.batch_size import free_memory, measured_batch
from vocdet.training.losses import Task
from vocdet.training.tasks import ClassifyTask


def task(width: float = 0.25) -> Task[Any]:
    torch.manual_seed(0)
    return ClassifyTask(
        Classifier(ClassifierSpec(BackboneSpec("mb1", width), ("a", "b", "c"))), (0.5,) * 3, (0.5,) * 3, smoothing=0.0
    )


def batch_of(size: int) -> Any:
    def make(n: int) -> Batch:
        images = torch.zeros((n, 3, size, size), dtype=torch.uint8)
        return Batch(images, torch.zeros(n, 0, 4), torch.zeros(n, 1, dtype=torch.int64))

    return make


def found(monkeypatch: pytest.MonkeyPatch, megabytes: float, size: int = 64, width: float = 0.25) -> int:
    monkeypatch.setattr(batch_size, "free_memory", lambda device: int(megabytes * 2**20))
    return measured_batch(task(width), batch_of(size), precision=None, most=1000)


def test_more_memory_smaller_images_and_a_smaller_net_make_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = found(monkeypatch, 100)
    assert 8 <= usual < 1000
    assert usual % 8 == 0
    assert found(monkeypatch, 200) == pytest.approx(2 * usual, rel=0.3)
    assert found(monkeypatch, 100, size=128) == pytest.approx(usual / 4, rel=0.3)
    assert found(monkeypatch, 100, width=0.5) < usual


def test_a_batch_never_exceeds_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "free_memory", lambda device: 1 << 34)
    assert measured_batch(task(), batch_of(32), precision=None, most=24) == 24


def test_what_does_not_fit_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"one image needs \d+ MB, more than the memory of cpu has free"):
        found(monkeypatch, 1)


def test_measuring_changes_nothing() -> None:
    mine = task()
    before = {key: value.clone() for key, value in mine.model.state_dict().items()}
    measured_batch(mine, batch_of(32), precision=None, most=16)
    assert all(torch.equal(before[key], value) for key, value in mine.model.state_dict().items())


def test_the_memory_of_a_cpu_is_what_the_container_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory(torch.device("cpu")) > 1 << 20
    monkeypatch.setattr(batch_size, "memory", lambda: MemorySize(1 << 30, 100 << 20))
    assert free_memory(torch.device("cpu")) == 100 << 20
