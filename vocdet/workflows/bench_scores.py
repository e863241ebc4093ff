"""The latest known metrics of a detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vocdet.formats.scan import Progress, Source
from vocdet.outputs import BEST
from vocdet.workflows.detector import DetectorOptions, backend_of
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_run
from vocdet.workflows.load import load_dataset

METRICS_FILES = "metrics-*.json"
AP_METRICS = ("ap50", "ap")  # of boxes, and of masks under mask_ap50 and mask_ap


@dataclass(frozen=True, slots=True)
class LatestScores:
    """The latest known metrics of a detector."""

    metrics: dict[str, float | None]  # ap50, ap, and with masks mask_ap50, mask_ap; empty: unknown
    split: str  # "": unknown
    images: int  # 0: unknown
    dataset: str  # fingerprint of the images; "": unknown


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


def scored(checkpoint: Path, source: Source, split: str, device: str, progress: Progress | None) -> LatestScores:
    """The metrics of a detector on a split: those of an earlier evaluation on the same images, or of a new one."""
    loaded = load_dataset(source, split=split)
    path = checkpoint.parent / f"metrics-{split}.json"
    known = _evaluated_metrics(path, checkpoint)
    if known and known.dataset == loaded.dataset.subset(loaded.dataset.rows(split)).fingerprint():
        return _scores(known)
    runner = DetectorOptions(device, backend_of(checkpoint))
    evaluate_run(checkpoint, source, EvalOptions(split), detector=runner, progress=progress)
    measured = _evaluated_metrics(path, checkpoint)
    return _scores(measured) if measured else LatestScores({}, "", 0, "")


def trained_scores(checkpoint: Path, training: Mapping[str, float], dataset: str) -> LatestScores:
    """The metrics of a detector's last evaluation, else those of its `training` on a `dataset`."""
    paths = checkpoint.parent.glob(METRICS_FILES)
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if metrics := _evaluated_metrics(path, checkpoint):
            return _scores(metrics)
    scores = {name: training.get(name) for prefix in ("", "mask_") for name in (f"{prefix}ap50", f"{prefix}ap")}
    known: dict[str, float | None] = {name: value for name, value in scores.items() if value is not None}
    return LatestScores(known, "val, in training" if known else "", 0, dataset)


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
