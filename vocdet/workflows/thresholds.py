"""Choose the score threshold of every label on a split, and store it in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from vocdet.data.findings import Finding
from vocdet.errors import ArgumentError
from vocdet.evaluation.curves import BEST_F1, Calibration, LabelCurve, Wanted
from vocdet.evaluation.report import MIN_THRESHOLD
from vocdet.files import check_writable
from vocdet.formats.scan import Progress, Source
from vocdet.inference.predictor import load_predictor
from vocdet.models.checkpoint import ThresholdOrigin, read_info, replace_info
from vocdet.outputs import checkpoint_of
from vocdet.plots import notebook
from vocdet.wording import did_you_mean, listed
from vocdet.workflows.eval_options import EvalOptions, split_rows
from vocdet.workflows.evaluate import evaluate_detector
from vocdet.workflows.load import Loaded, load_dataset


@dataclass(frozen=True, slots=True)
class ThresholdOptions:
    """What the thresholds have to bring, and on which images."""

    wanted: Wanted = BEST_F1
    fixed: Mapping[str, float] = field(default_factory=dict)  # thresholds of labels, as numbers
    split: str = ""  # "": val, or test if there is none
    store: bool = True  # False: only show them


@dataclass(frozen=True, slots=True)
class LabelThreshold:
    """The threshold of a label, and the metrics of its detections from there on."""

    label: str
    before: float
    threshold: float
    reached: bool  # whether it brings what is wanted; else it is the one with the best F1
    objects: int
    precision: float | None  # None: no detection scores that much
    recall: float | None  # None: no object


@dataclass(frozen=True, slots=True)
class ThresholdResult:
    """The thresholds of a checkpoint."""

    checkpoint: Path
    split: str
    images: int
    wanted: Wanted
    labels: tuple[LabelThreshold, ...]
    calibration: Calibration
    warnings: tuple[Finding, ...]

    def __repr__(self) -> str:
        chosen = listed((f"{row.label} {row.threshold:.2f}" for row in self.labels), most=5)
        return f"<thresholds of {self.checkpoint}, on {self.split}: {chosen}>"

    def _repr_html_(self) -> str:
        rows = [(row.label, row.before, row.threshold, row.objects, row.precision, row.recall) for row in self.labels]
        columns = ("label", "before", "threshold", "objects", "precision", "recall")
        return notebook.heading(repr(self)[1:-1]) + notebook.table(columns, rows)


def choose_thresholds(
    run: Path,
    source: Source | Loaded,
    options: ThresholdOptions = ThresholdOptions(),
    *,
    device: str = "auto",
    progress: Progress | None = None,
) -> ThresholdResult:
    """Detect in every image of a split, choose a threshold for each label, and store them in the checkpoint.

    A label for which no threshold brings what is wanted gets the one with the best F1; without any correct detection it
    keeps the threshold that it has. An `ArgumentError` for wanted values outside 0 to 1, and for unknown labels.
    """
    path = checkpoint_of(run)
    info = read_info(path)
    _check_options(options, info.labels)
    if options.store:
        check_writable(path.parent, inside=True, hint="copy the run to a writable folder")
    loaded = load_dataset(source)
    split = options.split or ("val" if len(loaded.dataset.splits.get("val", ())) else "test")
    predictor = load_predictor(path, device=device)
    evaluation = evaluate_detector(predictor, loaded, EvalOptions(split), progress=progress)
    report = evaluation.report
    rows = tuple(
        _label_threshold(curve, float(before), options)
        for curve, before in zip(report.curves, predictor.thresholds, strict=False)
    )
    if options.store:
        origin = ThresholdOrigin(
            rule=str(options.wanted),
            split=split,
            images=report.images,
            dataset=loaded.dataset.subset(split_rows(loaded.dataset, split)).fingerprint(),
            unreached=tuple(row.label for row in rows if not row.reached),
            fixed=tuple(options.fixed),
        )
        points = report.calibration.points
        new = msgspec.structs.replace(
            info, thresholds=tuple(row.threshold for row in rows), thresholds_from=origin, calibration=points
        )
        replace_info(path, new)
    return ThresholdResult(path, split, report.images, options.wanted, rows, report.calibration, loaded.warnings)


def _check_options(options: ThresholdOptions, labels: tuple[str, ...]) -> None:
    for name in ("precision", "recall"):
        value = getattr(options.wanted, name)
        if value is not None and not 0 < value <= 1:
            hint = f"give a number above 0, and at most 1: `min_{name}=0.9`"
            raise ArgumentError(f"the wanted {name} is {value:g}", hint=hint)
    for label, value in options.fixed.items():
        if label not in labels:
            hint = did_you_mean(label, labels) or f"its labels are {listed(labels, most=8)}"
            raise ArgumentError(f"the detector has no label {label!r}", hint=hint)
        if not 0 <= value <= 1:
            raise ArgumentError(f"the threshold of {label} is {value:g}", hint="give a number from 0 to 1")


def _label_threshold(curve: LabelCurve, before: float, options: ThresholdOptions) -> LabelThreshold:
    chosen = options.fixed.get(curve.label, curve.threshold(options.wanted))
    reached = chosen is not None
    if chosen is None:
        best = curve.threshold()
        chosen = before if best is None else best
    if options.wanted == BEST_F1 and curve.label not in options.fixed:
        chosen = max(chosen, float(MIN_THRESHOLD))
    short = round(chosen, 4)
    threshold = short if curve.at(short) == curve.at(chosen) else chosen
    correct, false = curve.at(threshold)
    return LabelThreshold(
        label=curve.label,
        before=before,
        threshold=threshold,
        reached=reached,
        objects=curve.objects,
        precision=correct / (correct + false) if correct + false else None,
        recall=correct / curve.objects if curve.objects else None,
    )
