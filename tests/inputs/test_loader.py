"""Threads and processes make the batches that one thread makes, and no process is left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from tests.inputs.masked import polygon_text, rle_text, save_dataset
from vocdet.data.dataset import Dataset
from vocdet.errors import ImageError, TrainingError
from vocdet.inputs.batches import Batch, EpochPlan, batches
from vocdet.inputs.crop_samples import CropAugmentation, CropSamples
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.image_cache import CacheOptions
from vocdet.inputs.loader import START_METHOD, Loader, _report
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.inputs.samples import Samples
from vocdet.inputs.transforms import Augmentation

MakeDataset = Callable[..., Dataset]
BOXES = [[(6.0, 8.0, 30.0, 20.0)], [(33.0, 4.0, 57.0, 36.0), (2.0, 2.0, 20.0, 20.0)], [], [(10.0, 10.0, 30.0, 30.0)]]


@pytest.fixture
def samples(make_dataset: MakeDataset) -> DetectionSamples:
    return DetectionSamples(make_dataset(BOXES * 3, size=(120, 90)), (64, 64), Augmentation(mosaic=0.5, mixup=0.3))


def same(one: Iterator[Batch], other: Iterator[Batch]) -> bool:
    return all(
        torch.equal(a.images, b.images)
        and a.images.is_contiguous(memory_format=torch.channels_last) == b.images.is_contiguous(memory_format=torch.channels_last)
        and torch.equal(a.boxes, b.boxes)
        and torch.equal(a.labels, b.labels)
        and a.rows == b.rows
        and (a.sizes is None) == (b.sizes is None)
        and (a.sizes is None or b.sizes is None or torch.equal(a.sizes, b.sizes))
        and (a.masks is None) == (b.masks is None)
        and (a.masks is None or b.masks is None or np.array_equal(a.masks.where, b.masks.where))
        and (a.masks is None or b.masks is None or np.array_equal(a.masks.pixels, b.masks.pixels))
        for a, b in zip(one, other, strict=True)
    )  # fmt: skip


def test_threads_make_the_same_batches_in_the_same_order(samples: DetectionSamples) -> None:
    for threads in (1, 3):
        with Loader(samples, threads=threads) as loader:
            for epoch in (1, 2):
                made = loader.batches(EpochPlan(4, seed=5, epoch=epoch, shuffle=True, skip=1))
                assert same(made, batches(samples, EpochPlan(4, seed=5, epoch=epoch, shuffle=True, skip=1)))


def test_processes_make_the_same_batches_in_the_same_order(
    samples: DetectionSamples, make_dataset: MakeDataset
) -> None:
    with Loader(samples, workers=2) as loader:
        for epoch in (1, 2):
            made = loader.batches(EpochPlan(3, seed=5, epoch=epoch, shuffle=True))
            assert same(made, batches(samples, EpochPlan(3, seed=5, epoch=epoch, shuffle=True)))
        made = loader.batches(EpochPlan(3, seed=5, epoch=1, order=np.array([4, 4, 1, 0]), rank=2, world=3))
        first, second = made
        assert first.rows[0] == 1
        assert (len(first), len(second)) == (1, 0)
    crops = CropSamples(make_dataset(BOXES), 32, context=0.1, augmentation=CropAugmentation())
    with Loader(crops, workers=1) as loader:
        assert same(
            loader.batches(EpochPlan(3, seed=5, epoch=1, shuffle=True)),
            batches(crops, EpochPlan(3, seed=5, epoch=1, shuffle=True)),
        )


def test_masks_and_sizes_are_the_same_from_processes_and_threads(tmp_path: Path) -> None:
    images, objects = [], []
    for i, (width, height) in enumerate([(160, 120), (90, 140), (100, 100), (60, 200)] * 2):
        images.append(np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8))
        blob = np.zeros((height, width), np.bool_)
        blob[20:60, 10:50] = True
        objects.append([
            ((10, 20, 50, 60), rle_text(blob)), ((20, 30, 55, 70), polygon_text([20, 30, 55, 30, 40, 70])),
            ((0, 0, 30, 30), b""),
        ])  # fmt: skip
    augmentation = Augmentation(mosaic=0.3, mixup=0.3, copy_paste=0.5, rotate=True)
    dataset = save_dataset(tmp_path, images, objects)
    for size in (ResizeShortestEdge(64, 100, (0.5, 1.5)), (64, 64)):
        samples = DetectionSamples(dataset, size, augmentation, masks=True)
        expected = list(batches(samples, EpochPlan(3, seed=5, epoch=1, shuffle=True)))
        assert sum(len(batch.masks.pixels) for batch in expected if batch.masks) > 5000
        with Loader(samples, workers=2) as loader:
            assert same(loader.batches(EpochPlan(3, seed=5, epoch=1, shuffle=True)), iter(expected))
            first, *_ = loader.batches(EpochPlan(2, seed=5, epoch=1, order=np.array([4]), rank=1, world=2))
            assert len(first) == 0
        with Loader(samples, threads=3) as loader:
            assert same(loader.batches(EpochPlan(3, seed=5, epoch=1, shuffle=True)), iter(expected))


def test_processes_are_asked_to_end_before_any_is_terminated(
    samples: DetectionSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, shutdown = [], _MultiProcessingDataLoaderIter._shutdown_workers

    def shut_down(items: _MultiProcessingDataLoaderIter) -> None:
        alive.append([process.is_alive() for process in before])
        shutdown(items)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_shutdown_workers", shut_down)
    with Loader(samples, workers=2) as loader:
        next(loader.batches(EpochPlan(2, seed=0, epoch=1)))
        before = multiprocessing.active_children()
        assert len(before) == 2
    assert alive == [[True, True]]  # a terminated one may have held a lock that torch needs
    assert not any(process.is_alive() for process in before)


def test_an_epoch_may_be_left_in_the_middle(samples: DetectionSamples) -> None:
    with Loader(samples, workers=1) as loader:
        for epoch in (1, 2, 3):
            reader = loader.batches(EpochPlan(2, seed=0, epoch=epoch, shuffle=True))
            expected = batches(samples, EpochPlan(2, seed=0, epoch=epoch, shuffle=True))
            assert torch.equal(next(reader).images, next(expected).images)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_raises_the_same_error_from_a_process(make_dataset: MakeDataset, workers: int) -> None:
    dataset = make_dataset(BOXES)
    (dataset.root / "2.png").write_bytes(b"\x89PNG and no more")
    samples = DetectionSamples(dataset, (64, 64), None, cache=CacheOptions(budget=0))
    with Loader(samples, workers=workers) as loader:
        reader = loader.batches(EpochPlan(2, seed=0, epoch=1))
        assert next(reader).rows == (0, 1)
        with pytest.raises(ImageError, match="is not an image that can be decoded") as caught:
            next(reader)
        assert str(caught.value.place) == str(dataset.root / "2.png")
        assert "`vocdet.check(dataset)`" in caught.value.hint
        (dataset.root / "2.png").write_bytes((dataset.root / "0.png").read_bytes())
        assert [batch.rows for batch in loader.batches(EpochPlan(2, seed=0, epoch=1))] == [
            (0, 1),
            (2, 3),
        ]  # the loader is still usable


def test_a_programming_error_in_a_process_is_raised_with_its_traceback(samples: DetectionSamples) -> None:
    with (
        Loader(samples, workers=1) as loader,
        pytest.raises(IndexError, match=r"(?s)detection_samples\.py.*IndexError"),
    ):
        next(loader.batches(EpochPlan(2, seed=0, epoch=1, order=np.array([1000, 0]))))


def children(of: int) -> list[int]:
    """The processes that a process started, as Linux lists them."""
    found = []
    for task in Path(f"/proc/{of}/task").iterdir():
        found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's list of processes")


@linux
def test_the_death_of_a_process_is_an_error(samples: DetectionSamples) -> None:
    before = children(os.getpid())
    with Loader(samples, workers=1) as loader:
        reader = loader.batches(EpochPlan(2, seed=0, epoch=1))
        next(reader)
        (worker,) = set(children(os.getpid())) - set(before)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(TrainingError, match="a process that reads images has died") as caught:
            list(reader)
        assert "fewer `workers=`" in caught.value.hint
    assert children(os.getpid()) == before


PROGRAM = """
import sys
from pathlib import Path
from vocdet.formats.registry import read
from vocdet.formats.scan import Source
from vocdet.inputs.batches import EpochPlan
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.loader import Loader
loader = Loader(DetectionSamples(read(Source(Path(sys.argv[1]))).dataset, (64, 64), None), workers=2)
for epoch in range(1_000_000):
    for batch in loader.batches(EpochPlan(2, seed=0, epoch=epoch)):
        pass
    if epoch == 0:
        print("ready", flush=True)
"""  # a script without `if __name__ == "__main__"`


@linux
def test_no_process_is_left_when_the_program_is_stopped(make_voc: Callable[..., Path]) -> None:
    root = make_voc({stem: [] for stem in "abcd"})
    command = [sys.executable, "-c", PROGRAM, str(root)]
    programs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        for _ in range(2)
    ]
    workers: list[int] = []
    for program, how in zip(programs, (signal.SIGINT, signal.SIGKILL), strict=True):
        with program:
            assert program.stdout is not None
            assert program.stderr is not None
            assert program.stdout.readline() == "ready\n"
            mine = children(program.pid)
            assert len(mine) == 2
            workers += mine
            if how == signal.SIGINT:
                os.killpg(program.pid, how)  # a terminal sends Ctrl-C to the workers, too
            else:
                program.kill()
            program.wait(timeout=60)
            shown = program.stderr.read()
        if how == signal.SIGINT:
            assert shown.rstrip().endswith("KeyboardInterrupt")
            assert "in _bootstrap" not in shown  # of a process or a thread: what a user sees is the program's own
            assert "in _serve" not in shown  # of the thread that hands over batches
    deadline = time.monotonic() + 60
    while any(running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(running(pid) for pid in workers)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(START_METHOD == "spawn", reason="all other tests spawn the processes")
def test_spawned_processes_make_the_same_batches_and_share_the_cache(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(BOXES, size=(120, 90))
    shared = DetectionSamples(dataset, (64, 64), Augmentation(mosaic=0.5), cache=CacheOptions(shared=True))
    plan = EpochPlan(3, seed=5, epoch=1, shuffle=True)
    with Loader(shared, workers=1, start_method="spawn") as loader:
        made = list(loader.batches(plan))
    for file in dataset.root.glob("*.png"):
        file.unlink()  # all images are in the memory that the process shared
    assert same(iter(made), batches(shared, plan))


def test_random_numbers_of_the_program_are_left_alone(samples: DetectionSamples) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with Loader(samples, workers=1) as loader:
        list(loader.batches(EpochPlan(4, seed=0, epoch=1)))
    assert torch.equal(torch.rand(2), expected)


def test_a_new_pass_ends_the_one_before_and_so_does_the_end(samples: DetectionSamples) -> None:
    loader = Loader(samples, workers=1)
    first = loader.batches(EpochPlan(2, seed=0, epoch=1))
    next(first)
    second = loader.batches(EpochPlan(2, seed=0, epoch=2))
    next(second)
    assert list(first) == []
    loader.close()
    assert list(second) == []


def test_a_loader_needs_a_thread(samples: Samples) -> None:
    with pytest.raises(ValueError, match="-1 workers"):
        Loader(samples, workers=-1)
    with pytest.raises(ValueError, match="0 threads"):
        Loader(samples, threads=0)


def test_a_process_whose_program_has_stopped_reports_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for error in (ConnectionResetError(104, "Connection reset by peer"), EOFError(), ValueError("a defect")):
        _report(type(error), error, None)
    assert capsys.readouterr().err == "ValueError: a defect\n"
