"""Each image is decoded once, and what is cached is what was decoded."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.inputs import image_cache
from vocdet.inputs import images as image_files
from vocdet.inputs.image_cache import CacheOptions, ImageCache, memory_budget
from vocdet.inputs.images import decode, resize
from vocdet.machine import MemorySize

MakeDataset = Callable[..., Dataset]
RED = (255, 0, 0)
OPTIONS = (CacheOptions(), CacheOptions(shared=True), CacheOptions(budget=0))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from now on."""
    decoded: list[Path] = []

    def count(path: Path, **options: Any) -> NDArray[np.uint8]:
        decoded.append(path)
        return decode(path, **options)

    monkeypatch.setattr(image_files, "decode", count)
    return decoded


def test_an_image_is_decoded_once(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    dataset = make_dataset([[(0, 0, 20, 20)]] * 4)
    images = ImageCache(dataset, at_most=(40, 60))
    for _ in range(3):
        assert np.array_equal(images[2], decode(dataset.root / "2.png"))
    assert len(decoded) == 1


def test_no_more_is_cached_than_the_budget_allows(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    images = ImageCache(make_dataset([[]] * 5), at_most=(40, 60), options=CacheOptions(budget=2 * 60 * 40 * 3 + 100))
    for _ in range(3):
        for row in range(5):
            assert images[row].shape == (40, 60, 3)
    assert len(decoded) == 5 + 3 + 3  # two of five are cached


def test_images_are_cached_no_larger_than_training_uses_them(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(0, 0, 30, 40)]], size=(60, 40))
    images = ImageCache(dataset, at_most=(10, 300), options=CacheOptions(budget=10 * 60 * 3 + 64))
    assert images[0].shape == (10, 60, 3)  # never enlarged
    assert np.shares_memory(images[0], images[0])
    assert images[0][:, :29, 0].min() > 250
    assert images[0][:, 31:, 0].max() < 5


def test_cached_images_are_read_only(make_dataset: MakeDataset) -> None:
    images = ImageCache(make_dataset([[(0, 0, 30, 40)]]), at_most=(40, 60))
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            images[0][:] = 0


def test_the_default_budget_is_a_quarter_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    whole = memory_budget()
    assert 1 << 26 < whole < 1 << 45
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_budget() == whole // 4
    monkeypatch.setattr(image_cache, "memory", lambda: MemorySize(64 << 20, 1 << 20))
    assert memory_budget() == (64 << 20) // 16


def test_a_dataset_may_have_no_images(make_dataset: MakeDataset) -> None:
    for options in OPTIONS:
        assert len(ImageCache(make_dataset([]), at_most=(40, 60), options=options)) == 0


@pytest.mark.parametrize("options", OPTIONS)
def test_images_are_the_same_with_and_without_a_cache(make_dataset: MakeDataset, options: CacheOptions) -> None:
    dataset = make_dataset([[(3, 5, 33, 29)], [(10, 10, 60, 40)], []], size=(61, 43))
    images = ImageCache(dataset, at_most=(30, 100), options=options)
    for _ in range(2):
        for row in range(3):
            assert np.array_equal(images[row], resize(decode(images.path(row)), (30, 61)))


def test_a_slot_that_is_half_written_counts_as_empty(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(0, 0, 60, 40)]] * 3)
    images = ImageCache(dataset, at_most=(40, 60))
    first = [np.array(images[row]) for row in range(3)]
    images._verified[:] = False  # as in a process that has not used them
    images._bytes[64 + 4096 : 64 + 8192] = 0
    images._table[2] = 0
    for _ in range(2):
        assert all(np.array_equal(a, images[row]) for row, a in enumerate(first))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forked processes")
def test_a_forked_process_shares_the_memory(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset([[(3, 5, 33, 29)], [(10, 10, 60, 40)]])
    images = ImageCache(dataset, at_most=(40, 60))
    process = multiprocessing.get_context("fork").Process(target=images.__getitem__, args=(0,))
    process.start()
    process.join()
    assert process.exitcode == 0
    decoded = counted(monkeypatch)
    assert images[0][5:29, 3:33].min(axis=(0, 1)).tolist() == list(RED)
    assert not decoded


def test_a_pickled_cache_shares_its_memory_only_if_it_is_shared(
    make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = make_dataset([[(3, 5, 33, 29)], [(10, 10, 60, 40)]])
    for shared, expected in ((True, 1), (False, 2)):
        images = ImageCache(dataset, at_most=(40, 60), options=CacheOptions(shared=shared))
        first = np.array(images[0])
        other: ImageCache = pickle.loads(ForkingPickler.dumps(images))
        decoded = counted(monkeypatch)
        assert np.array_equal(other[0], first)
        assert np.array_equal(other[1], images[1])
        assert len(decoded) == expected + (not shared)
        monkeypatch.undo()
