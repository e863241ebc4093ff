"""Evaluating a detector on a split."""

from __future__ import annotations

from pathlib import Path

from vocdet.api.dataset import Data, as_loaded
from vocdet.api.detector import Detector, load
from vocdet.api.run import Run
from vocdet.evaluation.report import EvalReport
from vocdet.formats.scan import Source
from vocdet.workflows.evaluate import EvalOptions, evaluate_detector
from vocdet.workflows.load import load_dataset


def evaluate(
    dataset: Data,
    detector: Detector | Run | str | Path,
    *,
    split: str = "test",
    own_thresholds: bool = False,
    subset: int | None = None,
    interval: bool = False,
    seed: int = 0,
) -> EvalReport:
    """Detect in every image of a split, and compare with its objects: the metrics of VOC and COCO.

    `report.labels` has a row for every label, `report.overall` all of them together, `report.coco` the twelve numbers
    of COCO, `report.masks` the average precision of masks. Precision and recall are at each label's best threshold on
    these images; with `own_thresholds` at those of the checkpoint. `subset` evaluates that many images, chosen with
    `seed`; then, or with `interval`, `report.interval` bounds AP and AR. `split="all"` evaluates every image. A dataset
    without objects, or a path to a folder of images without annotations, gives the false detections at the thresholds
    of the checkpoint (`report.false_alarms`). Nothing is written.

    >>> report = vocdet.evaluate("shelf", detector, split="test")
    >>> report
    <evaluation of 2 images, 4 objects, 2 labels, AP ..., AP50 ..., precision ..., recall ...>
    >>> [row.label for row in report.labels]
    ['circle', 'square']
    """
    if isinstance(dataset, str | Path):
        loaded = load_dataset(Source(Path(dataset)), without_objects=True)
    else:
        loaded = as_loaded(dataset, without_objects=True)
    ready = detector if isinstance(detector, Detector) else load(detector)
    options = EvalOptions(split, own_thresholds, subset, interval, seed)
    return evaluate_detector(ready.model, loaded, options).report
