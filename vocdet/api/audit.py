"""What the annotations lack: likely mistakes, and more images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vocdet.api.dataset import Data, as_loaded
from vocdet.api.training import DEFAULT_DETECTOR, RecipeChoice, resolved_recipe
from vocdet.recipes.schema import DETECTORS
from vocdet.runs.resume import CHOICES
from vocdet.runs.setup import RunOptions
from vocdet.workflows.audit import AuditResult
from vocdet.workflows.audit import audit as find
from vocdet.workflows.audit_judges import AuditOptions
from vocdet.workflows.learning_curve import CurveOptions, LearningCurve
from vocdet.workflows.learning_curve import learning_curve as measure
from vocdet.workflows.trainings import Trainings


def audit(
    dataset: Data,
    *,
    out: str | Path = "audit",
    runs: Sequence[str | Path] = (),
    folds: int = 3,
    most: int = 200,
    seed: int = 0,
    recipe: RecipeChoice = DEFAULT_DETECTOR,
    device: str = "auto",
    **values: Any,
) -> AuditResult:
    """List the likely mistakes of annotations: missing objects, wrong labels, boxes that do not fit.

    Detectors judge images that they were not trained on: `runs`, or one for each of `folds`, trained by the recipe with
    the `values` of its fields, such as `minutes=4`. A fold that was trained by them on the same images is not trained
    again. `result.proposals` are the suspicions, of each kind in turn the most confident, in the manner of ObjectLab
    (Tkachenko et al. 2023, arXiv:2309.00832); `result.page` shows them. Nothing in the dataset is changed. An
    `OutputError` if `out` cannot be written.

    >>> result = vocdet.audit("shelf", runs=[run], out="audit")
    >>> result.page.name
    'index.html'
    """
    options = AuditOptions(Path(out), tuple(map(Path, runs)), folds, most, seed, device)
    return find(as_loaded(dataset), options, trainings(recipe, device, values))


def learning_curve(
    dataset: Data,
    *,
    out: str | Path = "learning-curve",
    split: str = "",
    seed: int = 0,
    recipe: RecipeChoice = DEFAULT_DETECTOR,
    device: str = "auto",
    **values: Any,
) -> LearningCurve:
    """Train on 1/8, 1/4, 1/2 and all images of train, and estimate what twice as many would bring to each label.

    AP50 on `split` (test, or else val) by the number of images; `fit` of each label has the power law of its error
    (Hestness et al. 2017, arXiv:1712.00409), the estimate for twice the images, and the bounds of it and of the gain.
    `doubling()` of each label says it in words, or that the fit cannot tell. Every subset is within the next, and every
    label has its share in it.
    The recipe and its `values`, such as `minutes=10`, are those of `train_detector`. Trainings that are finished are
    not repeated. A `SplitError` for a missing split, fewer than 16 images, or a `split` that is trained on.

    >>> vocdet.learning_curve("shelf", minutes=1)
    Traceback (most recent call last):
    vocdet.errors.SplitError: shelf: split 'train' has 8 images, too few to divide by 8
    """
    options = CurveOptions(Path(out), split=split, seed=seed, device=device)
    return measure(as_loaded(dataset), options, trainings(recipe, device, values))


def trainings(recipe: RecipeChoice, device: str, values: dict[str, Any]) -> Trainings:
    """Trains by a recipe with values on top."""
    options = RunOptions(device=device, given=CHOICES.intersection(values))
    return Trainings(resolved_recipe(recipe, DETECTORS, values), options)
