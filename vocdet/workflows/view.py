"""Look at a dataset, and at a run's detections in it, in the browser."""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.detections import Detections
from vocdet.data.findings import Finding
from vocdet.data.relabel import with_labels
from vocdet.errors import ArgumentError, RunError, SplitError, VocdetError
from vocdet.files import read_limited
from vocdet.formats import cache, registry
from vocdet.formats.coco.ids import Id
from vocdet.formats.image_folder import scan_plain_images
from vocdet.formats.scan import Progress, Scan, Source
from vocdet.inference.access import is_local
from vocdet.inference.coco_results import Names, read_coco_results
from vocdet.inference.detection_files import read_detections
from vocdet.outputs import BEST
from vocdet.viewing.table import Predictions, ViewTable
from vocdet.workflows.check import column_findings
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.eval_options import EvalOptions, choose, chosen_split, split_rows
from vocdet.workflows.evaluate_files import is_detections, names_of
from vocdet.workflows.load import Loaded, load_dataset
from vocdet.workflows.serve import need_server, run_application

if TYPE_CHECKING:
    from vocdet.viewing.app import Viewer

PORT = 8766
_LARGEST = 1 << 30  # bytes of metrics
_ENTRY = re.compile(r"(\w+)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What to show beside the dataset, and where."""

    run: Path | None = None  # a run, a checkpoint, or a file or folder of detections
    split: str = ""  # of the detections; "": all that were evaluated, or else test
    notes: Path | None = None  # None: <name of the dataset>-notes.csv in the current folder
    host: str = "127.0.0.1"
    port: int = PORT  # 0: a free one
    token: str = ""  # "": a new one


def view(
    source: Source,
    options: ViewOptions = ViewOptions(),
    *,
    device: str = "auto",
    progress: Progress | None = None,
    started: Callable[[str, Path], object] = lambda url, notes: None,  # noqa: ARG005
) -> None:
    """Show a dataset in the browser until SIGTERM or Ctrl-C.

    Requests need the token, and on the loopback address a Host that is this machine. `started` gets the address with
    the token, and the file of notes. A run that has not been evaluated on the dataset is evaluated first. Raises like
    `load_dataset`, `DependencyError` without the extra `serve`, `MediaError` for an address that cannot be used.
    """
    need_server()
    from vocdet.viewing.app import application

    viewer = open_viewer(source, options, device=device, progress=progress)
    token = options.token or secrets.token_urlsafe(16)
    app = application(viewer, token=token, local=is_local(options.host))
    run_application(
        app, options.host, options.port, lambda address: started(f"{address}?token={token}", viewer.notes.path)
    )


def open_viewer(
    source: Source, options: ViewOptions = ViewOptions(), *, device: str = "auto", progress: Progress | None = None
) -> Viewer:
    """The viewer of a dataset, which `application` serves."""
    from vocdet.viewing.app import Viewer
    from vocdet.viewing.notes import Notes

    predictions = None
    if options.run is None and options.split:
        problem = f"`split={options.split!r}` chooses detections, and there are none"
        raise ArgumentError(problem, hint="name a run as well: `run=...`; the page filters the images by split")
    if options.run is None:
        scan = _scan(source, progress)
        dataset, findings = scan.dataset, [*scan.findings, *column_findings(scan.dataset, scan.findings)]
    else:
        loaded = load_dataset(source, without_objects=True)
        dataset, predictions = _predictions(options.run, loaded, options.split, device, progress)
        findings = [*loaded.warnings, *column_findings(dataset, loaded.warnings)]
    by_code, texts = _by_image(dataset, findings)
    folder = source.path.resolve()
    name = (folder if folder.is_dir() else folder.parent).name or "dataset"
    notes = Notes(options.notes or Path(f"{name}-notes.csv"), dataset.images.files)
    title = f"{source.path}" + (f" with {options.run}" if options.run else "")
    return Viewer(ViewTable(dataset, by_code, predictions), notes, texts, title)


def _scan(source: Source, progress: Progress | None) -> Scan:
    """A dataset with its errors, which are there to be looked at; a folder of images alone is one, too."""
    try:
        return cache.read(source, progress=progress)
    except VocdetError:
        if source.format == "auto" and registry.has_no_annotations(source.path):
            return scan_plain_images(source.path)
        raise


def _by_image(
    dataset: Dataset, findings: Sequence[Finding]
) -> tuple[dict[str, NDArray[np.int64]], dict[int, list[str]]]:
    """The rows of the images that findings are about, by code, and the texts by row; others are about no image."""
    wanted: dict[str, list[Finding]] = defaultdict(list)
    codes, texts = defaultdict[str, set[int]](set), defaultdict[int, list[str]](list)

    def add(row: int, one: Finding) -> None:
        codes[one.code].add(row)
        texts[row].append(f"{one.code}: {one.problem}")

    lines = dataset.objects.line
    order = np.argsort(lines, kind="stable")
    for one in findings:
        entry = _ENTRY.match(one.place.inside)
        if entry and entry[1] == dataset.entries:
            at = int(np.searchsorted(lines[order], int(entry[2]) + 1))
            if at < len(order) and lines[order[at]] == int(entry[2]) + 1:
                add(int(dataset.objects.image[order[at]]), one)
        elif one.place.path.is_relative_to(dataset.root):
            wanted[one.place.path.relative_to(dataset.root).as_posix()].append(one)
    one_file = len(set(dataset.images.sources)) == 1  # a list of all images
    for row, names in enumerate(zip(dataset.images.files, dataset.images.sources, strict=True)):
        for name in dict.fromkeys(names[:1] if one_file else names):
            for one in wanted.get(name, ()):
                add(row, one)
    return {code: np.array(sorted(rows)) for code, rows in sorted(codes.items())}, dict(texts)


class _Row(msgspec.Struct):
    label: str
    threshold: float


class _Subset(msgspec.Struct):
    images: int
    seed: int


class _Metrics(msgspec.Struct):
    """What is needed of metrics-<split>.json."""

    dataset: str
    labels: list[_Row]
    split: str
    subset: _Subset | None = None
    checkpoint: str = BEST

    def among(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the split that were evaluated."""
        return rows[choose(len(rows), self.subset.images, self.subset.seed)] if self.subset else rows


def _predictions(
    run: Path, loaded: Loaded, split: str, device: str, progress: Progress | None
) -> tuple[Dataset, Predictions]:
    """The dataset with the labels of a detector, and its detections."""
    if is_detections(run):
        dataset = loaded.dataset
        split = chosen_split(dataset, split)
        rows = split_rows(dataset, split)
        names = names_of(run, loaded, split, rows)
        found = read_detections(run, dataset, names, rows.tolist(), coordinates=loaded.scan.coordinates).detections
        return dataset, Predictions.of(dataset, dict(zip(rows.tolist(), found, strict=True)))
    folder = run if run.is_dir() else run.parent
    checkpoint = BEST if run.is_dir() else run.name
    known = _evaluated(folder, checkpoint, loaded.dataset, split)
    if not known:
        from vocdet.workflows.evaluate import evaluate_run  # loads torch

        split = chosen_split(loaded.dataset, split)
        evaluate_run(run, loaded, EvalOptions(split), detector=DetectorOptions(device, "torch"), progress=progress)
        known = _evaluated(folder, checkpoint, loaded.dataset, split)
    if not known:
        raise RunError(
            "its detections cannot be read", place=folder, hint="evaluate it: `vocdet.evaluate(dataset, run)`"
        )
    first = known[0]
    dataset = with_labels(loaded.dataset, [row.label for row in first.labels])
    detections: dict[int, Detections] = {}
    for one in known:
        available = split_rows(dataset, one.split)
        labels: dict[Id, int] = {number: dataset.labels.index(row.label) for number, row in enumerate(one.labels, 1)}
        images: dict[Id, int] = dict(enumerate(available.tolist(), 1))
        found = read_coco_results(folder / f"detections-{one.split}.json", dataset, Names(images, labels))
        detections |= {row: found[row] for row in one.among(available).tolist()}
    thresholds = np.full(len(dataset.labels), 1.0, np.float32)
    thresholds[: len(first.labels)] = [row.threshold for row in first.labels]
    return dataset, Predictions.of(dataset, detections, thresholds)


def _evaluated(folder: Path, checkpoint: str, dataset: Dataset, split: str) -> list[_Metrics]:
    """The evaluations of a checkpoint on a split, or on any, of this dataset: test first, which sets the thresholds."""
    pattern = f"metrics-{split or '*'}.json"
    paths = sorted(folder.glob(pattern), key=lambda path: (path.stem != "metrics-test", path.name))
    known = []
    for path in paths:
        try:
            one = msgspec.json.decode(read_limited(path, _LARGEST), type=_Metrics)
            rows = split_rows(dataset, one.split)
        except (OSError, msgspec.MsgspecError, SplitError):
            continue
        then = dataset.subset(one.among(rows))
        same = (one.checkpoint, one.dataset) == (checkpoint, then.fingerprint())
        if same and path.with_name(f"detections-{one.split}.json").is_file():
            known.append(one)
    return known
