"""Train SSD-lite on a dataset."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vocdet import __version__
from vocdet.data.checks import Finding
from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.errors import AnnotationError
from vocdet.evaluation.report import EvalReport, evaluate
from vocdet.formats.coordinates import Asked
from vocdet.inference.predictor import Predictor, choose_device
from vocdet.inputs.image_cache import Keep
from vocdet.inputs.images import Image
from vocdet.inputs.samples import Scenes, ahead, batches
from vocdet.inputs.transforms import Augmentation
from vocdet.models.anchor_fit import AnchorRecall, anchor_recall, fit_anchors
from vocdet.models.anchors import Anchors, torchvision_anchors
from vocdet.models.backbone import parse_net
from vocdet.models.checkpoint import About
from vocdet.models.folding import fold_norms
from vocdet.models.ssdlite import SsdLite, SsdSpec
from vocdet.models.transfer import Transfer, transfer
from vocdet.recipes.schema import SsdRecipe
from vocdet.training.distributed import Group, alone, part, synchronised
from vocdet.training.loop import Epoch, Step, Validation
from vocdet.training.tasks import DetectTask
from vocdet.workflows.journal_pictures import example_sheet
from vocdet.workflows.prepare import Loaded, load_dataset
from vocdet.workflows.resume import Begun, check_unchanged, go_on, open_run, write_images
from vocdet.workflows.run_setup import kept, run_folder, with_batch
from vocdet.workflows.tracking import Service
from vocdet.workflows.training_run import Note, Reached, TrainingRun
from vocdet.workflows.weights import find_start

THRESHOLD_IMAGES = 200  # of the training images, for thresholds where no part validates


@dataclass(frozen=True, slots=True)
class SsdStarted:
    """What a run starts from."""

    run: Path
    images: int
    validated_on: int  # images; 0: none
    labels: tuple[str, ...]
    start: str  # where the weights come from, for people
    transfer: Transfer | None  # tensor by tensor; None: from scratch
    anchors: Anchors
    recall: tuple[AnchorRecall, ...]
    coordinates: str
    warnings: tuple[Finding, ...]
    recipe: SsdRecipe  # with the batch that fits, where that was left open


@dataclass(frozen=True, slots=True)
class SsdFinished:
    """What a run ended with."""

    run: Path
    reached: Reached
    report: EvalReport | None  # of the best checkpoint on the validation part


def train_ssd(
    root: Path,
    recipe: SsdRecipe,
    *,
    runs: Path = Path("runs"),
    labels: Path | None = None,
    coordinates: Asked = "auto",
    device: str = "auto",
    resume: Path | None = None,
    group: Group | None = None,
    track: Service | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[SsdStarted | Step | Epoch | Note | SsdFinished, None, None]:
    """Train, and say what happens: what it starts from, every step, every epoch, what it ended with.

    The best checkpoint, by the recipe's metric on the part `val`, is `best.safetensors` in a new folder in `runs`; the
    newest is `last.safetensors`. Learning from `trainval` leaves nothing to validate on: then the last is the best.
    When `stop()` is true training ends after the step, with all that was reached kept. `resume` is the folder of a
    run that was interrupted: it goes on as if it had not been, if recipe and data are what they were. In a `group`
    of processes each learns its part of every batch, and the first one alone writes. `track` is a service that is told
    what the run's journal is.
    """
    group = group or alone()
    loaded = load_dataset(root, labels=labels, coordinates=coordinates, part=recipe.data.part)
    train, val = _parts(loaded, recipe.data.part)
    shares, box_labels = _shares(train)
    if not len(shares):
        hint = "run vocdet split --force, or annotate more of its images"
        raise AnnotationError(f"no objects in the part {recipe.data.part}", place=root, hint=hint)
    resumed = open_run(resume, "ssd") if resume else None
    if resumed:
        check_unchanged(resumed, recipe, train.labels, {"train": train, "val": val})
        begun = go_on(resumed, SsdLite)
    else:
        begun = _begin(recipe, runs, train, shares, box_labels)
    model, about = begun.model, begun.about
    model.backbone.freeze(recipe.train.freeze)
    if recipe.train.freeze_norm:
        fold_norms(model.backbone)
    model.to(choose_device(device)).to(memory_format=torch.channels_last)
    if recipe.train.sync_norm:
        synchronised(model)  # its layers are replaced in place
    spec = model.spec
    recall = anchor_recall(spec.anchors, shares, box_labels, train.labels, spec.size, last_map=spec.last_map)
    balanced = label_weights(box_labels, len(train.labels), recipe.train.balance)
    task = DetectTask(model, min_negatives=recipe.train.min_negatives, label_weights=balanced)
    recipe = with_batch(recipe, task, model.spec.size, len(train), group)
    about = msgspec.structs.replace(about, recipe=asdict(recipe))
    scenes = Scenes(train, model.spec.size, _augmentation(recipe), keep=kept(recipe.data))
    measure = _Measure(val, task, group, recipe.train.best, kept(recipe.data))
    given = {"root": str(root.absolute()), "labels": labels and str(labels.absolute()), "coordinates": coordinates}
    with run_folder(runs, "ssd", about.backbone.name, group, resumed) as run:
        yield SsdStarted(
            run, len(train), len(val) if val else 0, train.labels, begun.start, begun.transfer, model.spec.anchors,
            recall, f"{loaded.scan.coordinates}-based: {loaded.scan.reason}", loaded.warnings, recipe,
        )  # fmt: skip
        training = TrainingRun(
            run, recipe, task, about, group, given=given, resumed=resumed, track=track,
            learned_from={"fingerprint": about.dataset, "root": str(root.absolute()), "labels": list(train.labels),
                          "images": len(train), "validated_on": len(val) if val else 0},
        )  # fmt: skip
        if group.first and not resumed:
            write_images(run, train.labels, {"train": train, "val": val})
        best: EvalReport | None = None
        for event in training.go(
            scenes,
            validate=measure.validate if val else None,
            describe=lambda: _describe(about, measure.report),
            finish=lambda: _describe(about, _on_training_images(training.average.model, train)).with_(scores={}),
            per_label=measure.per_label,
            pictures=measure.pictures if val else None,
            stop=stop,
        ):
            if isinstance(event, Epoch) and event.best:
                best = measure.report
            yield event
        yield SsdFinished(run, training.reached, best)


def _begin(
    recipe: SsdRecipe, runs: Path, train: Dataset, shares: NDArray[np.float64], box_labels: NDArray[np.int32]
) -> Begun[SsdLite]:
    asked = recipe.model
    torch.manual_seed(recipe.train.seed)  # draws the initial weights; samples and dropout have seeds of their own
    spec = parse_net(asked.net, reduced_tail=asked.reduced_tail)
    start = find_start(asked.weights, spec, runs, task="ssd")
    spec, size = start.backbone, (asked.size, asked.size)
    if asked.anchors == "torchvision":
        anchors = torchvision_anchors()
    elif asked.anchors == "auto" and start.anchors:
        anchors = start.anchors
    else:
        anchors = fit_anchors(shares, box_labels, size, last_map=asked.last_map)
    model = SsdLite(SsdSpec(spec, train.labels, size, anchors, *start.normalisation, asked.extras, asked.last_map))
    moved = transfer(model, start.tensors, spec, source=start.source, heads=start.heads) if start.tensors else None
    about = About(
        vocdet=__version__, task="ssd", backbone=spec, labels=train.labels, size=size, mean=model.spec.mean,
        std=model.spec.std, anchors=anchors, extras=asked.extras, last_map=asked.last_map,
        dataset=train.fingerprint(), recipe=asdict(recipe),
    )  # fmt: skip
    text = start.text + (", and their anchors" if anchors is start.anchors else "")
    return Begun(model, about, text, moved)


def _augmentation(recipe: SsdRecipe) -> Augmentation:
    asked = recipe.augment
    return Augmentation(
        whole=asked.whole, zoom_out=asked.zoom_out, largest_canvas=asked.largest_canvas,
        smallest_crop=asked.smallest_crop, flip=0.5 if asked.flip else 0.0, colour=asked.colour, mosaic=asked.mosaic,
        turns=asked.turns, mixup=asked.mixup,
    )  # fmt: skip


class _Measure:
    """Validates on a part, and remembers the newest report and the thresholds that go with it."""

    def __init__(self, val: Dataset | None, task: DetectTask, group: Group, best: str, keep: Keep) -> None:
        self._val, self._task, self._group, self._best = val, task, group, best
        mine = part(len(val), group.rank, group.world) if val else slice(0)
        self._mine = val.subset(np.arange(len(val))[mine]) if val else None
        self._scenes = None
        if self._mine is not None:
            self._scenes = Scenes(self._mine, task.model.spec.size, None, keep=keep)
        self.report: EvalReport | None = None
        self._found: list[Detections] = []

    def validate(self, model: nn.Module) -> Validation:
        """AP50, AP, F1 and loss on the part; ranked by the metric that was asked for, then by AP."""
        assert isinstance(model, SsdLite) and self._val is not None
        assert self._mine is not None and self._scenes is not None
        sums = torch.zeros(2, dtype=torch.float64)
        found = detect_scenes(model, self._mine, self._scenes, task=self._task, sums=sums)
        self._group.sum_(sums)
        self._found = self._group.merge(found)
        self.report = evaluate(self._val, self._found)
        figures = self.report.overall
        metrics = {"ap50": figures.ap50 or 0.0, "ap": figures.ap or 0.0, "f1": figures.f1 or 0.0,
                   "loss": float(sums[0] / sums[1].clamp(min=1))}  # fmt: skip
        chosen = -metrics["loss"] if self._best == "loss" else metrics[self._best]
        return Validation(metrics, (chosen, metrics["ap"]))

    def per_label(self) -> dict[str, float | None]:
        """AP50 of every label in the newest report; None where no object of it is validated on."""
        return {each.label: each.ap50 for each in self.report.labels} if self.report else {}

    def pictures(self) -> Image:
        """Images of the part with what the newest validation found in them."""
        assert self._val is not None and self.report is not None
        return example_sheet(self._val, self._found, self.report.thresholds)


def _describe(about: About, report: EvalReport | None) -> About:
    """The model with the thresholds and scores of a report, if there is one yet."""
    if report is None:
        return about
    scores = {"ap50": report.overall.ap50 or 0.0, "ap": report.overall.ap or 0.0}
    return about.with_(thresholds=tuple(round(float(t), 4) for t in report.thresholds), scores=scores)


def _on_training_images(model: nn.Module, train: Dataset) -> EvalReport:
    """Figures of training images, for thresholds where no other images are left to find them on."""
    assert isinstance(model, SsdLite)
    rows = np.linspace(0, len(train) - 1, min(len(train), THRESHOLD_IMAGES)).astype(np.int64)
    some = train.subset(np.unique(rows))
    return evaluate(some, detect_scenes(model, some, Scenes(some, model.spec.size, None)))


@torch.inference_mode()
def detect_scenes(
    model: SsdLite, dataset: Dataset, scenes: Scenes, *, task: DetectTask | None = None, sums: Tensor | None = None
) -> list[Detections]:
    """What a model finds in every image of a dataset, from samples that are already at its input size.

    With a `task` the sum of its losses and their count are added to `sums` (2,).
    """
    predictor = Predictor(model)
    sides = list(zip(dataset.images.widths.tolist(), dataset.images.heights.tolist(), strict=True))
    found: list[Detections] = []
    for batch in ahead(lambda: batches(scenes, 16, seed=0, epoch=0, shuffle=False)):
        offsets, logits = model(batch.images.to(model.grid.device))
        if task and sums is not None:
            shares = task.compare(offsets, logits, batch)
            sums += torch.tensor([float(sum(share.total for share in shares.values())), float(shares["box"].count)])
        found += predictor.detections(offsets, logits, sides[len(found) : len(found) + len(batch)])
    return found


def _parts(loaded: Loaded, part: str) -> tuple[Dataset, Dataset | None]:
    """The images to learn from, and those to validate on: `val`, as far as none of it is learned from.

    None where no object in `val` counts: every epoch would be as good as the first.
    """
    rows = loaded.rows(part)
    val = loaded.dataset.subset(np.setdiff1d(loaded.parts.get("val", np.zeros(0, np.int64)), rows))
    counts = ~(val.objects.difficult | val.objects.crowd)
    return loaded.dataset.subset(rows), val if counts.any() else None


def label_weights(labels: NDArray[np.int32], count: int, balance: float) -> list[float]:
    """What an object of each label counts: its number to the power of -`balance`, 1 in the mean over objects."""
    numbers = np.bincount(labels, minlength=count).astype(np.float64)
    weights = np.maximum(numbers, 1) ** -balance
    return [float(w) for w in weights * (numbers.sum() / (numbers @ weights))]


def _shares(dataset: Dataset) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Boxes (N, 4) as shares of their images' sides, and their labels; crowds left out."""
    objects = dataset.objects.take(~dataset.objects.crowd)
    sides = np.column_stack([dataset.images.widths, dataset.images.heights] * 2)
    return objects.box / sides[objects.image], objects.label
