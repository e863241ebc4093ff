"""Recipes: all settings of a training, with defaults that work.

A recipe has four sections of plain values. Each field has its help and its limits, so that recipe files, arguments and
command-line options share their checks and messages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from vocdet.errors import RecipeError, VocdetError, raise_all
from vocdet.recipes.nets import any_net_fault, net_fault
from vocdet.wording import listed

T = TypeVar("T")

Optimizer = Literal["muon", "adamw", "sgd", "momentum"]
Schedule = Literal["cosine", "steps", "one-cycle", "constant"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
AnchorChoice = Literal["auto", "fit", "torchvision"]
Extras = Literal["separable", "plain"]
LastMap = Literal["conv", "pool"]
Grow = Literal["auto", "always", "never"]
Neck = Literal["none", "pan"]
NeckChoice = Literal["auto", "none", "pan"]
Cache = Literal["ram", "off"]
Sampling = Literal["uniform", "balanced"]
RcnnHeads = Literal["mobile", "standard"]
RcnnAnchors = Literal["auto", "fit", "standard"]

SMALLEST, LARGEST = 64, 2048  # pixels of an input's side
FEWEST_CHANNELS = 8  # channels of a feature pyramid
DETECTOR_METRICS = ("ap50", "ap", "f1", "loss")
MASK_METRICS = ("ap50", "ap", "f1", "mask_ap50", "mask_ap")
CLASSIFIER_METRICS = ("accuracy", "mean_label_accuracy", "loss")
OPTIMIZER_HELP = (
    "muon: for convolutions with a norm, adamw for all else; adamw; sgd: with Nesterov momentum .9; momentum: sgd with "
    "plain momentum"
)


def option(
    default: T,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    fault: Callable[[Any], RecipeError | None] | None = None,
) -> T:
    """A field of a section: default, help, limits or choices, and an additional check."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "fault": fault}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


def _channels_fault(number: int) -> RecipeError | None:
    if number == 0 or number >= FEWEST_CHANNELS:
        return None
    return RecipeError(f"channels is {number}", hint=f"give 0, or a number from {FEWEST_CHANNELS} to 512")


def _tile_fault(side: int) -> RecipeError | None:
    if side == 0 or side >= SMALLEST:
        return None
    return RecipeError(f"tile is {side}", hint=f"give 0, or a number of pixels from {SMALLEST} to 8192")


def _scales_fault(scales: tuple[float, ...]) -> RecipeError | None:
    if len(scales) == 2 and scales[0] <= scales[1]:
        return None
    return RecipeError(
        f"scales is {list(scales)}", hint="give two numbers, the smaller one first: scales = [0.8, 1.25]"
    )


def _split_fault(name: str) -> RecipeError | None:
    if name and not set(name) & set("/\\"):
        return None
    return RecipeError(f"split is {name}", hint="give the name of a split, as in train, trainval or fold1_train")


def check(section: Any) -> None:
    """Raise all invalid values of a section together."""
    raise_all(list(faults(section)))


def faults(section: Any) -> Iterator[RecipeError]:
    """The invalid values of a section, as errors."""
    types = get_type_hints(type(section))
    for field in dataclasses.fields(section):
        value, type_ = getattr(section, field.name), types[field.name]
        low, high, choices, fault = (field.metadata[key] for key in ("low", "high", "choices", "fault"))
        if fault and (error := fault(value)):
            yield error
        choices = choices or (get_args(type_) if get_origin(type_) is Literal else ())
        if choices and value not in choices:
            yield RecipeError(f"{field.name} is {value}", hint=f"give one of {listed(choices)}")
        for number in value if isinstance(value, tuple) else (value,):
            if low is not None and not low <= number <= high:  # NaN is outside too
                yield RecipeError(f"{field.name} is {number}", hint=f"give a number from {low:.10g} to {high:.10g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The network and its initial weights."""

    net: str = option(
        "mb3-large", "mb1, mb2, mb3-small or mb3-large; with a width multiplier as in mb1-0.25", fault=net_fault
    )
    weights: str = option(
        "auto", "auto (ImageNet weights, on this disk or downloaded), imagenet, none, last, a run, or a weights file"
    )
    size: int = option(128, "side of the square input, pixels", low=32, high=LARGEST)
    reduced_tail: bool = option(False, "halve the last channels of mb3, as in torchvision's SSD-lite")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdModel(Model):
    """An SSD on a MobileNet."""

    weights: str = option(
        "auto",
        "auto (the newest backbone run of this net, with the neck of the bundled start; else the bundled start; else "
        "published weights, on this disk or downloaded), imagenet, coco, none, last, a run, or a weights file",
    )
    size: int = option(320, "side of the square input, pixels", low=SMALLEST, high=LARGEST)
    anchors: AnchorChoice = option(
        "auto", "fit: fitted to the training boxes; torchvision: its fixed ones; auto: those of the weights, or fit"
    )
    extras: Extras = option("separable", "extra layers: depthwise-separable, or plain 3x3 convolutions")
    last_map: LastMap = option("conv", "last feature map: by a convolution, or by global average pooling")
    neck: NeckChoice = option(
        "auto", "pan: maps from stride 8 on exchange features, no anchors; none: the SSD-lite of the paper; "
        "auto: that of the weights, or none",
    )  # fmt: skip
    neck_channels: int = option(
        0,
        "channels of the neck; 0: those of the weights, or the default of this net",
        low=0,
        high=512,
        fault=lambda n: _channels_fault(n),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RcnnModel(Model):
    """A Mask R-CNN with a feature pyramid; without masks, a Faster R-CNN."""

    net: str = option(
        "mb3-large",
        "mb1, mb2, mb3-small, mb3-large or resnet50; a MobileNet with a width multiplier as in mb1-0.25",
        fault=any_net_fault,
    )
    weights: str = option(
        "auto",
        "auto (the newest backbone run of this net, else published weights, on this disk or downloaded), imagenet, "
        "coco, none, last, a run, or a weights file",
    )
    size: int = option(512, "shorter side of the input, pixels", low=SMALLEST, high=LARGEST)
    longest: int = option(0, "limit of the longer side, pixels; 0: same as size", low=0, high=LARGEST)
    heads: RcnnHeads = option("mobile", "pyramid and heads: depthwise-separable, or those of torchvision")
    channels: int = option(
        0, "channels of the pyramid; 0: the default of these heads", low=0, high=512, fault=lambda n: _channels_fault(n)
    )
    masks: bool = option(True, "predict masks; without them it is a Faster R-CNN, trained on boxes alone")
    anchors: RcnnAnchors = option(
        "auto", "fit: fitted to the training boxes; standard: torchvision's; auto: those of the weights, or fit"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """The optimization."""

    batch: int = option(
        64, "images per batch; 0 (auto on the command line): as many as fit in memory", low=0, high=4096
    )
    epochs: int = option(
        100, "maximum number of epochs; the default is shortened for more than 2,000 images", low=1, high=100_000
    )
    minutes: float = option(
        0.0, "train for this time instead of epochs, with the schedule fitted to it; 0: by epochs", low=0, high=1e6
    )
    patience: int = option(
        0, "stop after this many epochs without improvement; 0: never; ignored with minutes", low=0, high=100_000
    )
    best: str = option(
        "accuracy", "metric that selects the best epoch; the last weights are kept unless it is surely better",
        choices=CLASSIFIER_METRICS,
    )  # fmt: skip
    lr: float = option(2e-3, "highest learning rate", low=1e-8, high=100)
    optimizer: Optimizer = option("adamw", OPTIMIZER_HELP)
    schedule: Schedule = option("cosine", "decay of the learning rate")
    steps: tuple[float, ...] = option(
        (0.67, 0.89), "fractions of the training at which the schedule steps divides the rate by ten", low=0, high=1
    )
    warm: int = option(100, "warm-up steps, at most a tenth of the training", low=0, high=1_000_000)
    weight_decay: float = option(0.02, "weight decay; norms and biases have none", low=0, high=1)
    average: float = option(0.998, "decay of the moving average of the weights; 0: none", low=0, high=0.99999)
    clip: float = option(10.0, "maximum norm of the gradient; 0: no limit", low=0, high=1e6)
    accumulate: int = option(1, "batches per step, whose gradients are accumulated", low=1, high=4096)
    precision: Precision = option("auto", "fp32, bf16 or fp16; auto: the fastest for the device")
    sync_norm: bool = option(False, "synchronize batch norms across devices (CUDA)")
    smoothing: float = option(0.1, "label smoothing of a classifier", low=0, high=0.9)
    seed: int = option(0, "random seed", low=0, high=2**32 - 1)
    save_every: float = option(60.0, "seconds between saves of the state for resuming", low=0, high=1e6)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTrain(Train):
    """The optimization of any detector."""

    backbone_lr: float = option(1.0, "learning rate of the backbone as a fraction of lr", low=0, high=1)
    freeze: int = option(
        0, "freeze the backbone up to this stride; faster; 0: train all layers", choices=(0, 2, 4, 8, 16)
    )
    freeze_norm: bool = option(False, "freeze the backbone's batch norms, folded into its convolutions; faster")
    max_steps: int = option(0, "train for this many steps instead of epochs; 0: by epochs", low=0, high=100_000_000)
    base_batch: int = option(
        0, "images per step that lr and max_steps refer to: lr scales linearly with the batch, max_steps inversely; "
        "0: both unchanged", low=0, high=65_536,
    )  # fmt: skip
    stop_at_ap: float = option(0.0, "stop when the validation reaches this box AP; 0: never", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdTrain(DetectorTrain):
    """The optimization of an SSD."""

    batch: int = option(8, "images per batch; 0 (auto on the command line): as many as fit in memory", low=0, high=4096)
    best: str = option(
        "ap50", "metric that selects the best epoch; the last weights are kept unless it is surely better",
        choices=DETECTOR_METRICS,
    )  # fmt: skip
    lr: float = option(4e-3, "highest learning rate", low=1e-8, high=100)
    optimizer: Optimizer = option("muon", OPTIMIZER_HELP)
    grow: Grow = option(
        "auto", "begin with smaller images, which is faster; auto: where the schedule has less than 6 passes over the "
        "images; only with a neck, and not with patience or stop_at_ap",
    )  # fmt: skip
    balance: float = option(0.5, "0: all objects have the same weight; 1: all labels, however rare", low=0, high=1)
    min_negatives: int = option(8, "minimum number of background anchors per image in the loss", low=0, high=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RcnnTrain(DetectorTrain):
    """The optimization of a Mask R-CNN."""

    batch: int = option(4, "images per batch; 0 (auto on the command line): as many as fit in memory", low=0, high=4096)
    best: str = option(
        "ap", "metric that selects the best epoch, ap is that of boxes; the last weights are kept unless it is surely "
        "better", choices=MASK_METRICS,
    )  # fmt: skip
    lr: float = option(2e-3, "highest learning rate", low=1e-8, high=100)
    backbone_lr: float = option(0.4, "learning rate of the backbone as a fraction of lr", low=0, high=1)
    freeze_norm: bool = option(True, "freeze the backbone's batch norms, folded into its convolutions; faster")
    stop_at_mask_ap: float = option(
        0.0, "stop when the validation reaches this mask AP and stop_at_ap; 0: never", low=0, high=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The training images and how they are read."""

    split: str = option("train", "split to train on", fault=lambda name: _split_fault(name))
    cache: Cache = option("ram", "decoded images: held in memory, or not cached")
    workers: int = option(0, "processes that read images; 0: a thread", low=0, high=256)
    sampling: Sampling = option("uniform", "balanced: images of rare labels are sampled more often")
    repeat: int = option(
        0, "passes over the training images in an epoch; 0: 1, or with the default epochs enough for 1,000 steps",
        low=0, high=100_000,
    )  # fmt: skip
    tile: int = option(
        0, "side of the tiles that a detector is trained on and detects on, pixels of the image, for small objects in "
        "large images; 0: whole images", low=0, high=8192, fault=lambda side: _tile_fault(side),
    )  # fmt: skip
    overlap: float = option(0.2, "overlap of two tiles, at least, as a share of their side", low=0, high=0.8)
    context: float = option(0.15, "margin of a classifier's crop on each side, as a fraction of its box", low=0, high=2)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augment:
    """The augmentation; shares are probabilities."""

    flip: bool = option(True, "train on mirrored images, too; not for text and digits")
    rotate: bool = option(False, "train on any orientation, for images without an up (from above, microscope)")
    color: float = option(0.8, "share of samples with changed brightness, contrast, saturation, hue", low=0, high=1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorAugment(Augment):
    """The augmentation of any detector."""

    whole: float = option(0.25, "share of images used whole", low=0, high=1)
    zoom_out: float = option(0.15, "share of images on a larger gray canvas; the others are cropped", low=0, high=1)
    largest_canvas: float = option(2.0, "maximum side of that canvas, relative to the image", low=1, high=10)
    smallest_crop: float = option(0.3, "minimum side of a crop, relative to the image", low=0.05, high=1)
    mosaic: float = option(0.5, "share of samples composed of four images", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdAugment(DetectorAugment):
    """The augmentation of an SSD."""

    mixup: float = option(0.0, "share of samples blended from two images", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RcnnAugment(DetectorAugment):
    """The augmentation of a Mask R-CNN."""

    scales: tuple[float, ...] = option(
        (0.8, 1.25), "range of random factors for size", low=0.1, high=4,
        fault=lambda scales: _scales_fault(scales),
    )  # fmt: skip
    mosaic: float = option(0.0, "share of samples composed of four images", low=0, high=1)
    copy_paste: float = option(0.3, "share of samples with objects pasted from another image", low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRecipe:
    """The training of a classifier on crops of objects."""

    model: Model = Model()
    train: Train = Train()
    data: Data = Data()
    augment: Augment = Augment()


@dataclass(frozen=True, slots=True, kw_only=True)
class SsdRecipe:
    """The training of an SSD-lite."""

    model: SsdModel = SsdModel()
    train: SsdTrain = SsdTrain()
    data: Data = Data()
    augment: SsdAugment = SsdAugment()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRcnnRecipe:
    """The training of a Mask R-CNN."""

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
DETECTORS = tuple(task for task in TASKS if task != "backbone")


def changed(recipe: R, **values: object) -> R:
    """The recipe with new values of these fields in any section; no two sections share a field name."""
    sections = {}
    for field in dataclasses.fields(recipe):
        section = getattr(recipe, field.name)
        own = {f.name: values.pop(f.name) for f in dataclasses.fields(section) if f.name in values}
        sections[field.name] = dataclasses.replace(section, **own)
    if values:
        raise ValueError(f"no recipe has {', '.join(values)}")
    return dataclasses.replace(recipe, **sections)


def accepts(recipe: Recipe, name: str, value: object) -> bool:
    """Whether the recipe has a field of this name, in any section, that can have this value."""
    sections = [getattr(recipe, field.name) for field in dataclasses.fields(recipe)]
    for section in sections:
        if name in (field.name for field in dataclasses.fields(section)):
            try:
                dataclasses.replace(section, **{name: value})
            except VocdetError:
                return False
            return True
    return False


def check_side(size: int, *, smallest: int = SMALLEST) -> None:
    """Raise if the side of an input is out of its limits."""
    if not smallest <= size <= LARGEST:
        raise RecipeError(f"size is {size} pixels", hint=f"give a size from {smallest} to {LARGEST}")
