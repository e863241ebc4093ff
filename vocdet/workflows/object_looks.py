"""Whether objects look alike when they are mirrored or rotated: a quick linear classifier on a backbone's features.

It is trained on upright objects of the training images, and tried on upright, mirrored and rotated ones of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vocdet.data.dataset import Dataset
from vocdet.inputs.crop_samples import CropSamples
from vocdet.inputs.images import Image, decode_image, resize
from vocdet.models.classifier import Classifier
from vocdet.recipes.plan import Looks

CONTEXT = 0.15  # around an object, as a share of its size
CROP, WHOLE = 96, 160  # pixels of the inputs for objects and for whole images
TRAIN_CROPS, VAL_CROPS, FEWEST_CROPS = 400, 200, 10
TRAIN_IMAGES, VAL_IMAGES, FEWEST_IMAGES = 100, 60, 8
KNOWN = 0.25  # of what chance leaves to recognize, from which a classifier counts
WIDE_OR_TALL = 0.1  # mean |log(width / height)| of labels from which the objects have an up
BORDER, FEWEST_BOXES = 2.0, 8  # pixels from which a box is whole; boxes of a label that count
HAS_UP = 0.8  # probability of telling a whole image from one upside down
OBJECTS_AT_ONCE = 32

Features = Callable[[Sequence[Image]], NDArray[np.float32]]  # (N, C) of N images of equal size


def object_looks(train: Dataset, val: Dataset, model: Classifier, *, seed: int = 0) -> Looks:
    """How well mirrored and rotated objects are recognized, relative to upright ones.

    `model` supplies the features: its backbone should be pretrained, because one with random weights recognizes little.
    """
    if not can_tell(train, val):
        return Looks()
    features, rng = _Features(model), np.random.default_rng(seed)
    learned, tried = _object_crops(train, TRAIN_CROPS, rng), _object_crops(val, VAL_CROPS, rng)
    known = len(np.unique(learned.labels))
    classifier = _fitted(features(learned.images), learned.labels)
    upright, mirrored, rotated = (
        classifier.predict(features(changed)) == tried.labels
        for changed in (tried.images, _mirrored(tried.images), _quarter_turns(tried.images))
    )
    accuracy = _mean_by_label(upright, tried.labels)
    if accuracy < 1 / known + KNOWN * (1 - 1 / known):
        return Looks()
    lost, gained = int((upright & ~mirrored).sum()), int((mirrored & ~upright).sum())
    # mirroring is the rule: only a loss beyond chance (McNemar 1947, two standard deviations) speaks against it
    by_chance = lost - gained <= 2 * (lost + gained) ** 0.5
    return Looks(
        mirrored=1.0 if by_chance else _mean_by_label(mirrored, tried.labels) / accuracy,
        rotated=_mean_by_label(rotated, tried.labels) / accuracy,
        has_up=has_up(train, val, features, rng),
    )


def can_tell(train: Dataset, val: Dataset) -> bool:
    """Whether there are labels to distinguish, and objects to try it on."""
    labels, tried = train.objects.label[~train.objects.crowd], int((~val.objects.crowd).sum())
    return len(np.unique(labels)) > 1 and tried >= FEWEST_CROPS


def has_up(train: Dataset, val: Dataset, features: Features, rng: np.random.Generator) -> bool:
    """Whether the boxes of a label are wide or tall, and whole images differ from images upside down.

    Where objects lie in any orientation, their boxes are as often wide as tall.
    """
    if not _wide_or_tall(train):
        return False
    learned, tried = _whole(train, TRAIN_IMAGES, rng), _whole(val, VAL_IMAGES, rng)
    if min(len(learned), len(tried)) < FEWEST_IMAGES:
        return True
    both = [np.concatenate([features(images), features(_upside_down(images))]) for images in (learned, tried)]
    classifier = _fitted(both[0], np.repeat([0, 1], len(learned)))
    score = classifier.decision_function(both[1])
    return bool((score[: len(tried), None] < score[len(tried) :]).mean() > HAS_UP)  # the area under the ROC curve


@dataclass(frozen=True, slots=True, eq=False)
class _Crops:
    images: list[Image]
    labels: NDArray[np.int64]


def _object_crops(dataset: Dataset, most: int, rng: np.random.Generator) -> _Crops:
    """Objects as squares, of all labels in turn."""
    samples = CropSamples(dataset, CROP, context=CONTEXT)
    shuffled = rng.permutation(len(samples))
    labels = samples.labels[shuffled]
    turn = np.zeros(len(shuffled), np.int64)  # how many of its label come before an object
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    chosen = shuffled[np.argsort(turn, kind="stable")][:most]
    return _Crops([samples.draw(int(i), rng).image for i in chosen], samples.labels[chosen])


def _whole(dataset: Dataset, most: int, rng: np.random.Generator) -> list[Image]:
    rows = rng.permutation(len(dataset))[:most]
    return [resize(decode_image(dataset[int(row)]), (WHOLE, WHOLE)) for row in rows]


def _mirrored(images: Sequence[Image]) -> list[Image]:
    return [image[:, ::-1] for image in images]


def _quarter_turns(images: Sequence[Image]) -> list[Image]:
    """The images, rotated by 90, 180 and 270 degrees in turn."""
    return [np.rot90(image, 1 + i % 3) for i, image in enumerate(images)]


def _upside_down(images: Sequence[Image]) -> list[Image]:
    return [np.rot90(image, 2) for image in images]


def _mean_by_label(correct: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """The share of correct predictions of each label, averaged over labels."""
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))


def _wide_or_tall(dataset: Dataset) -> bool:
    objects, images = dataset.objects, dataset.images
    sides = np.stack([images.widths, images.heights], axis=1)[objects.image]  # (M, 2)
    whole = (objects.box[:, :2] > BORDER).all(axis=1) & (objects.box[:, 2:] < sides - BORDER).all(axis=1)
    width, height = (objects.box[:, 2:] - objects.box[:, :2]).T
    aspect, label = np.log(width / height)[whole], objects.label[whole]
    counts = np.bincount(label, minlength=len(dataset.labels))
    means = np.abs(np.bincount(label, aspect, minlength=len(counts))) / np.maximum(counts, 1)
    some = counts >= FEWEST_BOXES
    return not some.any() or bool(np.average(means[some], weights=counts[some]) > WIDE_OR_TALL)


def _fitted(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=0.01, class_weight="balanced", tol=1e-2, max_iter=1000)
    return make_pipeline(StandardScaler(), regression).fit(features, labels)


class _Features:
    """The means of a backbone's last map."""

    def __init__(self, model: Classifier) -> None:
        self._backbone: nn.Module = model.backbone.eval()
        mean, std = model.spec.mean, model.spec.std
        self._mean, self._std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (mean, std))

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image]) -> NDArray[np.float32]:
        found = []
        for at in range(0, len(images), OBJECTS_AT_ONCE):
            batch = torch.from_numpy(np.stack(images[at : at + OBJECTS_AT_ONCE])).permute(
                0, 3, 1, 2
            )  # (B, 3, H, W) uint8
            _, last = self._backbone((batch.float() - self._mean) / self._std)
            found.append(last.mean(dim=(2, 3)))
        return torch.cat(found).numpy()
