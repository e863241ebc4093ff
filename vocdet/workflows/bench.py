"""Trained detectors side by side: speed, size and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from vocdet.errors import ArgumentError
from vocdet.files import check_writable, write_bytes
from vocdet.formats.scan import Progress, Source
from vocdet.inference.bench import Latency, Work, latencies, noise, work
from vocdet.inference.predictor import choose_device, load_predictor
from vocdet.inputs.images import Image, decode_image
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint
from vocdet.outputs import BEST, checkpoint_of
from vocdet.runs.environment import environment
from vocdet.runtimes.predictor import Predictor
from vocdet.workflows.eval_options import EvalOptions, choose
from vocdet.workflows.evaluate import evaluate_run
from vocdet.workflows.load import load_dataset

METRICS_FILES = "metrics-*.json"
TIMED_IMAGES = 64  # held in memory
COUNTED = 8  # images to count operations on; a Mask R-CNN needs more for more proposals
AP_METRICS = ("ap50", "ap")  # of boxes, and of masks under mask_ap50 and mask_ap


@dataclass(frozen=True, slots=True)
class LatestScores:
    """The latest known metrics of a detector."""

    metrics: dict[str, float | None]  # ap50, ap, and with masks mask_ap50, mask_ap; empty: unknown
    split: str  # "": unknown
    images: int  # 0: unknown
    dataset: str  # fingerprint of the images; "": unknown


@dataclass(frozen=True, slots=True)
class Measurement:
    """The cost and the metrics of one detector."""

    run: str
    task: str  # ssd or maskrcnn
    net: str
    size: tuple[int, int]  # of the input, pixels: height and width; of a Mask R-CNN its shorter side, and the longest
    latency: Latency
    bytes: int  # of the checkpoint
    work: Work
    scores: LatestScores


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


class _Block(msgspec.Struct):
    overall: dict[str, float | None] = {}


class _Metrics(msgspec.Struct):
    """The fields of an evaluation's report that are needed here."""

    split: str
    dataset: str
    images: int
    overall: dict[str, float | None]
    masks: _Block | None = None
    checkpoint: str = BEST  # the value in files of older versions


def bench_runs(
    runs: Sequence[Path],
    *,
    data: Source | Path | None = None,
    split: str = "test",
    rounds: int = 30,
    device: str = "auto",
    json: Path | None = None,
    progress: Progress | None = None,
) -> Bench:
    """Measure trained detectors, given as run folders or checkpoints, on the same images in rotation.

    With `data` the images are those of a split, and every run is evaluated on the whole split unless it already was.
    Without, each detector is timed on noise of its input size, and its metrics are those of its last evaluation, else
    of its training. `json` is a file for all results. A classifier, or a file that is not a checkpoint, is a
    `CheckpointError`.
    """
    if not runs:
        raise ArgumentError("no run to measure", hint="name at least one run")
    if json:
        check_writable(json)
    place = choose_device(device)
    source = Source(data) if isinstance(data, Path) else data
    pictures = _pictures(source, split, rounds) if source else []
    ready = [_candidate(run, pictures, place) for run in runs]
    scores = [_scored(one.path, source, split, place, progress) if source else _trained_scores(one) for one in ready]
    taken = latencies(
        [one.detector for one in ready], [one.pictures for one in ready], rounds=rounds, progress=progress
    )
    measured = []
    for run, one, latency, score in zip(runs, ready, taken, scores, strict=True):
        about, size = one.about, one.path.stat().st_size
        measured.append(
            Measurement(str(run), about.task, about.backbone.name, about.size, latency, size, one.work, score)
        )
    images = f"{len(pictures)} images of {split}" if data else "noise"
    bench = Bench(tuple(measured), images, rounds, place, environment())
    if json:
        write_bytes(json, msgspec.json.format(msgspec.json.encode(bench.as_dict()), indent=2) + b"\n")
    return bench


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A detector ready to be timed."""

    path: Path
    about: CheckpointInfo
    detector: Predictor
    pictures: list[Image]
    work: Work


def _candidate(run: Path, pictures: list[Image], device: str) -> _Candidate:
    path = checkpoint_of(run)
    detector = load_predictor(path, device=device)
    model, about = load_checkpoint(path)  # a second copy: the predictor's norms are folded
    images = pictures or [noise(about.size)]
    return _Candidate(path, about, detector, images, work(model, images[:COUNTED]))


def ratios(one: Measurement, first: Measurement) -> dict[str, float]:
    """The costs of a detector as multiples of another's."""
    mine, other = _costs(one), _costs(first)
    return {name: mine[name] / other[name] for name in mine if other[name]}


def _costs(one: Measurement) -> dict[str, float]:
    latency, cost = one.latency, one.work
    return {
        "median": latency.median, "p90": latency.p90, "bytes": one.bytes, "parameters": cost.parameters,
        "macs": cost.macs,
    }  # fmt: skip


def _pictures(source: Source, split: str, most: int) -> list[Image]:
    """Some images of a split, in memory."""
    loaded = load_dataset(source, split=split)
    rows = loaded.dataset.rows(split)
    images = loaded.dataset.subset(rows[choose(len(rows), min(most, TIMED_IMAGES), 0)])
    return [decode_image(sample) for sample in images]


def _scored(checkpoint: Path, source: Source, split: str, device: str, progress: Progress | None) -> LatestScores:
    """The metrics of a detector on a split: those of an earlier evaluation on the same images, or of a new one."""
    loaded = load_dataset(source, split=split)
    path = checkpoint.parent / f"metrics-{split}.json"
    known = _evaluated_metrics(path, checkpoint)
    if known and known.dataset == loaded.dataset.fingerprint():  # a subset has a different one
        return _scores(known)
    evaluate_run(checkpoint, source, EvalOptions(split), device=device, progress=progress)
    measured = _evaluated_metrics(path, checkpoint)
    return _scores(measured) if measured else LatestScores({}, "", 0, "")


def _trained_scores(one: _Candidate) -> LatestScores:
    """The metrics of a run's last evaluation, else of its training."""
    for path in sorted(one.path.parent.glob(METRICS_FILES), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if metrics := _evaluated_metrics(path, one.path):
            return _scores(metrics)
    scores = {name: one.about.scores.get(name) for prefix in ("", "mask_") for name in (f"{prefix}ap50", f"{prefix}ap")}
    known: dict[str, float | None] = {name: value for name, value in scores.items() if value is not None}
    return LatestScores(known, "val, in training" if known else "", 0, one.about.dataset)


def _evaluated_metrics(path: Path, checkpoint: Path) -> _Metrics | None:
    """The metrics of an evaluation of this checkpoint, unless the checkpoint is newer."""
    try:
        metrics = msgspec.json.decode(path.read_bytes(), type=_Metrics)
        newer = path.stat().st_mtime_ns >= checkpoint.stat().st_mtime_ns
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return metrics if newer and metrics.checkpoint == checkpoint.name else None


def _scores(metrics: _Metrics) -> LatestScores:
    values = {name: metrics.overall.get(name) for name in AP_METRICS}
    if metrics.masks:
        values |= {f"mask_{name}": metrics.masks.overall.get(name) for name in AP_METRICS}
    return LatestScores(values, metrics.split, metrics.images, metrics.dataset)
