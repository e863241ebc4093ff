"""The model families: one entry for each, and the only place that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import nn

from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe

ModelSpec: TypeAlias = ClassifierSpec | SsdSpec | RcnnSpec  # the field `task` distinguishes them


@dataclass(frozen=True, slots=True)
class Family:
    """What belongs to one kind of model."""

    spec: type[ModelSpec]  # describes a model; its tag is the family's name
    model: type[nn.Module]  # takes its spec alone, and has fresh weights
    recipe: type[BackboneRecipe] | type[SsdRecipe] | type[MaskRcnnRecipe]  # trains it
    predictor: str = ""  # module:class that applies it to images, resolved when it is needed; "": not a detector


FAMILIES: dict[str, Family] = {
    "backbone": Family(ClassifierSpec, Classifier, BackboneRecipe),
    "ssd": Family(SsdSpec, SsdLite, SsdRecipe, "vocdet.inference.ssd:SsdPredictor"),
    "maskrcnn": Family(RcnnSpec, MaskRcnn, MaskRcnnRecipe, "vocdet.inference.rcnn:RcnnPredictor"),
}


def task_of(spec: ModelSpec) -> str:
    """The name of a spec's family."""
    return str(spec.__struct_config__.tag)


def build(spec: ModelSpec) -> nn.Module:
    """The model of a spec, with fresh weights."""
    return FAMILIES[task_of(spec)].model(spec)
