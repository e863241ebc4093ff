"""Recipes: everything a training run is told, with the values that work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vocdet.errors import VocdetError

Optimizer = Literal["adamw", "sgd"]
AnchorChoice = Literal["fit", "torchvision"]

SMALLEST, LARGEST = 64, 2048  # pixels of an input's side


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What both trainings are told."""

    net: str = "mb3-large"
    batch: int = 16
    epochs: int = 100
    minutes: float | None = None  # train this long in place of epochs, the schedule fitted to it
    patience: int = 20  # epochs without gain after which training stops; 0: never; not with minutes
    lr: float = 2e-3
    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.02
    average: float = 0.998  # decay of the weights' moving average
    flip: bool = True  # learn mirrored images too; not for text and digits
    turns: bool = False  # the images have no way up, as from above or under a microscope: learn any flip and turn
    seed: int = 0

    def __post_init__(self) -> None:
        limits = (
            ("batch", self.batch, 1, 4096),
            ("epochs", self.epochs, 1, 100_000),
            ("minutes", 1.0 if self.minutes is None else self.minutes, 0.01, 1e6),
            ("patience", self.patience, 0, 100_000),
            ("lr", self.lr, 1e-8, 100.0),
            ("weight_decay", self.weight_decay, 0.0, 1.0),
            ("average", self.average, 0.0, 0.99999),
            ("seed", self.seed, 0, 2**32 - 1),
        )
        for name, value, low, high in limits:
            if not low <= value <= high:  # NaN is outside too
                raise VocdetError(f"{name} is {value}", hint=f"give a number from {low} to {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorRecipe(Recipe):
    """How an SSD-lite is trained."""

    size: int = 320  # of the square input, pixels
    batch: int = 8  # on a CPU small ones learn more in the same time
    lr: float = 4e-3
    part: str = "train"  # the ImageSets part to learn from
    anchors: AnchorChoice = "fit"
    reduced_tail: bool = False
    backbone_lr: float = 1.0  # times lr
    freeze: int = 0  # layers of the backbone up to this stride (2, 4, 8) keep their weights; 0: all learn
    mosaic: float = 0.5  # share of samples made of four images
    balance: float = 0.5  # 0: every object counts the same; 1: every label does, however rare
    min_negatives: int = 8  # background anchors that every image teaches

    def __post_init__(self) -> None:
        # super() without arguments does not work in a dataclass with slots
        Recipe.__post_init__(self)
        check_side(self.size)
        if self.freeze not in (0, 2, 4, 8):
            raise VocdetError(f"freeze is {self.freeze}", hint="give a stride of 2, 4 or 8, or 0")
        if not 0 <= self.mosaic <= 1:
            raise VocdetError(f"mosaic is {self.mosaic}", hint="give a share from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneRecipe(Recipe):
    """How a classifier is trained on the crops of objects."""

    size: int = 128  # of the square crops, pixels
    batch: int = 64
    context: float = 0.15  # of a box's longer side, added all round
    smoothing: float = 0.1  # of the labels
    reduced_tail: bool = False

    def __post_init__(self) -> None:
        Recipe.__post_init__(self)
        check_side(self.size, smallest=32)


def check_side(size: int, *, smallest: int = SMALLEST) -> None:
    """A side of an input that makes sense."""
    if not smallest <= size <= LARGEST:
        raise VocdetError(f"size is {size} pixels", hint=f"give one from {smallest} to {LARGEST}")
