"""How an SSD-lite is created, trained and validated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.inference.ssd import SsdPredictor
from vocdet.inputs.batches import EpochPlan, batches
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.prefetch import prefetch
from vocdet.models.anchor_recall import AnchorRecall
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.ssd.anchor_fit import anchor_recall, fit_anchors
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.cells import cell_recall
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.ssd.pan import FINEST, pan_channels
from vocdet.recipes.schema import Neck, NeckChoice, SsdModel, SsdRecipe
from vocdet.runs.detectors import DetectorTraining, ObjectTable, Predictions, image_sizes
from vocdet.runs.setup import RunOptions, blank_batches, starting_weights
from vocdet.runs.start import InitialModel, StartingWeights, initialize
from vocdet.training.losses import Task
from vocdet.training.tasks import DetectTask

TASK = "ssd"
VALIDATION_BATCH = 16
LOST_OBJECTS = 0.02  # share of objects without an anchor of IoU .5 that anchors of weights may cost


def create_ssd(recipe: SsdRecipe, run: RunOptions, train: Dataset, objects: ObjectTable) -> InitialModel[SsdLite]:
    """A new SSD on the recipe's backbone."""
    options = recipe.model
    torch.manual_seed(recipe.train.seed)  # for the initial weights; samples and dropout have other seeds
    net = parse_net(options.net, reduced_tail=options.reduced_tail)
    usual = options.extras == "separable" and options.last_map == "conv"
    start = starting_weights(
        options.weights, net, run, TASK, complete=usual and options.neck != "pan", neck=usual and options.neck != "none"
    )
    size = (options.size, options.size)
    neck = _neck(options.neck, start) if usual or options.neck != "auto" else "none"
    theirs = start.anchors if options.anchors == "auto" and isinstance(start.anchors, Anchors) else None
    if neck == "pan":
        anchors = Anchors(())
    elif options.anchors == "torchvision":
        anchors = torchvision_anchors()
    elif theirs and theirs.shapes and options.weights != "auto":
        anchors = theirs
    else:
        anchors = fit_anchors(objects.boxes, objects.labels, size, last_map=options.last_map)
        if theirs and theirs.shapes and _suit(theirs, anchors, objects, options):
            anchors = theirs  # not where they miss objects: torchvision's smallest one is a fifth of the image
    channels = (options.neck_channels or pan_channels(start.tensors, start.backbone)) if neck == "pan" else 0
    spec = SsdSpec(
        start.backbone, train.labels, size, anchors, *start.normalization,
        options.extras, options.last_map, neck, channels,
    )  # fmt: skip
    if options.neck == "auto" and isinstance(start.anchors, Anchors):
        start = replace(start, text=f"{start.text}, with their neck {neck}")
    return initialize(SsdLite(spec), start, train, recipe)


def _neck(choice: NeckChoice, start: StartingWeights) -> Neck:
    """The neck of a recipe; `auto` is that of the detector that it starts from."""
    if choice != "auto":
        return choice
    return "pan" if isinstance(start.anchors, Anchors) and not start.anchors.shapes else "none"


def _suit(theirs: Anchors, fitted: Anchors, objects: ObjectTable, options: SsdModel) -> bool:
    """Whether anchors reach an IoU of .5 for about as many objects as fitted ones."""
    labels = [str(k) for k in range(1 + int(objects.labels.max()))]

    def reached(anchors: Anchors) -> float:
        size = (options.size, options.size)
        rows = anchor_recall(anchors, objects.boxes, objects.labels, labels, size, last_map=options.last_map)
        return sum(row.recall * row.objects for row in rows) / len(objects.labels)

    return reached(theirs) >= reached(fitted) - LOST_OBJECTS


def label_weights(labels: NDArray[np.int32], count: int, balance: float) -> list[float]:
    """The weight of an object of each label: its frequency to the power of -`balance`; the mean over objects is 1."""
    numbers = np.bincount(labels, minlength=count).astype(np.float64)
    weights = np.maximum(numbers, 1) ** -balance
    return [float(w) for w in weights * (numbers.sum() / (numbers @ weights))]


def _detect_task(model: SsdLite, recipe: SsdRecipe, objects: ObjectTable) -> DetectTask:
    weights = label_weights(objects.labels, len(model.spec.labels), recipe.train.balance)
    return DetectTask(model, min_negatives=recipe.train.min_negatives, label_weights=weights)


def _ssd_recall(model: SsdLite, objects: ObjectTable) -> tuple[int, tuple[AnchorRecall, ...]]:
    spec = model.spec
    if spec.neck == "pan":
        return 0, cell_recall(objects.boxes, objects.labels, spec.labels, spec.size, FINEST)
    rows = anchor_recall(spec.anchors, objects.boxes, objects.labels, spec.labels, spec.size, last_map=spec.last_map)
    return sum(spec.anchors.counts), rows


def _ssd_recall_at(model: SsdLite, objects: ObjectTable, side: int) -> tuple[AnchorRecall, ...]:
    spec, size = model.spec, (side, side)
    if spec.neck == "pan":
        return cell_recall(objects.boxes, objects.labels, spec.labels, size, FINEST)
    anchors = fit_anchors(objects.boxes, objects.labels, size, last_map=spec.last_map)
    return anchor_recall(anchors, objects.boxes, objects.labels, spec.labels, size, last_map=spec.last_map)


@torch.inference_mode()
def predict_ssd(model: SsdLite, dataset: Dataset, samples: DetectionSamples, task: Task[SsdLite] | None) -> Predictions:
    """Detections in batches of images, and with a task the loss."""
    predictor, sides = SsdPredictor(model), image_sizes(dataset)
    detections: list[Detections] = []
    loss = torch.zeros(2, dtype=torch.float64) if isinstance(task, DetectTask) else None
    for batch in prefetch(lambda: batches(samples, EpochPlan(VALIDATION_BATCH, seed=0, epoch=0))):
        offsets, logits = model(batch.images.to(model.grid.device))
        if loss is not None and isinstance(task, DetectTask):
            shares = task.compare(offsets, logits, batch)
            loss += torch.tensor([float(sum(share.total for share in shares.values())), float(shares["box"].count)])
        detections += predictor.detections(offsets, logits, sides[len(detections) : len(detections) + len(batch)])
    return Predictions(detections, loss)


SSD: DetectorTraining[SsdLite, SsdRecipe] = DetectorTraining(
    task=TASK,
    model=SsdLite,
    check=lambda train, recipe: (),  # noqa: ARG005
    create=create_ssd,
    make_task=_detect_task,
    anchor_recall=_ssd_recall,
    recall_at=_ssd_recall_at,
    blank_batches=lambda model, recipe: blank_batches(model.spec.size),  # noqa: ARG005
    resizing=lambda model, recipe: model.spec.size,  # noqa: ARG005
    predict=predict_ssd,
)
