"""Recipes: everything a training run is told, with the values that work.

A recipe is four sections of plain values. Each field carries its help and its limits, so that a recipe file, `--set`
and the options of the command line are checked by the same words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from vocdet.errors import VocdetError, raise_all
from vocdet.recipes.nets import any_net_fault, net_fault

T = TypeVar("T")

Optimizer = Literal["adamw", "sgd", "momentum"]
Schedule = Literal["cosine", "steps", "one-cycle", "constant"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
AnchorChoice = Literal["auto", "fit", "torchvision"]
Extras = Literal["separable", "plain"]
LastMap = Literal["conv", "pool"]
Cache = Literal["ram", "disk", "off"]
Sampling = Literal["uniform", "balanced"]
Part = Literal["train", "val", "trainval", "test"]
RcnnHeads = Literal["mobile", "standard"]
RcnnAnchors = Literal["auto", "fit", "standard"]

SMALLEST, LARGEST = 64, 2048  # pixels of an input's side
FEWEST = 8  # channels of a pyramid
DETECTOR_METRICS = ("ap50", "ap", "f1", "loss")
MASK_METRICS = ("ap50", "ap", "f1", "mask_ap50", "mask_ap")
CLASSIFIER_METRICS = ("accuracy", "mean_label_accuracy", "loss")


def option(
    default: T,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    fault: Callable[[Any], VocdetError | None] | None = None,
) -> T:
    """A field of a section: its default, what it means, what it may be, and what else can be wrong with it."""
    limits = {"help": help, "low": low, "high": high, "choices": choices, "fault": fault}
    field: T = dataclasses.field(default=default, metadata=limits)
    return field


def _channels_fault(number: int) -> VocdetError | None:
    if number == 0 or number >= FEWEST:
        return None
    return VocdetError(f"channels is {number}", hint=f"give 0, or a number from {FEWEST} to 512")


def _scales_fault(scales: tuple[float, ...]) -> VocdetError | None:
    if len(scales) == 2 and scales[0] <= scales[1]:
        return None
    return VocdetError(f"scales is {list(scales)}", hint="give two numbers, the smaller first: scales = [0.8, 1.25]")


def check(section: Any) -> None:
    """Raise everything that is out of its limits in a section."""
    raise_all(list(faults(section)))


def faults(section: Any) -> Iterator[VocdetError]:
    """What is out of its limits in a section, as errors."""
    types = get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value, type_ = getattr(section, field.name), types[field.name]
        low, high, choices, fault = (field.metadata[key] for key in ("low", "high", "choices", "fault"))
        if fault and (error := fault(value)):
            yield error
        choices = choices or (get_args(type_) if get_origin(type_) is Literal else ())
        if choices and value not in choices:
            yield VocdetError(f"{field.name} is {value}", hint=f"give one of {', '.join(map(str, choices))}")
        for number in value if isinstance(value, tuple) else (value,):
            if low is not None and not low <= number <= high:  # NaN is outside too
                yield VocdetError(f"{field.name} is {number}", hint=f"give a number from {low:.10g} to {high:.10g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is trained, and from where it starts."""

    net: str = option(
        "mb3-large", "mb1, mb2, mb3-small or mb3-large; with a width multiplier as in mb1-0.25", fault=net_fault
    )
    weights: str = option("none", "none, imagenet, last, a run, or a file of weights")
    size: int = option(128, "side of the square input, pixels", low=32, high=LARGEST)
    reduced_tail: bool = option(False, "half the last channels of mb3, as torchvision's SSD-lite has them")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdModel(Model):
    """An SSD on a MobileNet."""

    weights: str = option(
        "auto", "auto (the newest backbone run of this net), imagenet, coco, last, none, a run, or a file of weights"
    )
    size: int = option(320, "side of the square input, pixels", low=SMALLEST, high=LARGEST)
    anchors: AnchorChoice = option(
        "auto", "fit: chosen from the training boxes; torchvision: its fixed ones; auto: those of the weights, or fit"
    )
    extras: Extras = option("separable", "the extra layers: depthwise-separable, or plain 3x3 convolutions")
    last_map: LastMap = option("conv", "the last map by a convolution, or by global average pooling")


@dataclass(frozen=True, slots=True, kw_only=True)
class RcnnModel(Model):
    """A Mask R-CNN with a feature pyramid, or without masks a Faster R-CNN."""

    net: str = option(
        "mb3-large",
        "mb1, mb2, mb3-small, mb3-large or resnet50; a MobileNet with a width multiplier as in mb1-0.25",
        fault=any_net_fault,
    )
    weights: str = option(
        "auto", "auto (the newest backbone run of this net), imagenet, coco, last, none, a run, or a file of weights"
    )
    size: int = option(512, "the shorter side of the input, pixels", low=SMALLEST, high=LARGEST)
    longest: int = option(0, "the longer side at most, pixels; 0: as size", low=0, high=LARGEST)
    heads: RcnnHeads = option("mobile", "pyramid and heads: depthwise-separable, or as torchvision has them")
    channels: int = option(
        0, "of the pyramid; 0: what is usual for these heads", low=0, high=512, fault=lambda n: _channels_fault(n)
    )
    masks: bool = option(True, "find masks, too; without, it is a Faster R-CNN, which learns from boxes alone")
    anchors: RcnnAnchors = option(
        "auto", "fit: chosen from the training boxes; standard: torchvision's; auto: those of the weights, or fit"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """How the weights are found."""

    batch: int = option(
        64, "images in a step; 0 (or auto on the command line): as many as memory allows", low=0, high=4096
    )
    epochs: int = option(100, "passes over the training images, at most", low=1, high=100_000)
    minutes: float = option(
        0.0, "train this long in place of epochs, the schedule fitted to it; 0: by epochs", low=0, high=1e6
    )
    patience: int = option(
        20, "stop after this many epochs without gain; 0: never; not with minutes", low=0, high=100_000
    )
    best: str = option("accuracy", "metric that decides which epoch is best", choices=CLASSIFIER_METRICS)
    lr: float = option(2e-3, "highest learning rate", low=1e-8, high=100)
    optimizer: Optimizer = option(
        "adamw", "adamw; sgd with Nesterov's momentum of .9; momentum: sgd with the plain one"
    )
    schedule: Schedule = option("cosine", "how the learning rate falls")
    steps: tuple[float, ...] = option(
        (0.67, 0.89), "shares of the run at which the schedule steps divides by ten", low=0, high=1
    )
    warm: int = option(100, "steps of warm-up, a tenth of the run at most", low=0, high=1_000_000)
    weight_decay: float = option(0.02, "of weights; norms and biases have none", low=0, high=1)
    average: float = option(0.998, "decay of the weights' moving average; 0: none", low=0, high=0.99999)
    clip: float = option(10.0, "norm of the gradient at most; 0: as it is", low=0, high=1e6)
    accumulate: int = option(1, "batches whose gradients make one step", low=1, high=4096)
    precision: Precision = option("auto", "fp32, bf16 or fp16; auto: what the device gains by")
    sync_norm: bool = option(False, "batch norms see the batch of all devices (CUDA)")
    smoothing: float = option(0.1, "of a classifier's labels", low=0, high=0.9)
    seed: int = option(0, "of everything random", low=0, high=2**32 - 1)
    save_every: float = option(60.0, "seconds after which the whole state is saved, to resume from", low=0, high=1e6)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTrain(Train):
    """How a detector's weights are found, whichever detector it is."""

    backbone_lr: float = option(1.0, "the backbone's share of lr, to keep more of what it knows", low=0, high=1)
    freeze: int = option(
        0, "keep the backbone's weights up to this stride; faster; 0: all learn", choices=(0, 2, 4, 8, 16)
    )
    freeze_norm: bool = option(False, "keep the backbone's batch norms, folded into its convolutions; faster")
    max_steps: int = option(0, "train so many steps in place of epochs; 0: by epochs", low=0, high=100_000_000)
    base_batch: int = option(
        0, "images in a step that lr and max_steps are for: for K times as many lr is K times as high, and the steps "
        "are a K-th; 0: they are as they are", low=0, high=65_536,
    )  # fmt: skip
    stop_at_ap: float = option(0.0, "stop when validation finds this AP of boxes; 0: never", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdTrain(DetectorTrain):
    """How an SSD's weights are found."""

    batch: int = option(
        8, "images in a step; 0 (or auto on the command line): as many as memory allows", low=0, high=4096
    )
    best: str = option("ap50", "metric that decides which epoch is best", choices=DETECTOR_METRICS)
    lr: float = option(4e-3, "highest learning rate", low=1e-8, high=100)
    balance: float = option(0.5, "0: every object counts the same; 1: every label does, however rare", low=0, high=1)
    min_negatives: int = option(8, "background anchors that every image teaches at least", low=0, high=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RcnnTrain(DetectorTrain):
    """How a Mask R-CNN's weights are found."""

    batch: int = option(
        4, "images in a step; 0 (or auto on the command line): as many as memory allows", low=0, high=4096
    )
    best: str = option("ap", "metric that decides which epoch is best; ap is of boxes", choices=MASK_METRICS)
    lr: float = option(2e-3, "highest learning rate", low=1e-8, high=100)
    backbone_lr: float = option(0.4, "the backbone's share of lr, to keep more of what it knows", low=0, high=1)
    freeze_norm: bool = option(True, "keep the backbone's batch norms, folded into its convolutions; faster")
    stop_at_mask_ap: float = option(
        0.0, "stop when validation finds this AP of masks, and that of boxes; 0: never", low=0, high=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is learned from, and how it is read."""

    split: Part = option("train", "the part of the dataset to learn from")
    cache: Cache = option("ram", "decoded images: in memory, in a file on disk, or decoded every time")
    workers: int = option(0, "processes that read images; 0: a thread", low=0, high=256)
    sampling: Sampling = option("uniform", "balanced: images of rare labels are shown more often")
    context: float = option(0.15, "of a crop for the classifier: share of its box added all round", low=0, high=2)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """What is done to the images; shares are probabilities."""

    flip: bool = option(True, "learn mirrored images, too; not for text and digits")
    rotate: bool = option(False, "train on any orientation, for images without an up (from above, microscope)")
    color: float = option(0.8, "share of samples with other brightness, contrast, saturation, hue", low=0, high=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorAugment(Augment):
    """What is done to the images of scenes."""

    whole: float = option(0.25, "share of images shown whole", low=0, high=1)
    zoom_out: float = option(0.15, "share of images shown on a larger gray canvas; the rest are cropped", low=0, high=1)
    largest_canvas: float = option(2.0, "sides of that canvas at most", low=1, high=10)
    smallest_crop: float = option(0.3, "sides of a crop at least", low=0.05, high=1)
    mosaic: float = option(0.5, "share of samples made of four images", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdAugment(DetectorAugment):
    """What is done to the images that an SSD learns from."""

    mixup: float = option(0.0, "share of samples blended of two images", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RcnnAugment(DetectorAugment):
    """What is done to the images that a Mask R-CNN learns from."""

    scales: tuple[float, ...] = option(
        (0.8, 1.25), "the least and the most that size is multiplied by, for every sample", low=0.1, high=4,
        fault=lambda scales: _scales_fault(scales),
    )  # fmt: skip
    mosaic: float = option(0.0, "share of samples made of four images", low=0, high=1)
    copy_paste: float = option(0.3, "share of samples into which objects of another image are pasted", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRecipe:
    """How a classifier is trained on the crops of objects."""

    model: Model = Model()
    train: Train = Train()
    data: Data = Data()
    augment: Augment = Augment()


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdRecipe:
    """How an SSD-lite is trained."""

    model: SsdModel = SsdModel()
    train: SsdTrain = SsdTrain()
    data: Data = Data()
    augment: SsdAugment = SsdAugment()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRcnnRecipe:
    """How a Mask R-CNN is trained."""

    model: RcnnModel = RcnnModel()
    train: RcnnTrain = RcnnTrain()
    data: Data = Data()
    augment: RcnnAugment = RcnnAugment()


Recipe = BackboneRecipe | SsdRecipe | MaskRcnnRecipe
R = TypeVar("R", BackboneRecipe, SsdRecipe, MaskRcnnRecipe)
TASKS: dict[str, type[BackboneRecipe] | type[SsdRecipe] | type[MaskRcnnRecipe]] = {
    "backbone": BackboneRecipe,
    "ssd": SsdRecipe,
    "maskrcnn": MaskRcnnRecipe,
}


def changed(recipe: R, **values: object) -> R:
    """The recipe with other values of these fields, whichever sections they are in; no two sections share a name."""
    sections = {}
    for split in dataclasses.fields(recipe):
        section = getattr(recipe, split.name)
        mine = {f.name: values.pop(f.name) for f in dataclasses.fields(section) if f.name in values}
        sections[split.name] = dataclasses.replace(section, **mine)
    if values:
        raise ValueError(f"no recipe has {', '.join(values)}")
    return dataclasses.replace(recipe, **sections)


def check_side(size: int, *, smallest: int = SMALLEST) -> None:
    """A side of an input that makes sense."""
    if not smallest <= size <= LARGEST:
        raise VocdetError(f"size is {size} pixels", hint=f"give one from {smallest} to {LARGEST}")
