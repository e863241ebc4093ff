"""The facts that the plan of a training depends on: the dataset, how its objects look, and the machine's speed."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.stats import stats
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.recipes.load import load_recipe
from vocdet.recipes.plan import MIRRORED_ALIKE, REFERENCE, ROTATED_ALIKE, Looks, TrainingFacts, Values, no_classifier
from vocdet.runs.setup import RunOptions, starting_weights
from vocdet.runs.start import initialize
from vocdet.runs.weights_choice import bundled_starts
from vocdet.training.loop import Step
from vocdet.workflows.load import Loaded
from vocdet.workflows.object_looks import can_tell, object_looks
from vocdet.workflows.split import SplitFiles, SplitOptions, split_dataset
from vocdet.workflows.train_detector import training_events
from vocdet.workflows.training_data import TrainingData

NONE = np.empty(0, np.int64)
ENOUGH_OBJECTS = 100  # of val
NET = "mb3-small"  # on which speed is measured
STEPS, SLOW_STEPS, LONGEST = 10, 3, 20.0  # of the measurement, the first ones that do not count, and its seconds


def is_divided(loaded: Loaded) -> bool:
    """Whether a dataset has a split to train on."""
    return len(loaded.dataset.splits.get("train", ())) > 0


def with_splits(loaded: Loaded, seed: int) -> tuple[Loaded, bool]:
    """The dataset with its splits, or with those that `split` would write; whether it has a split to train on."""
    if is_divided(loaded):
        return loaded, True
    report = split_dataset(loaded, SplitOptions(seed=seed), SplitFiles(dry_run=True))
    return replace(loaded, dataset=replace(loaded.dataset, splits=report.splits)), False


def training_facts(loaded: Loaded, *, divided: bool, values: Values, options: RunOptions) -> TrainingFacts:
    """The facts of a dataset with splits. `values` are settings that the user gave; net and weights count here.

    A train split without objects is an `AnnotationError`.
    """
    dataset, splits = loaded.dataset, loaded.dataset.splits
    data = TrainingData.of(dataset, "train")
    if not data.labels:
        raise data.no_objects(loaded.path, hint="annotate more images, or split again: `vocdet.split(dataset)`")
    images = dataset.subset(np.union1d(splits["train"], splits.get("val", NONE)))
    counts = stats(images)
    learned = images.objects.label[~images.objects.crowd]
    return TrainingFacts(
        images=len(images),
        validation=len(data.val),
        test=len(splits.get("test", NONE)),
        objects=len(learned),
        labels=len(np.unique(learned)),
        divided=divided,
        below_cell=counts.below_cell,
        image_side=float(np.median(np.maximum(images.images.widths, images.images.heights))),
        object_side=float(counts.pixels[-1, 1]),
        masks=counts.flags["mask"] / len(images.objects),
        looks=looks(*_to_look_at(data, images), values, options),
        speed=training_speed(loaded, options),
        starts=tuple(bundled_starts().values()),
    )


def _to_look_at(data: TrainingData, images: Dataset) -> tuple[Dataset, Dataset]:
    """Images to learn looks from, and others to try them on: train and val, or three quarters and the rest."""
    if len(data.val.objects) >= ENOUGH_OBJECTS:
        return data.train, data.val
    held_out = np.arange(len(images)) % 4 == 0
    return images.subset(np.flatnonzero(~held_out)), images.subset(np.flatnonzero(held_out))


def looks(train: Dataset, val: Dataset, values: Values, options: RunOptions) -> Looks:
    """How the objects look to the backbone that training starts from."""
    if not can_tell(train, val):
        return Looks()  # without a search for weights
    net, weights = str(values.get("net", NET)), str(values.get("weights", "auto"))
    if no_classifier(values):
        net, weights = NET, "auto"
    start = starting_weights(weights, parse_net(net), options, "backbone")
    spec = ClassifierSpec(start.backbone, train.labels, 96, *start.normalization)
    model = initialize(Classifier(spec), start, train, load_recipe("backbone", "backbone").recipe).model
    found = object_looks(train, val, model)
    if start.name not in bundled_starts():
        return found
    # a detector's features know left from right, for the sides of its boxes: that they differ proves nothing
    mirrored = found.mirrored if (found.mirrored or 0) >= MIRRORED_ALIKE else None
    return replace(found, mirrored=mirrored, rotated=found.rotated if (found.rotated or 0) >= ROTATED_ALIKE else None)


def training_speed(loaded: Loaded, options: RunOptions) -> float:
    """Images per second of an SSD-lite training on mb3-small, in a run of a few steps that is deleted."""
    values = {"net": NET, "size": REFERENCE, "weights": "none", "neck": "none", "split": "train"}
    recipe = load_recipe("ssd", f"ssdlite-{NET}", values=values).recipe
    taken: list[tuple[float, int]] = []  # seconds and images after every step
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        trial = replace(options, runs=Path(folder), stop=lambda: len(taken) >= STEPS)
        with closing(training_events(loaded, recipe, trial)) as events:
            for event in events:
                if isinstance(event, Step):
                    taken.append((event.at.elapsed - event.at.paused, event.at.learned))
                if taken and time.perf_counter() - begun > LONGEST:
                    break
    steps = np.diff([(0.0, 0), *taken], axis=0)[SLOW_STEPS if len(taken) > SLOW_STEPS else 0 :]
    return float(np.median(steps[:, 1] / steps[:, 0]))
