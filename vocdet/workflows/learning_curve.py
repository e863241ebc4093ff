"""What more images would bring: detectors that were trained on shares of the images, and a power law through them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.division.sampling import sample
from vocdet.data.findings import Finding
from vocdet.data.splits import Rows
from vocdet.errors import SplitError
from vocdet.evaluation.bootstrap import resampled_by_label
from vocdet.evaluation.learning_curve import CurveFit, fit_curve
from vocdet.evaluation.resamples import Resampling
from vocdet.files import check_writable, make_folder, write_bytes
from vocdet.formats.scan import Progress, Source
from vocdet.outputs import write_marker
from vocdet.plots import notebook
from vocdet.plots.learning_curve import curve_picture
from vocdet.wording import counted, listed
from vocdet.workflows.detector import open_detector
from vocdet.workflows.eval_options import EvalOptions, chosen_split
from vocdet.workflows.evaluate import Evaluation, evaluate_detector
from vocdet.workflows.load import Loaded, load_dataset
from vocdet.workflows.trainings import Train

SHARES = (8, 4, 2, 1)  # of the images of train: an eighth, a quarter, a half, all
FEWEST = 2  # images to train on
FEWEST_OBJECTS = 10  # of a label, to evaluate on: with fewer, resamples hardly differ
LEARNED = 0.02  # AP50 from which a label counts as learned; three sizes fit a power law, two always do
WIDEST_GAIN = 0.1  # AP50: with wider bounds, the gain is unknown
RESULT, PICTURE = "learning-curve.json", "learning-curve.png"


@dataclass(frozen=True, slots=True)
class CurveOptions:
    """What to train and evaluate on, and where to write the results."""

    out: Path = Path("learning-curve")
    train: str = "train"  # split
    split: str = ""  # to evaluate on; "": test, or val without one
    seed: int = 0  # of the choice of images, and of the interval
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class LabelGrowth:
    """AP50 of a label by the number of images, and what twice as many would bring; None: it has no objects."""

    label: str
    objects: int  # that were evaluated
    ap50: tuple[float | None, ...]  # by size
    fit: CurveFit | None

    @property
    def unknown(self) -> str:
        """Why the fit cannot tell what twice the images would bring; "": it can."""
        if self.fit is None or self.objects < FEWEST_OBJECTS:
            return f"only {counted(self.objects, 'object')} to evaluate on"
        if sum((value or 0.0) > LEARNED for value in self.ap50) < 3:
            return "hardly learned with fewer images"
        low, high = self.fit.gain
        return f"between {low:+.2f} and {high:+.2f}" if high - low > WIDEST_GAIN else ""

    def doubling(self) -> str:
        """What twice the images would bring, in words."""
        if self.fit is None or self.unknown:
            return f"cannot tell: {self.unknown}"
        low, high = self.fit.gain
        return f"{self.fit.doubled - self.fit.now:+.3f} ({low:+.3f} to {high:+.3f})"


@dataclass(frozen=True, slots=True, repr=False)
class LearningCurve:
    """AP50 by the number of training images; a notebook shows it as a table and a plot."""

    sizes: tuple[int, ...]  # images, rising
    labels: tuple[LabelGrowth, ...]
    overall: LabelGrowth
    split: str  # that was evaluated
    result: Path
    picture: Path
    warnings: tuple[Finding, ...]

    def __repr__(self) -> str:
        sizes = listed(self.sizes, conjunction="and")
        return f"<learning curve of {sizes} images, AP50 on {self.split}: {self.overall.doubling()}>"

    def _repr_html_(self) -> str:
        rows = [(one.label, *one.ap50, one.doubling()) for one in (self.overall, *self.labels)]
        table = notebook.table(("AP50", *(f"{size} images" for size in self.sizes), "twice as many"), rows)
        plot = notebook.png_file(self.picture, notebook.LARGE, alt="AP50 by the number of training images")
        return notebook.heading(repr(self)[1:-1]) + table + plot


def learning_curve(
    source: Source | Loaded,
    options: CurveOptions,
    train: Train,
    *,
    note: Callable[[str], object] = lambda text: None,  # noqa: ARG005
    progress: Progress | None = None,
) -> LearningCurve:
    """Train on an eighth, a quarter, a half and all images of a split, and fit AP50 on another split.

    Each share contains the smaller ones. Finished trainings are not repeated. Writes the numbers and a plot. A
    `SplitError` for a missing split, one with too few images to divide, and one to evaluate on that is trained on.
    """
    check_writable(options.out, inside=True)
    loaded = load_dataset(source, split=options.train)
    dataset = loaded.dataset
    split = chosen_split(dataset, options.split)
    rows = _checked_rows(dataset, options.train, split)  # before hours of training
    parts = {f"{options.train}_{share}": some for share, some in nested(dataset, rows, options.seed).items()}
    make_folder(options.out)
    write_marker(options.out, "predictions")
    divided = replace(loaded, dataset=replace(dataset, splits={**dataset.splits, **parts}))
    evaluations = []
    for name, some in parts.items():
        subset = dataset.subset(some)
        without = np.setdiff1d(dataset.objects.label[np.isin(dataset.objects.image, rows)], subset.objects.label)
        lacking = f", which do not show {listed((dataset.labels[i] for i in without), most=8)}" if len(without) else ""
        note(f"training on {counted(len(some), 'image')}{lacking}")
        run = train(divided, name, options.out / f"{name}-{subset.fingerprint()[:8]}")
        note(f"evaluating {run} on {split}")
        detector = open_detector(run, device=options.device)
        evaluations.append(evaluate_detector(detector, loaded, EvalOptions(split), progress=progress))
    sizes = tuple(len(some) for some in parts.values())
    growth = growth_of(sizes, evaluations, options.seed)
    result = LearningCurve(
        sizes, growth[:-1], growth[-1], split, options.out / RESULT, options.out / PICTURE, loaded.warnings
    )
    content = {
        "images": sizes,
        "split": split,
        "labels": [asdict(one) | {"unknown": one.unknown} for one in growth[:-1]],
        "all": asdict(growth[-1]) | {"unknown": growth[-1].unknown},
    }
    write_bytes(result.result, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    lines = [(one.label, one.ap50, one.fit) for one in (*growth[:-1], growth[-1])]
    write_bytes(result.picture, curve_picture(sizes, lines, str(loaded.path)))
    return result


def _checked_rows(dataset: Dataset, train: str, split: str) -> Rows:
    """The rows of the split to divide; a `SplitError` if the curve cannot be measured with these splits."""
    rows = dataset.rows(train)
    if shared := len(np.intersect1d(dataset.rows(split), rows)):
        problem = f"{counted(shared, 'image')} of split {split!r} {'is' if shared == 1 else 'are'} also trained on"
        hint = f"evaluate on images that {train} does not have, or split again: `vocdet.split(dataset)`"
        raise SplitError(problem, place=dataset.root, hint=hint)
    if len(rows) // SHARES[0] < FEWEST:
        problem = f"split {train!r} has {counted(len(rows), 'image')}, too few to divide by {SHARES[0]}"
        raise SplitError(problem, place=dataset.root, hint="annotate more images first")
    return rows


def nested(dataset: Dataset, rows: Rows, seed: int) -> dict[int, Rows]:
    """The rows of each of `SHARES`: of a half all, of a quarter the half, in which every label has its share."""
    shares = {1: rows}
    for share in sorted(SHARES)[1:]:
        within = shares[share // 2]
        whole = replace(dataset, splits={}).subset(within)
        shares[share] = within[sample(whole, len(rows) // share, seed=seed).rows]
    return {share: np.sort(shares[share]) for share in SHARES}


def growth_of(sizes: tuple[int, ...], evaluations: list[Evaluation], seed: int) -> tuple[LabelGrowth, ...]:
    """The growth of every label that has objects, and last that of all of them."""
    truth: Dataset = evaluations[0].ground_truth
    drawing = Resampling(len(truth), seed=seed)  # the same images for all sizes
    draws = np.stack([resampled_by_label(one.ground_truth, one.detections, "AP50", drawing) for one in evaluations])
    rows: list[LabelGrowth] = []
    counts = [row.objects for row in evaluations[0].report.labels]
    for i, label in enumerate((*truth.labels, "all labels")):
        values = [
            one.report.labels[i].ap50 if i < len(truth.labels) else one.report.overall.ap50 for one in evaluations
        ]
        metric = np.array([np.nan if value is None else value for value in values])
        if i == len(truth.labels) or any(value is not None for value in values):
            objects = (*counts, sum(counts))[i]
            rows.append(LabelGrowth(label, objects, tuple(values), fit_curve(sizes, metric, draws[:, i], seed=seed)))
    return tuple(rows)
