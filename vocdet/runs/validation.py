"""The validation of a detector between epochs, and what it adds to the description of a checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.tiles import tiled
from vocdet.evaluation.bootstrap import paired_difference
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.evaluation.resamples import RESAMPLES
from vocdet.inference.tiling import merged_images
from vocdet.inputs.images import Image
from vocdet.models.checkpoint import CheckpointInfo, ThresholdOrigin
from vocdet.recipes.schema import DetectorTrain, MaskRcnnRecipe, SsdRecipe
from vocdet.runs.detectors import DetectorTraining, image_sizes
from vocdet.runs.keeping import FEWEST, Verdict, is_surely_better
from vocdet.runs.pictures import example_sheet
from vocdet.runs.setup import image_cache
from vocdet.training.distributed import Group, share_of
from vocdet.training.loop import Validation, finite_loss
from vocdet.training.losses import Task

THRESHOLD_IMAGES = 200  # training images, or tiles of them, for the thresholds of a run without validation
FEWEST_TILED = 8  # images for that, however many tiles they have


class DetectorValidator:
    """Validates on a split, and holds the newest report with its thresholds, and the one of what a run keeps."""

    def __init__(
        self,
        family: DetectorTraining[Any, Any],
        recipe: SsdRecipe | MaskRcnnRecipe,
        info: CheckpointInfo,
        task: Task[Any],
        train: Dataset,
        val: Dataset | None,
        group: Group,
    ) -> None:
        """`info` describes the model before any validation; each process of the group predicts its share of `val`."""
        self.images = len(val) if val else 0
        self.report: EvalReport | None = None
        self.kept: EvalReport | None = None  # once the last weights were weighed against the best epoch
        self._family, self._recipe, self._info, self._task = family, recipe, info, task
        self._train, self._val, self._group = train, val, group
        self._detections: list[Detections] = []  # of the newest validation
        if val:
            self._share = val.subset(np.arange(len(val))[share_of(len(val), group.rank, group.world)])
            self._shown = self._views(self._share)
            self._samples = family.samples(task.model, self._shown, cache=image_cache(recipe.data))

    def validate(self, model: nn.Module) -> Validation:
        """The metrics and the loss; ranked by the recipe's metric, then by AP of boxes, of masks, and by loss."""
        assert isinstance(model, self._family.model) and self._val is not None
        predictions = self._family.predict(model, self._shown, self._samples, self._task)
        if predictions.loss is not None:
            self._group.sum_(predictions.loss)
        self._detections = self._group.merge(self._of_images(predictions.detections, self._share))
        self.report = evaluate(self._val, self._detections)
        metrics = scores_of(self.report) | {"f1": self.report.overall.f1 or 0.0}
        if predictions.loss is not None:
            metrics["loss"] = finite_loss(float(predictions.loss[0] / predictions.loss[1].clamp(min=1)))
        best = self._recipe.train.best
        loss = metrics.get("loss", 0.0)
        metric = -loss if best == "loss" else metrics.get(best, 0.0)
        # the loss tells epochs apart while nothing is detected
        rank = (metric, metrics["ap"], metrics.get("mask_ap", 0.0), -loss)
        return Validation(metrics, rank, enough=reaches_target(self._recipe.train, metrics))

    def weigh(self, best: nn.Module | None) -> Verdict:
        """The newest validation beside the weights of the best epoch; None if that is the newest one."""
        assert self._val is not None and self.report is not None
        kept, gain, metric = self._detections, None, self._recipe.train.best
        count = self.report.overall.images
        keeps_best = False
        if best is not None:
            found = self._family.predict(best, self._shown, self._samples, None).detections
            earlier = self._group.merge(self._of_images(found, self._share))
            name, masks = metric.removeprefix("mask_").upper(), metric.startswith("mask_")
            if count >= FEWEST and name in ("AP", "AP50"):
                gain = paired_difference(self._val, kept, earlier, name, masks=masks)
            if keeps_best := is_surely_better(count, gain):
                kept = earlier
        self.kept = report = evaluate(self._val, kept, resamples=RESAMPLES if count >= FEWEST else 0)
        bounds = report.interval.bounds["AP50"] if report.interval else None
        value, objects = report.overall.ap50 or 0.0, report.overall.objects
        return Verdict(keeps_best, gain, "AP50", value, bounds, count, "image", objects)

    def describe(self) -> CheckpointInfo:
        """The model with the thresholds and scores of the newest report, if there is one."""
        return _described(self._info, self.report, "val") if self.report else self._info

    def describe_unvalidated(self, model: nn.Module) -> CheckpointInfo:
        """The model with thresholds computed on training images, and without scores."""
        assert isinstance(model, self._family.model)
        tiles, images = self._info.tiles, self._train.images
        views = len(tiles.views(int(images.widths.max()), int(images.heights.max()))) if tiles else 1
        count = min(len(self._train), max(FEWEST_TILED, THRESHOLD_IMAGES // views))
        rows = np.linspace(0, len(self._train) - 1, count).astype(np.int64)
        examples = self._train.subset(np.unique(rows))
        shown = self._views(examples)
        found = self._family.predict(model, shown, self._family.samples(model, shown), None).detections
        return _described(self._info, evaluate(examples, self._of_images(found, examples)), "train").with_(scores={})

    def _views(self, images: Dataset) -> Dataset:
        """What the network sees of images: their tiles, if it was trained on tiles."""
        return tiled(images, self._info.tiles, every=True) if self._info.tiles else images

    def _of_images(self, detections: list[Detections], images: Dataset) -> list[Detections]:
        """The detections in images from those in their views."""
        tiles = self._info.tiles
        return merged_images(detections, tiles, image_sizes(images)) if tiles else detections

    def per_label(self) -> dict[str, float | None]:
        """AP50 of every label in the newest report; None for a label without objects in the split."""
        return {each.label: each.ap50 for each in self.report.labels} if self.report else {}

    def pictures(self) -> Image:
        """Images of the split with the detections of the newest validation."""
        assert self._val is not None and self.report is not None
        return example_sheet(self._val, self._detections, self.report.thresholds)


def scores_of(report: EvalReport) -> dict[str, float]:
    """AP50 and AP of boxes, and of masks if there are any; 0 where there is nothing to detect."""
    scores = {"ap50": report.overall.ap50 or 0.0, "ap": report.overall.ap or 0.0}
    if report.masks:
        scores |= {"mask_ap50": report.masks.overall.ap50 or 0.0, "mask_ap": report.masks.overall.ap or 0.0}
    return scores


def reaches_target(train: DetectorTrain, metrics: dict[str, float]) -> bool:
    """Whether the metrics reach every AP at which the recipe stops training; False if it names none."""
    targets = {"ap": train.stop_at_ap, "mask_ap": getattr(train, "stop_at_mask_ap", 0.0)}
    targets = {name: value for name, value in targets.items() if value}
    return bool(targets) and all(metrics.get(name, 0.0) >= value for name, value in targets.items())


def _described(info: CheckpointInfo, report: EvalReport, split: str) -> CheckpointInfo:
    origin = ThresholdOrigin(split=split, images=report.images)
    thresholds = tuple(round(float(t), 4) for t in report.thresholds)
    return info.with_(thresholds=thresholds, thresholds_from=origin, scores=scores_of(report))
