"""What the trainings of all detectors share: from a dataset and a recipe to a run with its best checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.findings import Finding
from vocdet.errors import AnnotationError
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.formats.source import Source
from vocdet.inference.predictor import choose_device
from vocdet.inputs.image_cache import Keep
from vocdet.inputs.images import Image
from vocdet.inputs.samples import Batch, Scenes
from vocdet.inputs.transforms import Augmentation
from vocdet.models.anchor_recall import AnchorRecall
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.folding import fold_norms
from vocdet.models.weights.transfer import Transfer
from vocdet.recipes.schema import DetectorAugment, DetectorTrain, MaskRcnnRecipe, SsdRecipe, changed
from vocdet.runs.pictures import example_sheet
from vocdet.runs.resume import Begun, check_unchanged, go_on, open_run, write_images
from vocdet.runs.setup import kept, run_folder, with_batch
from vocdet.runs.tracking import Service
from vocdet.runs.training_run import Note, Reached, TrainingRun
from vocdet.training.distributed import Group, alone, part, synchronized
from vocdet.training.loop import Epoch, Step, Validation
from vocdet.training.losses import Task
from vocdet.workflows.load import Loaded, load_dataset

M = TypeVar("M", bound=nn.Module)
R = TypeVar("R", SsdRecipe, MaskRcnnRecipe)
R_contra = TypeVar("R_contra", SsdRecipe, MaskRcnnRecipe, contravariant=True)

THRESHOLD_IMAGES = 200  # of the training images, for thresholds where no part validates


@dataclass(frozen=True, slots=True)
class DetectorStarted:
    """What a run starts from."""

    run: Path
    images: int
    validated_on: int  # images; 0: none
    labels: tuple[str, ...]
    start: str  # where the weights come from, for people
    transfer: Transfer | None  # tensor by tensor; None: from scratch
    shapes: int  # of anchors
    recall: tuple[AnchorRecall, ...]
    coordinates: str
    warnings: tuple[Finding, ...]
    notes: tuple[str, ...]  # what is worth telling and stops nothing
    recipe: SsdRecipe | MaskRcnnRecipe  # with the batch that fits, where that was left open


@dataclass(frozen=True, slots=True)
class DetectorFinished:
    """What a run ended with."""

    run: Path
    reached: Reached
    report: EvalReport | None  # of the best checkpoint on the validation part


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """The objects to learn, as far as anchors are fitted to them."""

    boxes: NDArray[np.float64]  # (N, 4) as shares of their images' sides; crowds left out
    labels: NDArray[np.int32]  # (N,)
    images: NDArray[np.int32]  # (N,) row of the image table
    sides: NDArray[np.float64]  # (images, 2) width, height; pixels


class Kind(Protocol[M, R_contra]):
    """What is different from one detector to another."""

    task: str  # of its recipe and its runs
    model: type[M]

    def check(self, train: Dataset, recipe: R_contra) -> tuple[str, ...]:
        """What is worth telling of the images to learn from; a `VocdetError` where nothing can be learned."""
        ...

    def begin(self, recipe: R_contra, runs: Path, train: Dataset, shapes: Shapes) -> Begun[M]:
        """A new model with the weights to start from."""
        ...

    def learn(self, model: M, recipe: R_contra, shapes: Shapes) -> Task[M]:
        """What the model is taught."""
        ...

    def recall(self, model: M, shapes: Shapes) -> tuple[int, tuple[AnchorRecall, ...]]:
        """The number of anchor shapes, and how well they fit."""
        ...

    def example(self, model: M, recipe: R_contra) -> Callable[[int], Batch]:
        """Makes a batch of so many images, as large as training has them."""
        ...

    def scenes(self, model: M, dataset: Dataset, recipe: R_contra | None, keep: Keep | None = None) -> Scenes:
        """The images of a dataset, augmented by a recipe, or as a predictor sees them."""
        ...

    def look(self, model: M, dataset: Dataset, scenes: Scenes, task: Task[M] | None = None) -> Looked:
        """What the model finds in every image, in eval mode, from scenes as a predictor sees them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What a model found in images."""

    found: list[Detections]
    loss: Tensor | None = None  # (2,) float64: sum of the losses and what it is to be divided by; None: not computed


def train_detector(
    kind: Kind[M, R],
    source: Source | Loaded,
    recipe: R,
    *,
    runs: Path,
    device: str,
    resume: Path | None,
    group: Group | None,
    track: Service | None,
    stop: Callable[[], bool],
) -> Generator[DetectorStarted | Step | Epoch | Note | DetectorFinished, None, None]:
    """Train, and say what happens: what it starts from, every step, every epoch, what it ended with.

    The best checkpoint, by the recipe's metric on the part `val`, is `best.safetensors` in a new folder in `runs`; the
    newest is `last.safetensors`. Learning from `trainval` leaves nothing to validate on: then the last is the best.
    When `stop()` is true training ends after the step, with all that was reached kept. `resume` is the folder of a
    run that was interrupted: it goes on as if it had not been, if recipe and data are what they were. In a `group`
    of processes each learns its part of every batch, and the first one alone writes. `track` is a service that is told
    what the run's journal is.
    """
    group = group or alone()
    loaded = load_dataset(source, split=recipe.data.split)
    train, val = _parts(loaded, recipe.data.split)
    shapes = _shapes(train)
    if not len(shapes.boxes):
        hint = "run vocdet split --force, or annotate more of its images"
        raise AnnotationError(f"no objects in the part {recipe.data.split}", place=source.path, hint=hint)
    notes = kind.check(train, recipe)
    resumed = open_run(resume, kind.task) if resume else None
    if resumed:
        check_unchanged(resumed, recipe, train.labels, {"train": train, "val": val})
        begun = go_on(resumed, kind.model)
    else:
        begun = kind.begin(recipe, runs, train, shapes)
        if recipe.train.freeze_norm and begun.transfer is None:
            recipe = changed(recipe, freeze_norm=False)
            notes += ("the backbone's batch norms learn: from scratch there is nothing in them to keep",)
    model, about = begun.model, begun.about
    _ready(model, recipe.train)
    model.to(choose_device(device)).to(memory_format=torch.channels_last)
    if recipe.train.sync_norm:
        synchronized(model)  # its layers are replaced in place
    task = kind.learn(model, recipe, shapes)
    recipe = with_batch(recipe, task, kind.example(model, recipe), len(train), group)
    about = msgspec.structs.replace(about, recipe=asdict(recipe))
    measure = _Measure(kind, recipe, val, task, group)
    given = source.record()
    learned_from = {"fingerprint": about.dataset, "root": str(source.path.absolute()), "labels": list(train.labels),
                    "images": len(train), "validated_on": len(val) if val else 0}  # fmt: skip
    with run_folder(runs, kind.task, about.backbone.name, group, resumed) as run:
        yield DetectorStarted(
            run, len(train), len(val) if val else 0, train.labels, begun.start, begun.transfer,
            *kind.recall(model, shapes), f"{loaded.scan.coordinates}-based: {loaded.scan.reason}", loaded.warnings,
            notes, recipe,
        )  # fmt: skip
        training = TrainingRun(
            run, recipe, task, about, group, given=given, resumed=resumed, track=track, learned_from=learned_from
        )
        if group.first and not resumed:
            write_images(run, train.labels, {"train": train, "val": val})
        best: EvalReport | None = None
        for event in training.go(
            kind.scenes(model, train, recipe, kept(recipe.data)),
            validate=measure.validate if val else None,
            describe=lambda: _describe(about, measure.report),
            finish=lambda: _describe(about, _on_training_images(kind, training.average.model, train)).with_(scores={}),
            per_label=measure.per_label,
            pictures=measure.pictures if val else None,
            stop=stop,
        ):
            if isinstance(event, Epoch) and event.best:
                best = measure.report
            yield event
        yield DetectorFinished(run, training.reached, best)


def _ready(model: Any, train: DetectorTrain) -> None:
    """The backbone as far as it is to learn."""
    model.backbone.freeze(train.freeze)
    if train.freeze_norm:
        fold_norms(model.backbone)


class _Measure(Generic[M, R]):
    """Validates on a part, and remembers the newest report and the thresholds that go with it."""

    def __init__(self, kind: Kind[M, R], recipe: R, val: Dataset | None, task: Task[M], group: Group) -> None:
        self._kind: Kind[M, R] = kind
        self._task, self._val, self._group = task, val, group
        self._train: DetectorTrain = recipe.train
        mine = part(len(val), group.rank, group.world) if val else slice(0)
        self._mine = val.subset(np.arange(len(val))[mine]) if val else None
        self._scenes = None
        if self._mine is not None:
            self._scenes = kind.scenes(task.model, self._mine, None, kept(recipe.data))
        self.report: EvalReport | None = None
        self._found: list[Detections] = []

    def validate(self, model: nn.Module) -> Validation:
        """The report's figures and the loss; ranked by the metric that was asked for, then by AP of boxes and masks."""
        assert isinstance(model, self._kind.model) and self._val is not None
        assert self._mine is not None and self._scenes is not None
        looked = self._kind.look(model, self._mine, self._scenes, self._task)
        if looked.loss is not None:
            self._group.sum_(looked.loss)
        self._found = self._group.merge(looked.found)
        self.report = evaluate(self._val, self._found)
        metrics = scores_of(self.report) | {"f1": self.report.overall.f1 or 0.0}
        if looked.loss is not None:
            metrics["loss"] = float(looked.loss[0] / looked.loss[1].clamp(min=1))
        best = self._train.best
        chosen = -metrics["loss"] if best == "loss" else metrics.get(best, 0.0)
        rank = (chosen, metrics["ap"], metrics.get("mask_ap", 0.0))
        return Validation(metrics, rank, enough=is_enough(self._train, metrics))

    def per_label(self) -> dict[str, float | None]:
        """AP50 of every label in the newest report; None where no object of it is validated on."""
        return {each.label: each.ap50 for each in self.report.labels} if self.report else {}

    def pictures(self) -> Image:
        """Images of the part with what the newest validation found in them."""
        assert self._val is not None and self.report is not None
        return example_sheet(self._val, self._found, self.report.thresholds)


def scores_of(report: EvalReport) -> dict[str, float]:
    """AP50 and AP of boxes, and of masks where there are any; 0 where there is no object to find."""
    found = {"ap50": report.overall.ap50 or 0.0, "ap": report.overall.ap or 0.0}
    if report.masks:
        found |= {"mask_ap50": report.masks.overall.ap50 or 0.0, "mask_ap": report.masks.overall.ap or 0.0}
    return found


def is_enough(train: DetectorTrain, metrics: dict[str, float]) -> bool:
    """Whether every AP that training is to stop at was found; where none is given it never is."""
    wanted = {"ap": train.stop_at_ap, "mask_ap": getattr(train, "stop_at_mask_ap", 0.0)}
    wanted = {name: value for name, value in wanted.items() if value}
    return bool(wanted) and all(metrics.get(name, 0.0) >= value for name, value in wanted.items())


def _describe(about: CheckpointInfo, report: EvalReport | None) -> CheckpointInfo:
    """The model with the thresholds and scores of a report, if there is one yet."""
    if report is None:
        return about
    return about.with_(thresholds=tuple(round(float(t), 4) for t in report.thresholds), scores=scores_of(report))


def _on_training_images(kind: Kind[M, R], model: nn.Module, train: Dataset) -> EvalReport:
    """Figures of training images, for thresholds where no other images are left to find them on."""
    assert isinstance(model, kind.model)
    rows = np.linspace(0, len(train) - 1, min(len(train), THRESHOLD_IMAGES)).astype(np.int64)
    some = train.subset(np.unique(rows))
    return evaluate(some, kind.look(model, some, kind.scenes(model, some, None)).found)


def augmentation(asked: DetectorAugment, *, mixup: float = 0.0, copy_paste: float = 0.0) -> Augmentation:
    """What a recipe does to the images that any detector learns from, and what only some do."""
    return Augmentation(
        whole=asked.whole, zoom_out=asked.zoom_out, largest_canvas=asked.largest_canvas,
        smallest_crop=asked.smallest_crop, flip=0.5 if asked.flip else 0.0, color=asked.color, mosaic=asked.mosaic,
        turns=asked.turns, mixup=mixup, copy_paste=copy_paste,
    )  # fmt: skip


def _parts(loaded: Loaded, split: str) -> tuple[Dataset, Dataset | None]:
    """The images to learn from, and those to validate on: `val`, as far as none of it is learned from.

    None where no object in `val` counts: every epoch would be as good as the first.
    """
    rows = loaded.rows(split)
    val = loaded.dataset.subset(np.setdiff1d(loaded.splits.get("val", np.zeros(0, np.int64)), rows))
    counts = ~(val.objects.difficult | val.objects.crowd)
    return loaded.dataset.subset(rows), val if counts.any() else None


def _shapes(dataset: Dataset) -> Shapes:
    objects = dataset.objects.take(~dataset.objects.crowd)
    sides = np.column_stack([dataset.images.widths, dataset.images.heights]).astype(np.float64)
    return Shapes(objects.box / np.tile(sides, 2)[objects.image], objects.label, objects.image, sides)


def sides_of(dataset: Dataset) -> Sequence[tuple[int, int]]:
    """(width, height) of every image, pixels."""
    return list(zip(dataset.images.widths.tolist(), dataset.images.heights.tolist(), strict=True))
