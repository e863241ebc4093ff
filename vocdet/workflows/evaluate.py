"""Evaluate a trained detector on a part of a dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.findings import Finding
from vocdet.data.relabel import with_labels
from vocdet.errors import AnnotationError
from vocdet.evaluation.bootstrap import RESAMPLES
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.files import write_bytes
from vocdet.formats.results import write_coco_results
from vocdet.formats.source import Source
from vocdet.inference.output import check_picture_name, write_picture
from vocdet.inference.predictor import BEST, Predictor, detect_all, load_predictor
from vocdet.inputs.images import decode_as
from vocdet.inputs.prefetch import prefetch
from vocdet.runs.pictures import example_sheet
from vocdet.workflows.load import Loaded, load_dataset

Progress = Callable[[int, int], None]

AHEAD = 8  # images decoded before they are asked for


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Figures, and where they were written."""

    report: EvalReport
    metrics: Path
    detections: Path
    warnings: tuple[Finding, ...]
    unknown: tuple[str, ...]  # labels of the dataset that the detector never learned
    available: int = 0  # images of the part; fewer were looked at where a subset was asked for
    boxes_only: bool = False  # the detector has masks, and no object of these images has


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The metrics of a detector on a split, and the detections they count."""

    report: EvalReport
    truth: Dataset  # the images, with the detector's labels first
    detections: tuple[Detections, ...]  # of every image, with any score
    rows: NDArray[np.int64]  # (N,) the images, as rows of the split
    unknown: tuple[str, ...]  # labels of the images that the detector does not know


def evaluate_run(
    run: Path,
    source: Source | Loaded,
    *,
    split: str = "test",
    device: str = "auto",
    own_thresholds: bool = False,
    subset: int | None = None,
    interval: bool = False,
    seed: int = 0,
    picture: Path | None = None,
    progress: Progress | None = None,
) -> Evaluated:
    """Detect in every image of a part and compare with its objects; of a detector with masks, masks too.

    Writes `metrics-<split>.json` and `detections-<split>.json` (COCO results) beside the checkpoint. Precision,
    recall and F1 are those of boxes at each label's best threshold on these images, or with `own_thresholds` at the
    ones the checkpoint brought from its validation. Objects of a label that the detector never learned count as
    missed. `subset` is a number of images, chosen at random with `seed` from those of the part, all where it has no
    more; then, or with `interval`, there is an interval for AP and AR (see `vocdet.evaluation.bootstrap`).
    `picture` is a file for a few of the images, annotated beside found.
    """
    if picture:
        check_picture_name(picture)
    loaded = load_dataset(source, split=split)
    evaluation = evaluate_detector(
        load_predictor(run, device=device), loaded, split=split, own_thresholds=own_thresholds, subset=subset,
        interval=interval, seed=seed, progress=progress,
    )  # fmt: skip
    truth, found, report, rows = evaluation.truth, evaluation.detections, evaluation.report, evaluation.rows
    available = len(loaded.dataset.rows(split))
    whole = len(rows) == available
    looked_at = loaded.dataset if whole else loaded.dataset.subset(loaded.dataset.rows(split)[rows])  # subsets differ
    said: dict[str, object] = {"split": split, "dataset": looked_at.fingerprint()}
    if subset:
        said["subset"] = {"images": len(rows), "of": available, "seed": seed}
    metrics, listed = _write(run, said | {"thresholds_from": _origin(own_thresholds)}, report)
    write_coco_results(listed, truth, found, image_ids=(rows + 1).tolist())
    if picture:
        write_picture(picture, example_sheet(truth, found, report.thresholds))
    boxes_only = report.masks is None and any(one.masks is not None for one in found)
    return Evaluated(report, metrics, listed, loaded.warnings, evaluation.unknown, available, boxes_only)


def evaluate_detector(
    predictor: Predictor,
    loaded: Loaded,
    *,
    split: str = "test",
    own_thresholds: bool = False,
    subset: int | None = None,
    interval: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a detector on a split without writing anything; `evaluate_run` explains the arguments."""
    rows = loaded.dataset.rows(split)
    chosen = choose(len(rows), subset, seed)
    truth, unknown = relabel(loaded.dataset.subset(rows[chosen]), predictor.labels)
    found = []
    for detections in detect_all(
        predictor, prefetch(lambda: (decode_as(s.path, s.width, s.height) for s in truth), AHEAD)
    ):
        found.append(detections)
        if progress:
            progress(len(found), len(truth))
    thresholds = np.full(len(truth.labels), 1.0, np.float32)
    thresholds[: len(predictor.labels)] = predictor.thresholds
    resamples = RESAMPLES if interval or subset else 0
    given = thresholds if own_thresholds else None
    report = evaluate(truth, found, thresholds=given, resamples=resamples, seed=seed)
    return Evaluation(report, truth, tuple(found), chosen, unknown)


def _write(run: Path, said: dict[str, object], report: EvalReport) -> tuple[Path, Path]:
    """Write the metrics beside the checkpoint; their path, and that for the detections."""
    folder, checkpoint = (run, BEST) if run.is_dir() else (run.parent, run.name)
    metrics, listed = (folder / f"{what}-{said['split']}.json" for what in ("metrics", "detections"))
    content = said | {"checkpoint": checkpoint} | report.as_dict()
    write_bytes(metrics, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    return metrics, listed


def choose(count: int, wanted: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of `count`, rising: so many at random, the same for the same seed; all where no fewer are wanted."""
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])


def relabel(dataset: Dataset, labels: tuple[str, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """The dataset with a detector's labels in their order, and after them those the detector does not know.

    A dataset and a detector without a label in common are an `AnnotationError`.
    """
    used = {dataset.labels[k] for k in np.unique(dataset.objects.label)}
    unknown = tuple(sorted(used - set(labels)))
    if used and not used & set(labels):
        raise AnnotationError(
            f"its labels ({', '.join(unknown[:5])}) are none of the detector's ({', '.join(labels[:5])})",
            place=dataset.root,
            hint="evaluate on a dataset with the labels that were trained",
        )
    return with_labels(dataset, labels), unknown


def _origin(own: bool) -> str:
    return "the checkpoint" if own else "these images, for the best F1 of each label"
