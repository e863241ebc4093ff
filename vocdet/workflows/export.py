"""Export a trained model as files that run without vocdet, and check that they do the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from vocdet import __version__
from vocdet.data.splits import validation_split
from vocdet.errors import ArgumentError, CheckpointError, OutputError, VocdetError
from vocdet.exporting.card import card
from vocdet.exporting.formats import EXPORTERS, Exporter
from vocdet.exporting.graphs import at_size, graph_of
from vocdet.exporting.parity import Check
from vocdet.files import appearing, check_writable, is_folder
from vocdet.formats.scan import Source
from vocdet.inference.predictor import BEST
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint
from vocdet.outputs import MARKER, OutputFiles, digest_of, read_marker
from vocdet.runs.facts import read_run
from vocdet.runtimes.description import Description
from vocdet.wording import did_you_mean, listed
from vocdet.workflows.detector import REPORT
from vocdet.workflows.export_check import Data, check_export
from vocdet.workflows.load import load_dataset

KIND = "export"  # of the marker
FOLDER = "exports"  # in a run

TOLERANCE = 0.01  # of AP, AP50 and scores

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export is."""

    format: str = "onnx"
    size: int | None = None  # of the input, pixels; None: as trained
    raw: bool = False  # without decoding
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True)
class ExportResult:
    """An exported model, and how it compares with the model in training."""

    folder: Path
    file: Path  # the model
    format: str
    bytes: int  # of the model
    description: Description
    check: Check | None  # None: a classifier, or raw, which gives no detections
    remarks: tuple[str, ...] = ()


def export_run(
    run: Path,
    options: ExportOptions = ExportOptions(),
    *,
    out: Path | None = None,
    data: Source | None = None,
    progress: Progress | None = None,
) -> ExportResult:
    """Export the best checkpoint of a run, or a checkpoint file, into the folder `out`.

    The folder appears when the check has passed; by default it is `exports/<format>` in the run, and an earlier export
    there is replaced unless a file of it was changed. The check compares with the model on the validation images of the
    run's dataset, or of `data`, from the encoded files through the public predictor, and on made images: tall, wide,
    tiny, gray, with an EXIF orientation. A difference beyond `options.tolerance` is an `ExportError`.
    """
    exporter = _exporter(options.format)
    if not 0 <= options.tolerance <= 1:
        raise ArgumentError(f"tolerance is {options.tolerance}", hint="give a number from 0 to 1: `tolerance=0.01`")
    exporter.check_installed()
    path = run / BEST if run.is_dir() else run
    model, info = load_checkpoint(path)
    if options.size is not None:
        model, info = at_size(model, info, options.size)
    description = describe(info, path, raw=options.raw)
    graph = graph_of(model, info, raw=options.raw)
    folder = out or path.parent / FOLDER / _name(options)
    with _new_folder(folder) as temporary:
        files = OutputFiles(temporary, KIND)
        for name, content in exporter.write(graph, description).items():
            files.write(name, content)
        file = temporary / exporter.file
        check, remarks = None, list[str]()
        if exporter.load and info.task != "backbone" and not options.raw:
            known, remarks = _data(path.parent, data)
            check = check_export(
                model, info, exporter.load(file), known, tolerance=options.tolerance, progress=progress
            )
        size = sum(len((temporary / name).read_bytes()) for name in exporter.files)
        files.write("labels.txt", "".join(f"{label}\n" for label in info.labels).encode())
        files.write("README.md", card(description, exporter.file, check, name=path.parent.absolute().name).encode())
        report = {"file": exporter.file, "bytes": size, "description": description, "check": check and asdict(check)}
        files.write(REPORT, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        files.save()
    return ExportResult(folder, folder / exporter.file, options.format, size, description, check, tuple(remarks))


def describe(info: CheckpointInfo, path: Path, *, raw: bool = False) -> Description:
    """What the exported file of a checkpoint says about it."""
    metrics = {name: round(value, 6) for name, value in info.scores.items()}
    return Description(
        version=__version__, task=info.task, net=info.backbone.name, labels=info.labels, size=info.size,
        mean=info.mean, std=info.std, thresholds=info.thresholds or (), levels=info.levels, tiles=info.tiles,
        raw=raw, metrics=metrics, dataset=info.dataset, checkpoint=digest_of(path),
    )  # fmt: skip


def _exporter(name: str) -> Exporter:
    if name not in EXPORTERS:
        hint = did_you_mean(name, EXPORTERS) or f"give one of {listed(EXPORTERS)}"
        raise ArgumentError(f"unknown export format {name!r}", hint=hint)
    return EXPORTERS[name]


def _name(options: ExportOptions) -> str:
    size = "" if options.size is None else f"-{options.size}"
    return f"{options.format}{size}{'-raw' if options.raw else ''}"


def _data(run: Path, given: Source | None) -> tuple[Data | None, list[str]]:
    """The images to check on; without the dataset of the run there are none, and a remark says why."""
    facts = read_run(run)
    split = validation_split(str(facts.recipe.get("data.split") or "train"))
    if given:
        return Data(load_dataset(given, split=split), split), []
    if not facts.data.get("root"):
        return None, ["checked on made images alone: the run does not name its dataset; use `data=dataset`"]
    labels = facts.data.get("label_list")
    record = {**facts.data, "labels": labels if isinstance(labels, str) else None, "skip_bad": True}
    try:
        return Data(load_dataset(Source.from_record(record), split=split), split), []
    except (VocdetError, KeyError, TypeError) as error:
        problem = error.problem if isinstance(error, VocdetError) else "its record is incomplete"
        root = facts.data["root"]
        return None, [
            f"checked on made images alone: the dataset {root} cannot be used ({problem}); use `data=dataset`"
        ]


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears when the block succeeds, also in place of an earlier export that nobody changed."""
    if not is_folder(folder) or not any(folder.iterdir()):
        with appearing(folder) as temporary:
            yield temporary
        return
    earlier, marker = OutputFiles(folder, KIND), read_marker(folder)
    names = [path.name for path in folder.iterdir() if path.name != MARKER]
    if marker is None or marker.kind != KIND or not all(earlier.may_write(name) for name in names):
        problem = "holds other files, or an export that was changed since"
        raise OutputError(problem, place=folder, hint='choose a new folder: `out="export"`')
    check_writable(folder, inside=True)
    fresh = folder.with_name(f"{folder.name}.new")
    try:
        with appearing(fresh) as temporary:
            yield temporary
    except CheckpointError as error:
        error.place = None
        raise
    shutil.rmtree(folder)
    fresh.rename(folder)
