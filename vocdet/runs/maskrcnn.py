"""How a Mask R-CNN, or without masks a Faster R-CNN, is created, trained and validated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.errors import AnnotationError, RecipeError
from vocdet.inference.rcnn import RcnnPredictor
from vocdet.inputs.batches import Batch, EpochPlan, batches
from vocdet.inputs.detection_samples import DetectionSamples
from vocdet.inputs.images import fit_size
from vocdet.inputs.object_masks import drawable_masks
from vocdet.inputs.prefetch import prefetch
from vocdet.inputs.resizing import ResizeShortestEdge
from vocdet.mask_crops import MaskCrops
from vocdet.models.anchor_recall import AnchorRecall
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.rcnn.anchor_fit import fit_pyramid, pyramid_recall
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.recipes.schema import MaskRcnnRecipe, RcnnModel
from vocdet.runs.detectors import DetectorTraining, ObjectTable, Predictions, image_sizes
from vocdet.runs.setup import RunOptions, starting_weights
from vocdet.runs.start import InitialModel, initialize
from vocdet.training.losses import Task
from vocdet.training.tasks import SegmentTask
from vocdet.wording import counted

TASK = "maskrcnn"
STANDARD_CHANNELS = 256  # of torchvision's pyramid
BLANK_OBJECTS = 8  # in an image of a batch that memory is measured with


def check_masks(train: Dataset, recipe: MaskRcnnRecipe) -> tuple[str, ...]:
    """A note if some objects have no mask; an `AnnotationError` if the recipe needs masks and no object has one."""
    if not recipe.model.masks:
        return ()
    objects = ~train.objects.crowd
    without, total = int((objects & ~drawable_masks(train)).sum()), int(objects.sum())
    if without == total:
        hint = "annotate polygons or masks, or train on boxes alone with `masks=False`"
        raise AnnotationError(f"no object of the {recipe.data.split} split has a mask", place=train.root, hint=hint)
    if not without:
        return ()
    return (f"{without} of {counted(total, 'object')} have no usable mask: only their boxes are used",)


def create_maskrcnn(
    recipe: MaskRcnnRecipe, run: RunOptions, train: Dataset, objects: ObjectTable
) -> InitialModel[MaskRcnn]:
    """A new Mask R-CNN on the recipe's backbone."""
    options = recipe.model
    torch.manual_seed(recipe.train.seed)  # for the initial weights; samples have another seed
    net = parse_net(options.net, reduced_tail=options.reduced_tail)
    if options.weights == "coco" and options.heads != "standard":
        hint = 'use `net="resnet50", heads="standard"`, or `weights="imagenet"` for the backbone alone'
        raise RecipeError("the COCO weights need standard heads", hint=hint)
    complete = options.heads == "standard" and options.channels in (0, STANDARD_CHANNELS)
    start = starting_weights(options.weights, net, run, TASK, complete=complete)
    limits = _input_limits(options)
    if options.anchors == "standard":
        anchors = PyramidAnchors()
    elif (
        options.anchors == "auto"
        and isinstance(start.anchors, PyramidAnchors)
        and (complete or options.weights != "auto")
    ):
        anchors = start.anchors
    else:
        anchors = fit_pyramid(_input_boxes(objects, *limits), objects.labels)
    mean, std = start.normalization
    spec = RcnnSpec(
        start.backbone, train.labels, *limits, anchors, mean, std, options.heads, options.masks, options.channels
    )
    return initialize(MaskRcnn(spec), start, train, recipe)


def _pyramid_recall(model: MaskRcnn, objects: ObjectTable) -> tuple[int, tuple[AnchorRecall, ...]]:
    spec = model.spec
    rows = pyramid_recall(spec.anchors, _input_boxes(objects, spec.size, spec.longest), objects.labels, spec.labels)
    return spec.anchors.count * len(spec.anchors.sides), rows


def _pyramid_recall_at(model: MaskRcnn, objects: ObjectTable, size: int) -> tuple[AnchorRecall, ...]:
    spec = model.spec
    boxes = _input_boxes(objects, size, max(size, spec.longest))
    return pyramid_recall(fit_pyramid(boxes, objects.labels), boxes, objects.labels, spec.labels)


def _blank_objects(model: MaskRcnn, recipe: MaskRcnnRecipe) -> Callable[[int], Batch]:
    """Batches of black images of the largest size, with several objects each."""
    resizing = _resizing(model, recipe)
    height, width = resizing.canvas(np.array([resizing.largest(model.spec.longest, model.spec.size)], np.int64))

    def batch_of(n: int) -> Batch:
        images = torch.zeros((n, 3, height, width), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
        boxes = torch.tensor([[0.0, 0.0, width / 2, height / 2]]).expand(n, BLANK_OBJECTS, 4)
        labels = torch.zeros((n, BLANK_OBJECTS), dtype=torch.int64)
        mask = np.ones((height // 2, width // 2), np.uint8)
        masks = MaskCrops.of([(0, 0, mask)] * (n * BLANK_OBJECTS)) if model.spec.masks else None
        return Batch(images, boxes, labels, masks=masks)

    return batch_of


def predict_maskrcnn(
    model: MaskRcnn,
    dataset: Dataset,
    samples: DetectionSamples,
    task: Task[MaskRcnn] | None,  # noqa: ARG001
) -> Predictions:
    """Detections, one image at a time like a predictor.

    There is no loss: it would sample its proposals at random, and take as long again.
    """
    predictor = RcnnPredictor(model)
    loaded = prefetch(lambda: batches(samples, EpochPlan(1, seed=0, epoch=0)))
    return Predictions(
        [
            predictor.detect_fitted(batch.images, batch.sizes, [side])[0]
            for batch, side in zip(loaded, image_sizes(dataset), strict=True)
        ]
    )


def _input_limits(options: RcnnModel) -> tuple[int, int]:
    """The input's shorter side, and the limit of its longer side."""
    return options.size, max(options.size, options.longest)


def _resizing(model: MaskRcnn, recipe: MaskRcnnRecipe | None) -> ResizeShortestEdge:
    """How images are resized: in their own aspect ratios, for training to random scales."""
    low, high = recipe.augment.scales if recipe else (1.0, 1.0)
    return ResizeShortestEdge(model.spec.size, model.spec.longest, None if low == high == 1 else (low, high))


def _input_boxes(objects: ObjectTable, size: int, longest: int) -> NDArray[np.float64]:
    """Boxes (N, 4) in pixels of the input."""
    fitted = [fit_size(int(width), int(height), size, longest)[::-1] for width, height in objects.sides]
    return objects.boxes * np.tile(np.array(fitted, np.float64), 2)[objects.images]


MASK_RCNN: DetectorTraining[MaskRcnn, MaskRcnnRecipe] = DetectorTraining(
    task=TASK,
    model=MaskRcnn,
    check=check_masks,
    create=create_maskrcnn,
    make_task=lambda model, recipe, objects: SegmentTask(model),  # noqa: ARG005
    anchor_recall=_pyramid_recall,
    recall_at=_pyramid_recall_at,
    blank_batches=_blank_objects,
    resizing=_resizing,
    predict=predict_maskrcnn,
)
