"""Evaluating a detector on a split, and choosing its thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vocdet.api.dataset import Data, as_loaded
from vocdet.api.detector import Detector, load
from vocdet.api.report import EvalReport
from vocdet.api.run import Run
from vocdet.evaluation import report as evaluation_report
from vocdet.evaluation.curves import Wanted
from vocdet.files import check_writable, write_text
from vocdet.formats.scan import Source
from vocdet.inference.tiled import TileChoice
from vocdet.plots.report_page import PageFacts, report_html
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate import evaluate_detector
from vocdet.workflows.load import load_dataset
from vocdet.workflows.thresholds import ThresholdOptions, ThresholdResult
from vocdet.workflows.thresholds import choose_thresholds as choose


def evaluate(
    dataset: Data,
    detector: Detector | Run | str | Path,
    *,
    split: str = "test",
    own_thresholds: bool = False,
    subset: int | None = None,
    interval: bool = False,
    seed: int = 0,
    tile: int | None = None,
    overlap: float = 0.2,
    whole: bool = True,
) -> EvalReport:
    """Detect in every image of a split, and compare with its objects: the metrics of VOC and COCO.

    `report.labels` has a row for every label, `report.overall` all of them together, `report.coco` the twelve numbers
    of COCO, `report.masks` the average precision of masks. Precision and recall are at each label's best threshold on
    these images; with `own_thresholds` at those of the checkpoint. `subset` evaluates that many images, chosen with
    `seed`; then, or with `interval`, `report.interval` bounds every metric. `split="all"` evaluates every image. A
    dataset without objects, or a path to a folder of images without annotations, gives the false detections at the
    thresholds of the checkpoint (`report.false_alarms`). `tile`, `overlap` and `whole` are those of `vocdet.predict`.
    Nothing is written.

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
    return EvalReport.of(evaluate_detector(TileChoice(tile, overlap, whole).apply(ready.model), loaded, options).report)


def choose_thresholds(
    dataset: Data,
    run: Run | str | Path,
    *,
    split: str = "",
    min_precision: float | None = None,
    min_recall: float | None = None,
    fixed: Mapping[str, float] | None = None,
    store: bool = True,
) -> ThresholdResult:
    """Choose the score threshold of every label on a split (val, or else test), and store it in the checkpoint.

    Without a wanted precision or recall, each label gets the threshold with the best F1; with `min_precision` the
    lowest one that has it, with `min_recall` the highest, with both the best F1 among those that have both. `fixed`
    are thresholds of labels as numbers. Detectors that are loaded from then on use what is stored. `result.labels` has
    a row for every label, `result.calibration` tells how far scores can be read as probabilities. An `ArgumentError`
    for an unknown label and for values outside 0 to 1.

    >>> result = vocdet.choose_thresholds("shelf", run, split="test", min_recall=0.5)
    >>> [row.label for row in result.labels]
    ['circle', 'square']
    """
    path = run.path if isinstance(run, Run) else Path(run)
    options = ThresholdOptions(Wanted(min_precision, min_recall), fixed or {}, split, store)
    return choose(path, as_loaded(dataset), options)


def write_report(report: evaluation_report.EvalReport, path: str | Path, *, title: str = "Evaluation") -> Path:
    """Write an evaluation as one HTML file to look at, and return its path: it needs neither a server nor a network.

    An existing file is replaced. It has the metrics of every label, curves with a threshold to move, the errors and
    what they cost, the confusion matrix, and the images with the most errors. An `OutputError` if it cannot be written.

    >>> report = vocdet.evaluate("shelf", detector, split="test")
    >>> vocdet.write_report(report, "report.html").name
    'report.html'
    """
    target = Path(path)
    check_writable(target)
    write_text(target, report_html(report, PageFacts(title)))
    return target
