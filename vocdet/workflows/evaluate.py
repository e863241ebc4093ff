"""Evaluate a trained detector on a split of a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.findings import raise_split_errors
from vocdet.data.relabel import with_labels
from vocdet.errors import AnnotationError
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.evaluation.resamples import RESAMPLES
from vocdet.files import check_writable, write_bytes
from vocdet.formats.scan import Progress, Source
from vocdet.inference.output import check_picture_name, write_picture
from vocdet.inference.predictor import detect_all
from vocdet.inference.results import write_coco_results
from vocdet.inference.tiled import TiledPredictor
from vocdet.inputs.images import decode_image
from vocdet.inputs.prefetch import AHEAD, prefetch
from vocdet.outputs import BEST, check_output, mark_file
from vocdet.runs.image_record import trained_rows
from vocdet.runs.page_facts import page_facts
from vocdet.runs.pictures import example_sheet
from vocdet.runtimes.description import is_exported
from vocdet.runtimes.predictor import Predictor
from vocdet.wording import listed
from vocdet.workflows.detector import DetectorOptions, run_of
from vocdet.workflows.eval_options import EvalOptions, EvalResult, choose, chosen_split, split_rows
from vocdet.workflows.eval_page import write_page
from vocdet.workflows.load import Loaded, load_dataset


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The metrics of a detector on a split, and the detections they count."""

    report: EvalReport
    ground_truth: Dataset  # the images, with the detector's labels first
    detections: tuple[Detections, ...]  # of every image, with any score
    rows: NDArray[np.int64]  # (N,) the images, as rows of the split
    unknown: tuple[str, ...]  # labels of the images that the detector does not know


def evaluate_run(
    run: Path,
    source: Source | Loaded,
    options: EvalOptions = EvalOptions(),
    *,
    detector: DetectorOptions | None = None,
    picture: Path | None = None,
    progress: Progress | None = None,
) -> EvalResult:
    """Compare the detections in every image of a split with its objects: boxes and, if both have them, masks.

    Writes `metrics-<split>.json` and `detections-<split>.json` (COCO results) beside the checkpoint. Precision, recall
    and F1 refer to boxes at the best threshold of each label on these images, or at the thresholds of the checkpoint.
    Objects with a label that the detector does not have count as missed. `detector` may choose an export of the run,
    and tiles, which the metrics file names. `picture` is a file for a few images with ground truth and detections.
    `report-<split>.html` shows all of it, with the commands that repeat it, unless `options.page` is False; with
    `options.plots`, `plots-<split>` has its plots as PNG and SVG.
    See `vocdet.evaluation.bootstrap` for the intervals.
    """
    if picture:
        check_picture_name(picture)
        check_output(picture)
    folder, checkpoint = (run, BEST) if run.is_dir() else (run.parent, run.name)
    detector = detector or DetectorOptions(backend="auto" if is_exported(run) else "torch")
    check_writable(folder, inside=True, hint="copy the run to a writable folder")
    loaded = load_dataset(source, without_objects=True)
    split = chosen_split(loaded.dataset, options.split)
    raise_split_errors(loaded.warnings, split)
    options = replace(options, split=split)
    available = split_rows(loaded.dataset, split)
    predictor = detector.open(run)
    evaluation = evaluate_detector(predictor, loaded, options, progress=progress)
    dataset, detections, report, rows = (
        evaluation.ground_truth, evaluation.detections, evaluation.report, evaluation.rows,
    )  # fmt: skip
    evaluated = loaded.dataset.subset(available[rows])
    content: dict[str, object] = {"split": split, "dataset": evaluated.fingerprint()}
    if options.subset:
        content["subset"] = {"images": len(rows), "of": len(available), "seed": options.seed}
    if isinstance(predictor, TiledPredictor):
        content["tiles"] = asdict(predictor.tiles)
    if trained_on := len(trained_rows(evaluated, run_of(run))):
        content["trained_on"] = trained_on
    if loaded.left_out:
        content["left_out"] = loaded.left_out.as_dict()
    own = options.own_thresholds or not len(dataset.objects)
    content |= {"thresholds_from": _origin(own), "checkpoint": checkpoint} | report.as_dict()
    content["analysis"] = report.analysis()
    metrics, results = (folder / f"{name}-{split}.json" for name in ("metrics", "detections"))
    write_bytes(metrics, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
    write_coco_results(results, dataset, detections, image_ids=(rows + 1).tolist())
    page = Path()
    if options.page is not False:
        page = write_page(report, page_facts(folder, split, loaded.path, options.commands), folder, options)
    if picture:
        write_picture(picture, example_sheet(dataset, detections, report.thresholds))
        mark_file(picture)
    boxes_only = report.masks is None and any(one.masks is not None for one in detections)
    return EvalResult(
        report, metrics, results, loaded.warnings, evaluation.unknown, len(available), boxes_only, loaded.left_out,
        split, trained_on, page=page,
    )  # fmt: skip


def evaluate_detector(
    predictor: Predictor, loaded: Loaded, options: EvalOptions = EvalOptions(), *, progress: Progress | None = None
) -> Evaluation:
    """Evaluate a detector on a split as `evaluate_run` does, without writing files."""
    split = chosen_split(loaded.dataset, options.split)
    raise_split_errors(loaded.warnings, split)
    rows = split_rows(loaded.dataset, split)
    chosen = choose(len(rows), options.subset, options.seed)
    dataset, unknown = relabeled_for(loaded.dataset.subset(rows[chosen]), predictor.labels)
    dataset = replace(dataset, levels=predictor.levels or dataset.levels)
    results = []
    for detections in detect_all(predictor, prefetch(lambda: map(decode_image, dataset), AHEAD)):
        results.append(detections)
        if progress:
            progress(len(results), len(dataset))
    thresholds = np.full(len(dataset.labels), 1.0, np.float32)
    thresholds[: len(predictor.labels)] = predictor.thresholds
    resamples = RESAMPLES if options.interval or options.subset else 0
    own = thresholds if options.own_thresholds or not len(dataset.objects) else None  # without objects none is best
    report = evaluate(dataset, results, thresholds=own, resamples=resamples, seed=options.seed)
    return Evaluation(report, dataset, tuple(results), chosen, unknown)


def relabeled_for(dataset: Dataset, labels: tuple[str, ...]) -> tuple[Dataset, tuple[str, ...]]:
    """The dataset with the labels of a detector first, and the labels that the detector does not have.

    Raises an `AnnotationError` if they have no label in common.
    """
    used = {dataset.labels[k] for k in np.unique(dataset.objects.label)}
    unknown = tuple(sorted(used - set(labels)))
    if used and not used & set(labels):
        raise AnnotationError(
            f"none of the labels ({listed(unknown, most=5)}) is a label of the detector ({listed(labels, most=5)})",
            place=dataset.root,
            hint="evaluate on a dataset with the labels of the training data",
        )
    return with_labels(dataset, labels), unknown


def _origin(own: bool) -> str:
    return "the checkpoint" if own else "these images, for the best F1 of each label"
