"""Each image is decoded once, and what is kept is what was decoded."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vocdet.data.dataset import Dataset
from vocdet.formats.registry import read
from vocdet.formats.source import Source
from vocdet.inputs import image_memory, images
from vocdet.inputs.image_cache import ImageStore, Keep, Where
from vocdet.inputs.image_memory import memory_budget
from vocdet.inputs.images import decode, resize
from vocdet.machine import MemorySize

MakeDataset = Callable[..., Dataset]
RED = (255, 0, 0)
EVERYWHERE: tuple[Where, ...] = get_args(Where)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded from now on."""
    decoded: list[Path] = []

    def count(path: Path, *, oriented: bool = False, shrink: int = 1) -> NDArray[np.uint8]:
        decoded.append(path)
        return decode(path, oriented=oriented, shrink=shrink)

    monkeypatch.setattr(images, "decode", count)
    return decoded


def test_an_image_is_decoded_once(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    dataset = make_dataset([[(0, 0, 20, 20)]] * 4)
    store = ImageStore(dataset, at_most=(40, 60))
    for _ in range(3):
        assert np.array_equal(store[2], decode(dataset.root / "2.png"))
    assert len(decoded) == 1


def test_no_more_is_kept_than_fits(make_dataset: MakeDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    store = ImageStore(make_dataset([[]] * 5), at_most=(40, 60), keep=Keep(budget=2 * 60 * 40 * 3 + 100))
    for _ in range(3):
        for row in range(5):
            assert store[row].shape == (40, 60, 3)
    assert len(decoded) == 5 + 3 + 3  # two of five are kept


def test_images_are_kept_no_larger_than_they_are_used(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([[(0, 0, 30, 40)]], size=(60, 40))
    store = ImageStore(dataset, at_most=(10, 300), keep=Keep(budget=10 * 60 * 3 + 64))
    assert store[0].shape == (10, 60, 3)  # never enlarged
    assert np.shares_memory(store[0], store[0])
    assert store[0][:, :29, 0].min() > 250
    assert store[0][:, 31:, 0].max() < 5


def test_what_is_kept_cannot_be_changed(make_dataset: MakeDataset) -> None:
    store = ImageStore(make_dataset([[(0, 0, 30, 40)]]), at_most=(40, 60))
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            store[0][:] = 0


def test_the_budget_is_a_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    whole = memory_budget()
    assert 1 << 26 < whole < 1 << 45
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_budget() == whole // 4
    monkeypatch.setattr(image_memory, "memory", lambda: MemorySize(64 << 20, 1 << 20))
    assert memory_budget() == (64 << 20) // 16


def test_no_images_are_no_store(make_dataset: MakeDataset, tmp_path: Path) -> None:
    for where in EVERYWHERE:
        assert len(ImageStore(make_dataset([]), at_most=(40, 60), keep=Keep(where, tmp_path / "kept"))) == 0


@pytest.mark.parametrize("where", EVERYWHERE)
def test_images_are_the_same_wherever_they_are_kept(make_dataset: MakeDataset, tmp_path: Path, where: Where) -> None:
    dataset = make_dataset([[(3, 5, 33, 29)], [(10, 10, 60, 40)], []], size=(61, 43))
    store = ImageStore(dataset, at_most=(30, 100), keep=Keep(where, tmp_path / "kept"))
    for _ in range(2):
        for row in range(3):
            assert np.array_equal(store[row], resize(decode(store.path(row)), (30, 61)))


def kept_on_disk(dataset: Dataset, folder: Path, **more: Any) -> ImageStore:
    return ImageStore(dataset, at_most=(40, 60), keep=Keep("disk", folder, **more))


def read_all(store: ImageStore) -> list[NDArray[np.uint8]]:
    return [np.array(store[row]) for row in range(len(store))]


def test_the_next_run_finds_what_is_on_the_disk(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, kept = make_dataset([[(3, 5, 33, 29)], [(10, 10, 60, 40)], []]), tmp_path / "kept"
    first = read_all(kept_on_disk(dataset, kept))
    decoded = counted(monkeypatch)
    again = read_all(kept_on_disk(dataset, kept))
    assert not decoded
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert again[0][5:29, 3:33].min(axis=(0, 1)).tolist() == list(RED)
    assert len(list(kept.iterdir())) == 1


def test_what_is_off_leaves_nothing_on_the_disk(make_dataset: MakeDataset, tmp_path: Path) -> None:
    read_all(ImageStore(make_dataset([[]]), at_most=(40, 60), keep=Keep("off", tmp_path / "kept")))
    read_all(ImageStore(make_dataset([[]]), at_most=(40, 60), keep=Keep("disk", None)))
    assert not (tmp_path / "kept").exists()


def test_an_image_that_changed_is_decoded_again_and_the_others_are_not(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, kept = make_dataset([[], [], []]), tmp_path / "kept"
    read_all(kept_on_disk(dataset, kept))
    new = np.full((40, 60, 3), 99, np.uint8)
    Image.fromarray(new).save(dataset.root / "1.png")
    decoded = counted(monkeypatch)
    for _ in range(2):
        assert np.array_equal(read_all(kept_on_disk(dataset, kept))[1], new)
    assert decoded == [dataset.root / "1.png"]


def test_another_size_or_other_images_have_a_file_of_their_own(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset, kept = make_dataset([[(0, 0, 30, 40)], []]), tmp_path / "kept"
    read_all(kept_on_disk(dataset, kept))
    read_all(kept_on_disk(dataset.subset([1, 0]), kept))
    smaller = ImageStore(dataset, at_most=(20, 60), keep=Keep("disk", kept))
    assert smaller[0].shape == (20, 60, 3)
    assert len(list(kept.iterdir())) == 3
    assert read_all(kept_on_disk(dataset.subset([1, 0]), kept))[1][:, :30].min(axis=(0, 1)).tolist() == list(RED)


def half_written(path: Path, how: str) -> None:
    """A file as a process that was killed, or a machine that lost its power, may leave it."""
    content = bytearray(path.read_bytes())
    if how == "no pixels":  # the table was on the disk, the pixels were not
        content[4096:] = bytes(len(content) - 4096)
    elif how == "one page":
        content[4096:8192] = bytes(4096)
    elif how == "no table":
        content[:48] = bytes(48)
    elif how == "cut":
        del content[len(content) // 2 :]
    elif how == "garbage":
        content = bytearray(np.random.default_rng(0).bytes(len(content)))
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["no pixels", "one page", "no table", "cut", "garbage"])
def test_what_is_only_half_on_the_disk_is_not_taken_for_an_image(
    make_dataset: MakeDataset, tmp_path: Path, how: str
) -> None:
    dataset, kept = make_dataset([[(0, 0, 60, 40)]] * 3), tmp_path / "kept"
    first = read_all(kept_on_disk(dataset, kept))
    half_written(next(kept.iterdir()), how)
    for _ in range(2):
        assert all(np.array_equal(a, b) for a, b in zip(first, read_all(kept_on_disk(dataset, kept)), strict=True))


KILLED = """
import os, signal, sys, threading, time
import numpy as np
from pathlib import Path
from vocdet.formats.registry import read
from vocdet.formats.source import Source
from vocdet.inputs.image_cache import ImageStore, Keep
store = ImageStore(read(Source(Path(sys.argv[1]))).dataset, at_most=(400, 400), keep=Keep("disk", Path(sys.argv[2])))
threading.Timer(float(sys.argv[3]), lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
while True:
    store._usable[:] = False
    for row in range(len(store)):
        store._memory.write(16 * row, np.zeros(2, np.uint64))
        store[row]
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows ends processes in another way")
def test_a_process_that_is_killed_leaves_no_false_images(make_voc: Callable[..., Path], tmp_path: Path) -> None:
    root = make_voc({stem: [] for stem in "abcd"}, size=(400, 300))
    dataset = read(Source(root)).dataset
    expected = [decode(scene.path) for scene in dataset]
    for delay in ("0.01", "0.0203", "0.0517"):
        done = subprocess.run([sys.executable, "-c", KILLED, str(root), str(tmp_path / "kept"), delay], check=False)
        assert done.returncode == -signal.SIGKILL
        store = ImageStore(dataset, at_most=(400, 400), keep=Keep("disk", tmp_path / "kept"))
        for row, image in enumerate(expected):
            assert np.array_equal(store[row], image)


def test_two_at_once_share_one_file(make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset([[(3, 5, 33, 29)], [(10, 10, 60, 40)]])
    one, other = (kept_on_disk(dataset, tmp_path / "kept") for _ in range(2))
    first = np.array(one[0])
    decoded = counted(monkeypatch)
    assert np.array_equal(other[0], first)
    assert np.array_equal(other[1], one[1])
    assert len(decoded) == 1


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_a_store_in_another_process_reads_the_same_memory(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Where
) -> None:
    dataset = make_dataset([[(3, 5, 33, 29)], [(10, 10, 60, 40)]])
    store = ImageStore(dataset, at_most=(40, 60), keep=Keep(where, tmp_path / "kept", shared=True))
    first = np.array(store[0])
    other: ImageStore = pickle.loads(pickle.dumps(store))
    decoded = counted(monkeypatch)
    assert np.array_equal(other[0], first)
    assert np.array_equal(other[1], store[1])
    assert len(decoded) == 1


def test_without_memory_for_several_processes_a_file_stands_in_and_leaves_with_the_store(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    dataset = make_dataset([[(3, 5, 33, 29)], []])
    store = ImageStore(dataset, at_most=(40, 60), keep=Keep(shared=True))
    first = np.array(store[0])
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert np.array_equal(pickle.loads(pickle.dumps(store))[0], first)
    del store
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())
    alone = ImageStore(dataset, at_most=(40, 60))
    assert np.array_equal(alone[0], first)
    assert not list((tmp_path / "temporary").iterdir())
    assert np.array_equal(pickle.loads(pickle.dumps(alone))[0], first)  # decoded there


def test_a_disk_that_is_full_is_no_error(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, kept = make_dataset([[(3, 5, 33, 29)]] * 3), tmp_path / "kept"
    whole = read_all(ImageStore(dataset, at_most=(40, 60), keep=Keep("off")))
    write, written = os.pwrite, 0

    def full(handle: int, content: bytes, place: int) -> int:
        nonlocal written
        written += len(content)
        if written > 10_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content[:1000], place)

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(2):
        assert all(np.array_equal(a, b) for a, b in zip(whole, read_all(kept_on_disk(dataset, kept)), strict=True))
    monkeypatch.undo()
    assert all(np.array_equal(a, b) for a, b in zip(whole, read_all(kept_on_disk(dataset, kept)), strict=True))


def test_no_more_is_kept_on_the_disk_than_it_may_hold(make_dataset: MakeDataset, tmp_path: Path) -> None:
    dataset = make_dataset([[]] * 5)
    store = kept_on_disk(dataset, tmp_path / "kept", budget=2 * 7232)
    assert store.room == 2
    read_all(store)
    assert next((tmp_path / "kept").iterdir()).stat().st_size == 128 + 2 * 7232
    assert kept_on_disk(dataset, tmp_path / "other", budget=100).room == 0
    assert kept_on_disk(dataset, tmp_path / "kept").room == 5  # a file grows when there is more room
    assert kept_on_disk(dataset, tmp_path / "kept", budget=0).room == 5


def test_a_folder_that_cannot_be_written_is_no_error(make_dataset: MakeDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = kept_on_disk(make_dataset([[(3, 5, 33, 29)]]), tmp_path / "file" / "kept")
    assert store.room == 0
    assert store[0].shape == (40, 60, 3)


def test_files_that_were_not_used_for_long_leave_the_folder(make_dataset: MakeDataset, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    old, new, foreign = kept / f"{'a' * 32}.pixels", kept / f"{'b' * 32}.pixels", kept / "notes.pixels"
    for file in (old, new, foreign):
        file.write_bytes(b"x")
        if file != new:
            os.utime(file, (0, 0))
    kept_on_disk(make_dataset([[]]), kept)
    assert not old.exists()
    assert new.exists()
    assert foreign.exists()


def test_the_oldest_files_leave_when_all_are_too_large(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    files = [kept / f"{letter * 32}.pixels" for letter in "abc"]
    for age, file in enumerate(files):
        file.write_bytes(bytes(10_000))
        os.utime(file, (time.time() - 100 + age,) * 2)
    monkeypatch.setattr(image_memory, "LARGEST", 30_000)
    kept_on_disk(make_dataset([[]]), kept)
    assert [file.exists() for file in files] == [False, True, True]
