"""Evaluate detections in files, made by any tool, on a split of a dataset. Neither a model nor an image is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.findings import raise_split_errors
from vocdet.evaluation.report import evaluate
from vocdet.evaluation.resamples import RESAMPLES
from vocdet.formats import cache
from vocdet.formats.coco.ids import Id
from vocdet.formats.coco.result_ids import file_ids
from vocdet.formats.scan import Source, uncollected
from vocdet.formats.shared.values import snapped
from vocdet.inference.coco_results import Names
from vocdet.inference.detection_files import FORMAT_TITLES, read_detections
from vocdet.outputs import BEST
from vocdet.runtimes.description import is_exported
from vocdet.workflows.eval_options import ALL, EvalOptions, EvalResult, choose, chosen_split, split_rows
from vocdet.workflows.load import Loaded, clean_scan

_CHECKPOINTS = ".safetensors"


def is_detections(path: Path) -> bool:
    """Whether a path is rather a file or folder of detections than a run, a checkpoint or an export."""
    if not path.exists() or is_exported(path):
        return False
    return path.suffix != _CHECKPOINTS and not any(path.glob(f"*{_CHECKPOINTS}"))


def evaluate_files(path: Path, source: Source | Loaded, options: EvalOptions = EvalOptions()) -> EvalResult:
    """The metrics of the detections in a file or folder; see `vocdet.inference.detection_files` for what is read.

    The ids of COCO results are those of the dataset's COCO file. In any other dataset, an image id is the stem of an
    image or its position in the split, and a category id the position of its label, both from 1. With `options.page`,
    `report-<split>.html` is written into the current folder.
    """
    loaded = source if isinstance(source, Loaded) else _load(source)
    dataset = loaded.dataset
    split = chosen_split(dataset, options.split) if options.split or dataset.splits else ALL
    raise_split_errors(loaded.warnings, split)
    available = split_rows(dataset, split)
    rows = available[choose(len(available), options.subset, options.seed)]
    names = names_of(path, loaded, split, available)
    if loaded.scan.format == "coco":
        dataset, rows = _as_pycocotools(dataset, names, rows)
    resamples = RESAMPLES if options.interval or options.subset else 0
    with uncollected():
        found = read_detections(path, dataset, names, rows.tolist(), coordinates=loaded.scan.coordinates)
        report = evaluate(dataset.subset(rows), found.detections, resamples=resamples, seed=options.seed)
    boxes_only = report.masks is None and any(one.masks is not None for one in found.detections)
    page = Path()
    if options.page:
        from vocdet.plots.report_page import PageFacts  # loads OpenCV
        from vocdet.workflows.eval_page import write_page

        facts = {"detections": str(path), "dataset": str(loaded.path)}
        about = PageFacts(f"{path.name} on {split}", facts, commands=options.commands)
        page = write_page(report, about, Path(), replace(options, split=split))
    return EvalResult(
        report, Path(), Path(), loaded.warnings, (), len(available), boxes_only, loaded.left_out, split,
        kind=FORMAT_TITLES[found.kind], outside=found.outside, page=page,
    )  # fmt: skip


def _load(source: Source) -> Loaded:
    """A dataset with unclipped boxes, as other tools evaluate them."""
    clean = clean_scan(cache.read(source, without_images=True), skip_bad=source.skip_bad, decode=False)
    return Loaded(clean.scan.dataset, clean.scan.findings, clean.scan, source, clean.left_out)


def _as_pycocotools(dataset: Dataset, names: Names, rows: NDArray[np.int64]) -> tuple[Dataset, NDArray[np.int64]]:
    """The order of image ids, which decides between equal scores, and far corners that are sums, to the last bit.

    An overlap of exactly .5, as in made-up results, depends on that bit; a `Dataset` has corners without it.
    """
    boxes = dataset.objects.box.copy()
    boxes[:, 2:] = boxes[:, :2] + snapped(boxes[:, 2:] - boxes[:, :2])
    id_of = {row: number for number, row in names.images.items() if isinstance(number, int)}
    order = np.array([id_of.get(row, row) for row in rows.tolist()])
    return replace(dataset, objects=replace(dataset.objects, box=boxes)), rows[np.argsort(order, kind="stable")]


def names_of(path: Path, loaded: Loaded, split: str, rows: NDArray[np.int64]) -> Names:
    """What the ids of COCO results mean."""
    dataset = loaded.dataset
    if loaded.scan.format == "coco" and (known := file_ids(loaded.path, dataset, split)) is not None:
        return Names(*known)
    return Names(_image_ids(dataset, rows), _label_ids(dataset, _labels_beside(path)))


def _image_ids(dataset: Dataset, rows: NDArray[np.int64]) -> Mapping[Id, int]:
    """Positions in the split from 1, unless all stems are numbers; stems and file names are ids in any case."""
    stems: dict[Id, int] = {stem: row for row, stem in enumerate(dataset.images.stems)}
    names: dict[Id, int] = {file.rpartition("/")[2]: row for row, file in enumerate(dataset.images.files)}
    texts = dataset.images.stems
    numbers: dict[Id, int] = {int(text): row for row, text in enumerate(texts) if text.isascii() and text.isdigit()}
    positions: dict[Id, int] = dict(enumerate(rows.tolist(), 1))
    return {**names, **stems, **(numbers if len(numbers) == len(stems) else positions)}


def _label_ids(dataset: Dataset, order: tuple[str, ...]) -> Mapping[Id, int]:
    known: dict[Id, int] = {label: i for i, label in enumerate(dataset.labels)}
    positions: dict[Id, int] = {i: known[label] for i, label in enumerate(order or dataset.labels, 1) if label in known}
    return {**known, **positions}


def _labels_beside(path: Path) -> tuple[str, ...]:
    """The labels of the run that a results file is in, which its category ids count."""
    checkpoint = path.parent / BEST
    if not checkpoint.is_file():
        return ()
    from vocdet.runs.facts import read_run  # reads no weights

    return read_run(path.parent).labels
