"""Images per second from files to batches: vocdet's data pipeline against torchvision's v2 transforms, as shipped.

    python -m examples.bench_data [--rounds 3] [--images 320] [--memory]

Both decode JPEGs of 640x480 pixels, augment them and make batches of 16; nothing is trained. torchvision does what its
detection reference does (data_augmentation="ssdlite"): a DataLoader with two workers, RandomIoUCrop,
RandomHorizontalFlip, floats; the resizing to 320 is left to its model. vocdet crops, flips, resizes to 320 and hands
over bytes; normalizing is left to the model. "all" adds its changes of color and mosaics, half of the samples each
made of four images. "first epoch" and "no cache" decode every image, "later epochs" find them in memory.

Each side runs in a separate process; the sides alternate, so that a noisy machine affects all of them, and what counts
is the ratio. The start of Python and of workers is excluded. On a busy machine, CPU milliseconds per image are more
reliable; they are unknown for vocdet's workers, which end later. `--memory` instead shows the resident memory after
epochs 2 and 20, on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

BATCH, SIZE, LEFT_OUT = 16, 320, 4  # batches before the clock starts: what was made while workers started
PICTURE = (640, 480)  # as microscope cameras have it
CORES = 2
Speed = tuple[float, float]  # images a second, milliseconds of the processor an image
SIDES: dict[str, dict[str, Any]] = {
    "torchvision": {},
    "vocdet, 2 threads": {"threads": CORES},
    "vocdet, 1 thread": {"threads": 1},
    "vocdet, 2 workers": {"workers": CORES},
    "vocdet, 2 threads, all": {"threads": CORES, "everything": True},
}


def time_vocdet(
    data: Path, *, threads: int = 1, workers: int = 0, everything: bool = False, later: int = 3
) -> dict[str, Speed]:
    """The speed of the first epoch, of later ones, and of those without a cache."""
    from vocdet.cpu import prepare_cpu

    prepare_cpu()
    from vocdet.inputs.batches import EpochPlan
    from vocdet.inputs.image_cache import CacheOptions
    from vocdet.inputs.loader import Loader

    found = {}
    with Loader(samples(data, CacheOptions(), everything), threads=threads, workers=workers) as loader:

        def epoch(number: int) -> Speed:
            return timed(loader.batches(EpochPlan(BATCH, seed=0, epoch=number, shuffle=True)))

        found["first epoch"] = epoch(1)
        found["later epochs"] = fastest([epoch(number) for number in range(2, 2 + later)])
    with Loader(samples(data, CacheOptions(budget=0), everything), threads=threads, workers=workers) as loader:
        found["no cache"] = timed(loader.batches(EpochPlan(BATCH, seed=0, epoch=1, shuffle=True)))
    return found


def samples(data: Path, cache: Any, everything: bool) -> Any:
    """vocdet's samples, augmented as torchvision's are or in every way that vocdet's training does."""
    from vocdet.formats.scan import Source
    from vocdet.inputs.detection_samples import DetectionSamples
    from vocdet.inputs.transforms import Augmentation
    from vocdet.workflows.load import load_dataset

    same = Augmentation(color=0.0, mosaic=0.0)
    augmentation = Augmentation(mosaic=0.5) if everything else same
    return DetectionSamples(load_dataset(Source(data)).dataset, (SIZE, SIZE), augmentation, cache=cache)


def time_torchvision(data: Path) -> dict[str, Speed]:
    """The speed of torchvision's pipeline, which decodes in every epoch."""
    from examples.torchvision_samples import torchvision_batches
    from vocdet.formats.scan import Source
    from vocdet.workflows.load import load_dataset

    dataset = load_dataset(Source(data)).dataset
    return {"first epoch": timed(torchvision_batches(dataset, batch=BATCH, workers=CORES))}


def timed(batches: Iterable[Any]) -> Speed:
    """The speed of a pass, without its start."""
    worked = processor_seconds()
    reader = iter(batches)
    for _ in islice(reader, LEFT_OUT):
        pass
    start = time.perf_counter()
    images = sum(BATCH for _ in reader)
    speed = images / (time.perf_counter() - start)
    return speed, 1000 * (processor_seconds() - worked) / (images + BATCH * LEFT_OUT)


def processor_seconds() -> float:
    """CPU seconds of this process and of its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def fastest(speeds: list[Speed]) -> Speed:
    """The most images per second and the fewest milliseconds."""
    return max(speed for speed, _ in speeds), min(cost for _, cost in speeds)


def measure_memory(data: Path, cache: str, workers: int) -> dict[str, float]:
    """Resident megabytes after epochs 2 and 20, of this process and its workers."""
    from vocdet.cpu import prepare_cpu

    prepare_cpu()
    from vocdet.inputs.batches import EpochPlan
    from vocdet.inputs.image_cache import CacheOptions
    from vocdet.inputs.loader import Loader

    found = {}
    options = CacheOptions(budget=None if cache == "ram" else 0)
    with Loader(samples(data, options, everything=True), workers=workers, threads=CORES) as loader:
        for epoch in range(1, 21):
            for _ in loader.batches(EpochPlan(BATCH, seed=0, epoch=epoch, shuffle=True)):
                pass
            if epoch in (2, 20):
                found[f"epoch {epoch}"] = resident([os.getpid(), *children()]) / 2**10
    return found


def resident(processes: list[int]) -> int:
    """Kilobytes of memory of processes, as Linux counts them; shared files and memory count once."""
    status = [
        dict(
            line.split(maxsplit=1) for line in Path(f"/proc/{process}/status").read_text().splitlines() if "Rss" in line
        )
        for process in processes
    ]
    own, files, shared = (
        [int(one[kind].split()[0]) for one in status] for kind in ("RssAnon:", "RssFile:", "RssShmem:")
    )
    return sum(own) + max(files) + max(shared)


def children() -> list[int]:
    """The children of this process."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def run_side(data: Path, side: str, *, memory: bool) -> Any:
    """Measure one side, in a separate process."""
    command = [sys.executable, "-m", "examples.bench_data", "--side", side, "--data", str(data)]
    command += ["--memory"] if memory else []
    single = os.environ | {"OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=single).stdout)


def compare_speeds(data: Path, rounds: int) -> None:
    """Alternate all sides; print the fastest round of each, and its ratio to torchvision's."""
    seen: dict[tuple[str, str], list[Speed]] = {}
    for turn in range(rounds):
        for side in SIDES:
            for what, speed in run_side(data, side, memory=False).items():
                seen.setdefault((side, what), []).append(speed)
                print(f"round {turn + 1}: {side:22} {what:12} {speed[0]:6.0f} images/s", flush=True)
    rival, rival_cost = fastest(seen["torchvision", "first epoch"])
    print(f"\n{PICTURE[0]}x{PICTURE[1]} JPEGs to batches of {BATCH}, {CORES} cores, best of {rounds} rounds;")
    print("in brackets how many times torchvision's:")
    for (side, what), speeds in seen.items():
        most, cost = fastest(speeds)
        print(f"{side:22} {what:12} {most:6.0f} images/s ({most / rival:5.1f})", end="")
        print("" if "workers" in side else f" {cost:6.2f} ms of processor an image ({rival_cost / cost:5.1f})")


def compare_memory(data: Path) -> None:
    """Print the resident memory of every cache after epochs 2 and 20."""
    for cache in ("ram", "off"):
        for workers in (0, CORES):
            found = run_side(data, f"{cache}:{workers}", memory=True)
            early, late = found["epoch 2"], found["epoch 20"]
            print(f"cache {cache:4} {workers} workers: {early:6.0f} MB after epoch 2, {late:6.0f} after 20", end=" ")
            print(f"({100 * (late / early - 1):+.1f} %)", flush=True)


def main() -> None:
    """Make the pictures, alternate both sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=320)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side and options.memory:
        cache, workers = options.side.split(":")
        print(json.dumps(measure_memory(options.data, cache, int(workers))))
        return
    if options.side:
        rival = options.side == "torchvision"
        print(json.dumps(time_torchvision(options.data) if rival else time_vocdet(options.data, **SIDES[options.side])))
        return
    from vocdet.workflows.demo_dataset import PictureOptions, compose

    with tempfile.TemporaryDirectory() as folder:
        data = compose(
            Path(folder) / "data", images=options.images, test_images=1, options=PictureOptions(PICTURE)
        ).train
        if options.memory:
            compare_memory(data)
        else:
            compare_speeds(data, options.rounds)


if __name__ == "__main__":
    main()
