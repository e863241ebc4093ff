"""Compare an exported detector with the model it was made from."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.errors import ExportError
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.exporting.graphs import Graph
from vocdet.exporting.parity import Check, Scores, difference, unusual_images
from vocdet.formats.scan import Progress
from vocdet.inference.bench import latencies, noise
from vocdet.inference.predictor import predictor_of
from vocdet.inference.tiled import TiledPredictor
from vocdet.inputs.images import Image, decode_image
from vocdet.inputs.prefetch import AHEAD, prefetch
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.folding import fused
from vocdet.runtimes.detectors import ExportedPredictor, Run
from vocdet.runtimes.predictor import Predictor
from vocdet.workflows.evaluate import relabeled_for
from vocdet.workflows.load import Loaded

TIMED = 10  # images
_LEAST = 0.001  # score of a candidate


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The images to check on."""

    loaded: Loaded
    split: str
    trained_on: bool = False  # whether the run was trained on any of them


class _Alone:
    """A file that gets whole images, as it does from other programs."""

    def __init__(self, exported: ExportedPredictor) -> None:
        self._exported = exported
        self.labels, self.thresholds = exported.labels, exported.thresholds
        self.levels: Levels | None = exported.levels

    def detect(self, images: Sequence[Image], *, score: float = _LEAST) -> list[Detections]:
        return [self._exported.candidates(image, image.shape[:2], score) for image in images]


def check_export(
    model: nn.Module,
    info: CheckpointInfo,
    exported: ExportedPredictor,
    data: Data | None,
    *,
    tolerance: float,
    progress: Progress | None = None,
) -> Check:
    """Compare on the images of a split and on made ones; a difference beyond the tolerance is an `ExportError`."""
    original = predictor_of(fused(model), info.thresholds)
    predictors: list[Predictor] = [original, exported, _Alone(exported)]
    if info.tiles:
        predictors = [TiledPredictor(one, info.tiles) for one in predictors]
    found: list[list[Detections]] = [[], [], []]
    reports: list[EvalReport] = []
    timed: list[Image] = []
    if data:
        dataset, _ = relabeled_for(data.loaded.dataset.subset(data.loaded.dataset.rows(data.split)), info.labels)
        dataset = replace(dataset, levels=info.levels or dataset.levels)
        for done, image in enumerate(prefetch(lambda: map(decode_image, dataset), AHEAD), 1):
            _detect(predictors, image, found)
            timed += [image] * (len(timed) < TIMED)
            if progress:
                progress(done, len(dataset))
        thresholds = np.full(len(dataset.labels), 1.0, np.float32)
        thresholds[: len(info.labels)] = exported.thresholds
        reports = [
            evaluate(dataset, one, thresholds=thresholds, resamples=300 * (i == 1)) for i, one in enumerate(found)
        ]
    timed = timed or [noise((480, 640))]
    with tempfile.TemporaryDirectory() as folder:
        for _, image in unusual_images(timed[0], Path(folder)):
            _detect(predictors, image, found)
    model_ms, exported_ms = (one.median for one in latencies(predictors[:2], [timed, timed], rounds=TIMED))
    scores = [_scores_of(report) for report in reports] or [Scores(None, None)] * 3
    known = reports[1].interval if reports else None
    bounds = known.bounds if known else {}
    check = Check(
        split=data.split if data else "",
        images=len(found[0]) - 5,
        trained_on=bool(data and data.trained_on),
        model=scores[0],
        exported=scores[1],
        alone=scores[2],
        difference=difference(found[0], found[1]),
        difference_alone=difference(found[0], found[2]),
        by_label={a.label: (a.ap50, b.ap50) for a, b in zip(*(r.labels for r in reports[:2]), strict=True)}
        if reports
        else {},
        interval={name: bounds.get(name) for name in ("AP", "AP50") if bounds},
        model_ms=model_ms,
        exported_ms=exported_ms,
        tolerance=tolerance,
    )
    _judge(check, scores=info.task == "ssd" and exported.description.precision == "fp32")
    return check


def check_outputs(graph: Graph, run: Run, *, tolerance: float) -> float:
    """The largest difference of an output between a graph and its file on made images, for one without detections.

    A difference beyond the tolerance is an `ExportError`.
    """
    apart = 0.0
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for _, image in unusual_images(noise((480, 640)), Path(folder)):
            for mine, theirs in zip(graph.module(torch.from_numpy(image)), run(image), strict=True):
                apart = float(np.maximum(apart, np.abs(mine.numpy() - theirs).max()))  # NaN stays
    if not np.isfinite(apart):
        raise ExportError("the exported model has outputs that are not numbers", hint="choose another format")
    if apart > tolerance:
        raise _beyond(tolerance, f"an output by {apart:.3g}", apart)
    return apart


def _detect(predictors: Sequence[Predictor], image: Image, found: list[list[Detections]]) -> None:
    for predictor, column in zip(predictors, found, strict=True):
        column += predictor.detect([image])


def _scores_of(report: EvalReport) -> Scores:
    return Scores(report.overall.ap, report.overall.ap50, report.masks.overall.ap if report.masks else None)


def _judge(check: Check, *, scores: bool) -> None:
    beyond = [f"{name} by {value:+.3f}" for name, value in check.change.items() if abs(value) > check.tolerance]
    apart = check.difference.scores if scores else 0.0
    if apart > check.tolerance:
        beyond.append(f"a score by {apart:.3f}")
    if beyond:
        raise _beyond(check.tolerance, ", ".join(beyond), max([*map(abs, check.change.values()), apart]))


def _beyond(tolerance: float, what: str, largest: float) -> ExportError:
    """The error for an export that differs by more than the tolerance."""
    problem = f"the exported model differs by more than {tolerance:g}: {what}"
    return ExportError(problem, hint=f"accept it with `tolerance={largest:.2g}`")
