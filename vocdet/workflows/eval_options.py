"""What an evaluation takes and returns, whether the detections are those of a run or in files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.data.usable import NOTHING, LeftOut
from vocdet.errors import SplitError
from vocdet.evaluation.report import EvalReport

ALL = "all"  # in place of a split: every image


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """Which images to evaluate, and how."""

    split: str = "test"  # "": test, or val without one; `ALL`, which a dataset without objects and splits always means
    own_thresholds: bool = False  # precision and recall at the checkpoint's thresholds instead of the best ones
    subset: int | None = None  # number of images, chosen at random; None: all
    interval: bool = False  # confidence intervals of AP and AR; always with a subset
    seed: int = 0  # of subset and interval
    commands: tuple[str, ...] = ()  # that repeat the evaluation, for its page
    page: bool | None = None  # whether to write a page; None: for a run, and not for detections in files
    plots: bool = False  # beside the page, its plots as PNG and SVG


@dataclass(frozen=True, slots=True)
class EvalResult:
    """Metrics, and the files that hold them."""

    report: EvalReport
    metrics: Path  # "." where nothing was written: the detections come from files
    detections: Path
    warnings: tuple[Finding, ...]
    unknown: tuple[str, ...]  # labels of the dataset that the detector does not have
    available: int = 0  # images of the split; a subset has fewer
    boxes_only: bool = False  # the detector has masks, but no object of these images has
    left_out: LeftOut = NOTHING  # of the dataset, on request, because of errors
    split: str = ""  # that was evaluated
    trained_on: int = 0  # images that the detector was trained on
    page: Path = Path()  # the same as a page to look at; ".": not written
    kind: str = ""  # what the detections are, if they come from files
    outside: int = 0  # of those: in images of other splits, which are not counted


def chosen_split(dataset: Dataset, split: str) -> str:
    """The split to evaluate: in a dataset without objects and splits, all images. "": test, or val without one."""
    if not split:
        split = "val" if not len(dataset.splits.get("test", ())) and len(dataset.splits.get("val", ())) else "test"
    return split if dataset.splits or len(dataset.objects) else ALL


def split_rows(dataset: Dataset, split: str) -> NDArray[np.int64]:
    """The rows of a split, or of all images. A missing split is a `SplitError` that names the choices."""
    if split == ALL and ALL not in dataset.splits:
        return np.arange(len(dataset))
    try:
        return dataset.rows(split)
    except SplitError as error:
        error.hint = f'{error.hint}, or evaluate every image: `split="{ALL}"`'.removeprefix(", or ")
        raise


def choose(count: int, wanted: int | None, seed: int) -> NDArray[np.int64]:
    """`wanted` of `count` rows in order, at random by `seed`; all rows for None or a larger number."""
    if wanted is None or wanted >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:wanted])
