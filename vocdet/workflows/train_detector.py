"""Train a detector on a dataset: SSD-lite, Mask R-CNN or Faster R-CNN, as its recipe says."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from vocdet.data.findings import Finding
from vocdet.data.tiles import Tiles, tiled, training_tiles
from vocdet.data.usable import NOTHING, LeftOut
from vocdet.evaluation.report import EvalReport
from vocdet.files import write_text
from vocdet.formats.scan import Scan, Source, other_readings
from vocdet.inference.predictor import choose_device
from vocdet.models.anchor_recall import AnchorRecall
from vocdet.models.folding import fold_norms
from vocdet.models.weights.transfer import Transfer
from vocdet.plots.report_page import report_html
from vocdet.recipes.length import length_notes, with_length
from vocdet.recipes.rate import rate_notes, with_rate
from vocdet.recipes.schema import DetectorTrain, MaskRcnnRecipe, SsdRecipe, changed
from vocdet.runs.anchor_notes import AnchorFit, anchor_notes
from vocdet.runs.detectors import DetectorTraining, ObjectTable, R
from vocdet.runs.image_record import write_image_digests
from vocdet.runs.keeping import TrainingSummary
from vocdet.runs.left_out import write_left_out
from vocdet.runs.maskrcnn import MASK_RCNN
from vocdet.runs.page_facts import page_facts
from vocdet.runs.prolong import continued
from vocdet.runs.resume import UnfinishedRun, resumed_model
from vocdet.runs.setup import RunOptions, check_run_folder, image_cache, run_folder, with_batch
from vocdet.runs.ssd import SSD
from vocdet.runs.training_run import Note, TrainingRun
from vocdet.runs.validation import DetectorValidator
from vocdet.training.distributed import synchronized
from vocdet.training.loop import Epoch, Step
from vocdet.wording import counted
from vocdet.workflows.load import Loaded, load_dataset
from vocdet.workflows.training_data import TrainingData

GALLERY = 24  # in the gallery of a training's page, which large images would delay

TRAININGS: dict[type[SsdRecipe | MaskRcnnRecipe], DetectorTraining[Any, Any]] = {
    SsdRecipe: SSD,
    MaskRcnnRecipe: MASK_RCNN,
}


@dataclass(frozen=True, slots=True)
class DetectorStart:
    """The start of a training: its data, weights, anchors and recipe."""

    run: Path
    images: int
    validation_images: int  # 0: none
    labels: tuple[str, ...]
    weights: str  # their origin, for people
    transfer: Transfer | None  # tensor by tensor; None: from scratch
    anchor_shapes: int  # 0: a detector without anchors
    recall: tuple[AnchorRecall, ...]
    coordinates: str  # how the files count pixels, and why that was chosen; "" if the format leaves no choice
    warnings: tuple[Finding, ...]
    notes: tuple[str, ...]  # about the data and the recipe, for people
    recipe: SsdRecipe | MaskRcnnRecipe  # with the batch that fits, if it left the batch open
    left_out: LeftOut = NOTHING  # of the dataset, on request, because of errors
    weights_warning: str = ""  # from scratch because no weights were found, and how to change that


@dataclass(frozen=True, slots=True)
class DetectorResult:
    """The result of a training."""

    run: Path
    summary: TrainingSummary
    report: EvalReport | None  # of the best checkpoint on the validation split
    left_out: LeftOut = NOTHING  # as at the start
    weights_warning: str = ""  # as at the start


def training_events(
    source: Source | Loaded,
    recipe: R,
    options: RunOptions | None = None,
) -> Generator[DetectorStart | Step | Epoch | Note | DetectorResult, None, None]:
    """Train a detector and yield its start, every step, every epoch and its result.

    The kept checkpoint is `best.safetensors` in a new folder in `options.runs`: that of the last averaged weights,
    unless the split `val` shows that an earlier epoch is better by the recipe's metric; the newest is
    `last.safetensors`. Training on `trainval` leaves nothing to validate on, so the last checkpoint is kept. With few
    images or many, the default length is adjusted: see `with_length`. When `options.stop()` is true, training ends
    after the step and saves its state.
    `options.resume` continues an interrupted run as if it had not been interrupted; recipe and data must be unchanged.
    It continues a finished run with a new schedule, whose length `options.given` names; see `prolong`.
    In a group of processes each trains on its share of every batch, and only the first one writes.

    A Mask R-CNN on images without any mask is an `AnnotationError`, unless the recipe has `masks=False`; if some
    objects have no mask, only their boxes are used.
    """
    options, family = options or RunOptions(), TRAININGS[type(recipe)]
    check_run_folder(options)
    group, origin = options.group, source.record()
    loaded = load_dataset(source, split=recipe.data.split)
    data = TrainingData.of(loaded.dataset, recipe.data.split)
    train, val = data.train, data.val if data.is_measurable else None
    tiles = training_tiles(recipe.data.tile, recipe.data.overlap, train.objects.box)
    shown = tiled(train, tiles) if tiles else train  # what the network sees
    objects = ObjectTable.of(shown)
    if not len(objects.boxes):
        hint = "choose other splits with `vocdet.split(dataset)`, or annotate more of these images"
        raise data.no_objects(source.path, hint=hint)
    notes = other_readings(loaded.scan) + data.notes(validates=val is not None) + family.check(train, recipe)
    asked, splits = recipe, {"train": train, "val": val}
    unfinished: UnfinishedRun | None = None
    if options.resume:
        unfinished, recipe = continued(options.resume, family.task, recipe, options.given, train.labels, splits)
        initial = resumed_model(unfinished, family.model)
    else:
        adjusted = with_rate(with_length(recipe, len(shown), options.given), len(shown), options.given)
        notes += length_notes(recipe, adjusted, len(shown)) + rate_notes(recipe, adjusted, len(shown))
        recipe = adjusted
        initial = family.create(recipe, options, shown, objects)
        notes += initial.notes
        if recipe.train.freeze_norm and initial.transfer is None:
            recipe = changed(recipe, freeze_norm=False)
            notes += ("freeze_norm is off: the batch norms of a backbone without weights must be trained",)
    model = initial.model
    _freeze(model, recipe.train)
    model.to(choose_device(options.device)).to(memory_format=torch.channels_last)
    if recipe.train.sync_norm:
        synchronized(model)  # its layers are replaced in place
    task = family.make_task(model, recipe, objects)
    recipe = with_batch(recipe, task, family.blank_batches(model, recipe), len(shown), group)
    info = msgspec.structs.replace(initial.info, recipe=asdict(recipe), tiles=tiles)
    if tiles and not unfinished:
        info = msgspec.structs.replace(info, dataset=train.fingerprint())
        notes += (_tiles_note(tiles, len(shown), len(train)),)
    validator = DetectorValidator(family, recipe, info, task, train, val, group)
    shapes, recall = family.anchor_recall(model, objects)
    fitted = initial.own_anchors and recipe.model.anchors in ("auto", "fit")
    what = "anchors" if shapes else "cells of the finest map"
    fit = AnchorFit(recall, recipe.model.size, fitted, partial(family.recall_at, model), what)
    notes += anchor_notes(fit, objects)
    with run_folder(options, family.task, info.backbone.name, unfinished) as run:
        yield DetectorStart(
            run, len(train), validator.images, train.labels, initial.weights, initial.transfer,
            shapes, recall, _coordinates(loaded.scan),
            loaded.warnings, notes, recipe, loaded.left_out, initial.warning,
        )  # fmt: skip
        training = TrainingRun(run, recipe, task, info, origin, options, unfinished, asked=asked)
        if group.first and not unfinished:
            write_image_digests(run, train.labels, splits)
            write_left_out(run, loaded.left_out)
        best: EvalReport | None = None
        samples = family.samples(model, shown, recipe, image_cache(recipe.data))
        for event in training.events(samples, validator, data.record()):
            if isinstance(event, Epoch) and event.best:
                best = validator.report
            yield event
        best = validator.kept or best  # an interrupted run keeps its best epoch so far
        if group.first and best is not None:
            about = replace(page_facts(run, "val", loaded.path), images=GALLERY)
            write_text(run / "report-val.html", report_html(best, about))
        yield DetectorResult(run, training.summary, best, loaded.left_out, initial.warning)


def _tiles_note(tiles: Tiles, views: int, images: int) -> str:
    also = ", and on whole images for objects larger than a tile" if tiles.whole else ""
    return (
        f"training on {counted(views, 'tile')} of {tiles.size} pixels from {counted(images, 'image')}{also}: with the "
        "objects, and as many without"
    )


def _freeze(model: nn.Module, train: DetectorTrain) -> None:
    """Freeze the layers of the backbone that the recipe names."""
    backbone: Any = model.backbone
    backbone.freeze(train.freeze)
    if train.freeze_norm:
        fold_norms(backbone)


def _coordinates(scan: Scan) -> str:
    return f"{scan.coordinates}-based: {scan.reason}" if scan.reason else ""
