"""Whether runs differ on a split: a paired test over its images, and over the seeds of equal recipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.errors import AnnotationError
from vocdet.evaluation.bootstrap import Bounds, paired_test, resampled_metric
from vocdet.evaluation.coco_score import IOUS, object_areas, score_pairs
from vocdet.evaluation.matching import DetectionTable, box_pairs, stack
from vocdet.evaluation.resamples import Resampling
from vocdet.formats.scan import Progress, Source
from vocdet.inference.coco_results import Names, read_coco_results
from vocdet.models.checkpoint import read_info
from vocdet.outputs import BEST
from vocdet.runs.facts import RunFacts
from vocdet.runs.resume import dataset_arguments
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions, split_rows
from vocdet.workflows.evaluate import evaluate_run, relabeled_for
from vocdet.workflows.load import load_dataset

METRICS = ("AP50", "AP")
CONFIDENT = 0.05  # the highest p-value of a difference that is hardly chance


@dataclass(frozen=True, slots=True)
class SplitTest:
    """How much higher a metric of boxes is for some runs than for others, on the same images."""

    split: str
    images: int
    metric: str  # AP50 or AP
    before: tuple[str, ...]  # names of runs, or their paths if two have the same; several differ only in their seeds
    after: tuple[str, ...]
    value: float | None  # mean of `before`; None: no object
    difference: float | None
    bounds: Bounds  # that hold 95 % of the resamples
    p: float | None  # the probability of such a difference, or a larger one, if there were none

    @property
    def sure(self) -> bool:
        """Whether the difference is hardly chance."""
        return self.p is not None and self.p < CONFIDENT


def compare_on(
    runs: Sequence[RunFacts],
    split: str,
    source: Source | None = None,
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[SplitTest, ...]:
    """Compare the first run with each other run on the images of a split.

    Runs with equal recipes except for the seed count as one, whose metric is their mean, unless no others are left.
    Their evaluations are read from their folders; those that are missing, or of other images, are made and written as
    `evaluate_run` does, without a page. `source` is by default the dataset of the first run. `SplitError` for a
    missing split.
    """
    loaded = load_dataset(source or Source.from_record(dataset_arguments(runs[0].folder)))
    rows = split_rows(loaded.dataset, split)
    labels = tuple(dict.fromkeys(label for run in runs for label in run.labels))
    images = loaded.dataset.subset(rows)
    truth, _ = relabeled_for(images, labels)
    fingerprint = images.fingerprint()
    for run in runs:
        if not _is_evaluated(run.folder, split, fingerprint):
            runner = DetectorOptions(device, "torch")
            evaluate_run(run.folder, loaded, EvalOptions(split, page=False), detector=runner, progress=progress)
    tables = [_detections(run, split, truth) for run in runs]
    drawing = Resampling(len(truth))
    names = [run.folder.name for run in runs]
    names = names if len(set(names)) == len(names) else [str(run.folder) for run in runs]
    first, *others = _groups(runs)
    found = []
    for metric in METRICS:
        values = np.array([_value(truth, table, metric) for table in tables])
        drawn = np.stack([resampled_metric(truth, table, metric, drawing) for table in tables])
        for other in others:
            bounds, p = paired_test(drawn[first], drawn[other])
            before, after = (None if np.isnan(values).any() else float(values[some].mean()) for some in (first, other))
            growth = None if before is None or after is None else after - before
            old, new = (tuple(names[i] for i in some) for some in (first, other))
            found.append(SplitTest(split, len(truth), metric, old, new, before, growth, bounds, p))
    return tuple(found)


def _groups(runs: Sequence[RunFacts]) -> list[list[int]]:
    """The runs with equal recipes except for the seed; each alone if all are equal."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        recipe = {name: value for name, value in run.recipe.items() if name != "train.seed"}
        groups.setdefault(repr((run.task, run.net, run.dataset, recipe)), []).append(i)
    return list(groups.values()) if len(groups) > 1 else [[i] for i in range(len(runs))]


def _is_evaluated(folder: Path, split: str, fingerprint: str) -> bool:
    """Whether the run's detections in the images of this fingerprint are in its folder, on tiles only as it trained."""
    metrics, detections = folder / f"metrics-{split}.json", folder / f"detections-{split}.json"
    try:
        known = msgspec.json.decode(metrics.read_bytes(), type=dict[str, Any])
        newest = (folder / BEST).stat().st_mtime_ns
        fresh = min(metrics.stat().st_mtime_ns, detections.stat().st_mtime_ns) >= newest
        tiles = read_info(folder / BEST).tiles
    except (OSError, ValueError):  # msgspec.DecodeError is a ValueError
        return False
    of_best = known.get("checkpoint", BEST) == BEST  # another checkpoint in the folder has the same files
    as_trained = known.get("tiles") == (asdict(tiles) if tiles else None)
    return fresh and of_best and as_trained and known.get("dataset") == fingerprint and "subset" not in known


def _detections(run: RunFacts, split: str, truth: Dataset) -> DetectionTable:
    known = {label: i for i, label in enumerate(truth.labels)}
    names = Names({i + 1: i for i in range(len(truth))}, {i + 1: known[name] for i, name in enumerate(run.labels)})
    try:
        return stack(read_coco_results(run.folder / f"detections-{split}.json", truth, names), len(truth.labels))
    except AnnotationError as error:
        error.hint = f'`vocdet.evaluate(dataset, run, split="{split}")` writes them again'
        raise


def _value(truth: Dataset, table: DetectionTable, metric: str) -> float:
    pairs = box_pairs(truth.objects, table, floor=float(IOUS[0]))
    areas: NDArray[np.float64] = object_areas(truth.objects)
    value = score_pairs(pairs, table, truth.objects, len(truth.labels), areas).summary[metric]
    return np.nan if value is None else value
