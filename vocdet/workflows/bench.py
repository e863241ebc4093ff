"""Detectors side by side: speed, size and metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import msgspec
import torch

from vocdet.data.dataset import Dataset
from vocdet.errors import ArgumentError
from vocdet.files import check_writable, write_bytes
from vocdet.formats.scan import Progress, Source
from vocdet.inference.bench import Latency, Work, latencies, timed
from vocdet.inference.predictor import choose_device
from vocdet.inputs.images import decode_image
from vocdet.outputs import check_output, mark_file
from vocdet.plots.bench import trade_off
from vocdet.runs.environment import environment
from vocdet.runtimes.predictor import Predictor
from vocdet.workflows.bench_candidates import BenchBackend, Candidate, candidates, published
from vocdet.workflows.bench_memory import peak_memory
from vocdet.workflows.bench_scores import LatestScores, scored
from vocdet.workflows.eval_options import choose
from vocdet.workflows.load import load_dataset

TIMED_IMAGES = 64  # held in memory
TIMED_BATCH = 8  # images, of `Details.batch`


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is measured."""

    split: str = "test"
    rounds: int = 30
    device: str = "auto"
    backend: BenchBackend = "torch"  # of runs; all: torch, and every export in the run
    torchvision: tuple[str, ...] = ()  # published models
    full: bool = False  # also the `Details`


@dataclass(frozen=True, slots=True)
class Details:
    """Milliseconds an image under other conditions than `Measurement.latency`, and memory."""

    file: Latency | None  # from an image file to its detections; None without a dataset
    network: Latency | None  # without resizing and pasting; on torch also without decoding, of an SSD. None: unknown
    one_thread: Latency  # as `Measurement.latency`
    batch: Latency  # of 8 images at once
    memory: int  # bytes, the peak of a process that opens the detector and detects once; 0: unknown


@dataclass(frozen=True, slots=True)
class Measurement:
    """The cost and the metrics of one detector."""

    run: str
    task: str  # ssd or maskrcnn, or torchvision
    net: str
    size: tuple[int, int]  # of the input, pixels: height and width; of a Mask R-CNN its shorter side, and the longest
    latency: Latency
    bytes: int  # of the checkpoint, or the exported files
    work: Work | None  # None: unknown, of an export
    scores: LatestScores
    name: str = ""
    backend: str = "torch"  # the library that runs it
    details: Details | None = None


@dataclass(frozen=True, slots=True)
class Bench:
    """Detectors side by side, timed in rotation on the same machine."""

    runs: tuple[Measurement, ...]
    pictures: str  # the timed images, for people
    rounds: int
    device: str
    environment: dict[str, object]

    @property
    def same_images(self) -> bool:
        """Whether all known metrics were measured on the same images, as far as the images are known."""
        sets = {(s.split, s.images, s.dataset) for s in (one.scores for one in self.runs) if s.metrics}
        return len(sets) <= 1

    def as_dict(self) -> dict[str, object]:
        """The content of a JSON file; every run has the ratios of its costs to the first run's."""
        runs = [asdict(one) | {"ratios": ratios(one, self.runs[0])} for one in self.runs]
        return asdict(self) | {"runs": runs}


def bench_runs(
    runs: Sequence[Path],
    options: BenchOptions = BenchOptions(),
    *,
    data: Source | Path | None = None,
    json: Path | None = None,
    plot: Path | None = None,
    progress: Progress | None = None,
) -> Bench:
    """Measure detectors, given as run folders, checkpoints or exports, on the same images in rotation.

    With `data` the images are those of a split, and every run is evaluated on the whole split unless it already was.
    Without, each detector is timed on noise of its input size, and its metrics are those of its last evaluation, else
    of its training. `json` is a file for all results, and `plot` one for a PNG of average precision over latency. A
    classifier, or a file that is not a checkpoint, is a `CheckpointError`.
    """
    if not runs and not options.torchvision:
        raise ArgumentError("no run to measure", hint="name at least one run")
    if json:
        check_writable(json)
    if plot:
        check_output(plot)
    device, split = choose_device(options.device), options.split
    source = Source(data) if isinstance(data, Path) else data
    samples = _samples(source, split, options.rounds) if source else None
    pictures = [decode_image(sample) for sample in samples] if samples else []
    ready = candidates(runs, options.backend, pictures, device)
    ready += [published(name, pictures, device) for name in options.torchvision]
    scores = [
        scored(one.path, source, split, device, progress) if source and one.path else one.trained for one in ready
    ]
    detectors, images = [one.detector for one in ready], [one.pictures for one in ready]
    taken = latencies(detectors, images, rounds=options.rounds, progress=progress)
    more = _details(ready, samples, options.rounds, progress) if options.full else [None] * len(ready)
    measured = [
        Measurement(
            one.run, one.task, one.net, one.size, latency, one.bytes, one.work, score, one.name, one.backend, details
        )
        for one, latency, score, details in zip(ready, taken, scores, more, strict=True)
    ]
    shown = f"{len(pictures)} images of {split}" if data else "noise"
    bench = Bench(tuple(measured), shown, options.rounds, device, environment())
    if json:
        write_bytes(json, msgspec.json.format(msgspec.json.encode(bench.as_dict()), indent=2) + b"\n")
    if plot:
        write_bytes(plot, trade_off([(one.name, one.latency.median, one.scores.metrics.get("ap")) for one in measured]))
        mark_file(plot)
    return bench


def _details(
    ready: Sequence[Candidate], samples: Dataset | None, rounds: int, progress: Progress | None
) -> list[Details]:
    def from_file(one: Candidate) -> Callable[[int], object]:
        assert samples
        return lambda number: one.detector.detect([decode_image(samples[number % len(samples)])])

    def network(one: Candidate) -> Callable[[int], object]:
        assert one.network
        run = one.network
        return lambda _: run(1)

    def batch(one: Candidate) -> Callable[[int], object]:
        several = [one.pictures[i % len(one.pictures)] for i in range(TIMED_BATCH)]
        return lambda _: one.detector.detect(several)

    def rotated(job: Callable[[Candidate], Callable[[int], object]], some: Sequence[Candidate]) -> list[Latency]:
        return timed([job(one) for one in some], rounds=rounds, progress=progress)

    files: list[Latency | None] = [*rotated(from_file, ready)] if samples else [None] * len(ready)
    separable = [one for one in ready if one.network]
    alone = dict(zip((id(one) for one in separable), rotated(network, separable), strict=True))
    batches = [Latency(one.median / TIMED_BATCH, one.p90 / TIMED_BATCH) for one in rotated(batch, ready)]
    with _one_thread():
        detectors: list[Predictor] = [one.on_one_thread() for one in ready]
        single = latencies(detectors, [one.pictures for one in ready], rounds=rounds, progress=progress)
    memory = [peak_memory(one.target, one.pictures[0]) for one in ready]
    return [Details(files[i], alone.get(id(one)), single[i], batches[i], memory[i]) for i, one in enumerate(ready)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have torch and OpenCV compute in one thread."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def ratios(one: Measurement, first: Measurement) -> dict[str, float]:
    """The costs of a detector as multiples of another's."""
    mine, other = _costs(one), _costs(first)
    return {name: mine[name] / other[name] for name in mine if other.get(name)}


def _costs(one: Measurement) -> dict[str, float]:
    costs = {"median": one.latency.median, "p90": one.latency.p90, "bytes": one.bytes}
    return costs | ({"parameters": one.work.parameters, "macs": one.work.macs} if one.work else {})


def _samples(source: Source, split: str, most: int) -> Dataset:
    """Some images of a split."""
    loaded = load_dataset(source, split=split)
    rows = loaded.dataset.rows(split)
    return loaded.dataset.subset(rows[choose(len(rows), min(most, TIMED_IMAGES), 0)])
