"""Export a trained model as files that run without vocdet, and check that they do the same."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from vocdet import __version__, boxes
from vocdet.data import seams
from vocdet.data.splits import validation_split
from vocdet.errors import ArgumentError, CheckpointError, OutputError, VocdetError
from vocdet.exporting.card import card
from vocdet.exporting.decoder import decoders
from vocdet.exporting.formats import EXPORTERS, TARGETS, Exporter
from vocdet.exporting.graphs import DETECTIONS, Graph, at_size, graph_of, prepared_graph
from vocdet.exporting.packages import need
from vocdet.exporting.parity import Check
from vocdet.files import appearing, check_replaceable, check_writable, is_folder, is_link, unwritable
from vocdet.formats.scan import Progress, Source
from vocdet.inputs.images import decode_image, resize
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint
from vocdet.models.ssd.model import SsdSpec
from vocdet.outputs import MARKER, OutputFiles, checkpoint_of, digest_of, read_marker
from vocdet.resources import bundled_text
from vocdet.runs.facts import read_run
from vocdet.runs.image_record import trained_rows
from vocdet.runtimes.description import REPORT, Description, ExportTarget, is_exported
from vocdet.wording import did_you_mean, listed
from vocdet.workflows.detector import EXPORTS
from vocdet.workflows.eval_options import choose
from vocdet.workflows.export_check import Data, check_export, check_outputs
from vocdet.workflows.load import Loaded, load_dataset

KIND = "export"  # of the marker

SCORE_TOLERANCE = 0.01  # of AP, AP50 and scores
TOLERANCE_INT8 = 0.03  # of AP and AP50
CALIBRATION = 200  # images


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What an export is."""

    format: str = "onnx"
    size: int | None = None  # of the input, pixels; None: as trained
    raw: bool = False  # without decoding
    tolerance: float | None = None  # None: `SCORE_TOLERANCE`, in 8 bits `TOLERANCE_INT8`
    int8: bool = False  # calibrated on images of the training split
    target: str = ""  # a program that prepares the image: see `TARGETS`


@dataclass(frozen=True, slots=True)
class ExportResult:
    """An exported model, and how it compares with the model in training."""

    folder: Path
    file: Path  # the model
    format: str
    bytes: int  # of the model
    description: Description
    check: Check | None  # None: a classifier, or raw, which gives no detections
    apart: float | None  # of these, the largest difference of an output; None: they do not run here
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<export to {self.format}: {self.file}, {self.bytes / 1e6:.1f} MB>"


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
    tiny, gray, with an EXIF orientation; of what gives no detections, the outputs on these alone. A difference beyond
    `options.tolerance` is an `ExportError`.
    """
    exporter = _exporter(options)
    if is_exported(run):
        raise CheckpointError("is an export already", place=run, hint="export the run that it was made from")
    path = checkpoint_of(run)
    model, info = load_checkpoint(path)
    if options.size is not None:
        model, info = at_size(model, info, options.size)
    if options.int8 and (info.task != "ssd" or options.raw):
        raise ArgumentError("only detections of an SSD are exported in 8 bits", hint="leave out `int8=True`")
    description = describe(info, path, options, exporter.target)
    target = exporter.target
    graph = prepared_graph(model, target) if target else graph_of(model, info, raw=options.raw)
    known, remarks = _checked_on(path.parent, data)
    folder = out or path.parent / EXPORTS / _name(options)
    with _new_folder(folder) as temporary:
        files = OutputFiles(temporary, KIND)
        for name, content in _contents(exporter, graph, description, known).items():
            files.write(name, content)
        file = temporary / exporter.file
        check = apart = None
        tolerance = options.tolerance
        if tolerance is None:
            tolerance = TOLERANCE_INT8 if options.int8 else SCORE_TOLERANCE
        if info.task == "backbone" or options.raw:
            if exporter.runner:
                apart = check_outputs(graph, exporter.runner(file, description), tolerance=tolerance)
        elif exporter.load:
            exported = exporter.load(file, description)
            check = check_export(model, info, exported, known, tolerance=tolerance, progress=progress)
        for name, text in _programs(graph, description).items():
            files.write(name, text.encode())
        size = sum((temporary / name).stat().st_size for name in exporter.files)
        files.write("labels.txt", "".join(f"{label}\n" for label in info.labels).encode())
        files.write("README.md", card(description, exporter.file, check, name=path.parent.absolute().name).encode())
        report = {
            "file": exporter.file,
            "bytes": size,
            "description": description,
            "check": check and asdict(check),
            "apart": apart,
        }
        files.write(REPORT, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        files.save()
    if check is None:
        remarks = [f"not checked: {options.format} models do not run here"] if apart is None else []
    return ExportResult(folder, folder / exporter.file, options.format, size, description, check, apart, tuple(remarks))


def _programs(graph: Graph, description: Description) -> dict[str, str]:
    """The programs that travel with a model, by file name."""
    if description.target:
        return decoders(description) if graph.outputs == DETECTIONS[:2] else {}
    if description.task == "backbone" or description.raw:
        return {}
    return {"detect.py": bundled_text("export/detect.py")} | (tile_modules() if description.tiles else {})


def tile_modules() -> dict[str, str]:
    """The modules with which `detect.py` detects on tiles, without vocdet."""
    return {"boxes.py": inspect.getsource(boxes), "tiles.py": inspect.getsource(seams).replace("from vocdet.", "from ")}


def _contents(exporter: Exporter, graph: Graph, description: Description, data: Data | None) -> Mapping[str, bytes]:
    """The files of the model."""
    if description.precision == "fp32" or exporter.quantize is None:
        return exporter.write(graph, description)
    if data is None:
        hint = "name the dataset that it was trained on: `data=dataset`"
        raise ArgumentError("int8 is calibrated on training images, and the dataset of the run is missing", hint=hint)
    dataset, height, width = data.loaded.dataset, *description.size
    rows = dataset.rows("train" if "train" in dataset.splits else data.split)
    chosen = dataset.subset(rows[choose(len(rows), CALIBRATION, 0)])
    chosen = replace(chosen, levels=description.levels or chosen.levels)
    return exporter.quantize(graph, description, [resize(decode_image(image), (height, width)) for image in chosen])


def describe(
    info: CheckpointInfo, path: Path, options: ExportOptions = ExportOptions(), target: ExportTarget = ""
) -> Description:
    """What the exported file of a checkpoint says about it."""
    metrics = {name: round(value, 6) for name, value in info.scores.items()}
    return Description(
        version=__version__, task=info.task, net=info.backbone.name, labels=info.labels, size=info.size,
        mean=info.mean, std=info.std, thresholds=info.thresholds or (), levels=info.levels, tiles=info.tiles,
        raw=options.raw, resized=options.size is not None, metrics=metrics, dataset=info.dataset,
        checkpoint=digest_of(path),
        precision="int8" if options.int8 else "fp32", target=target,
        average=isinstance(info.model, SsdSpec) and info.model.neck == "pan",
    )  # fmt: skip


def _exporter(options: ExportOptions) -> Exporter:
    """The exporter of valid options, with its packages."""
    name, tolerance = options.format, options.tolerance
    if name not in EXPORTERS:
        hint = did_you_mean(name, EXPORTERS) or f"give one of {listed(EXPORTERS)}"
        raise ArgumentError(f"unknown export format {name!r}", hint=hint)
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise ArgumentError(f"tolerance is {tolerance}", hint="give a number from 0 to 1: `tolerance=0.01`")
    exporter = EXPORTERS[name]
    if options.target:
        if options.target not in TARGETS or name != "onnx":
            hint = f"give {listed(TARGETS, conjunction='or')}, with the format onnx"
            raise ArgumentError(f"unknown target {options.target!r} of the format {name}", hint=hint)
        exporter = TARGETS[options.target]
    if exporter.target and options.raw:
        hint = "leave out `raw=True`: boxes and scores of all anchors are what it writes"
        raise ArgumentError(f"{options.target or name} is not exported raw", hint=hint)
    if options.int8 and exporter.quantize is None:
        formats = listed((key for key, one in EXPORTERS.items() if one.quantize), conjunction="or")
        hint = f'use `vocdet.export(run, format="openvino", int8=True)`; the format is {formats}'
        raise ArgumentError(f"{options.target or name} is not exported in 8 bits", hint=hint)
    exporter.check_installed()
    if options.int8:
        need(exporter.quantizer, name)
    return exporter


def _name(options: ExportOptions) -> str:
    words = (
        options.target or options.format, str(options.size or ""), "raw" if options.raw else "",
        "int8" if options.int8 else "",
    )  # fmt: skip
    return "-".join(filter(None, words))


def _checked_on(run: Path, given: Source | None) -> tuple[Data | None, list[str]]:
    """The images to check on; none without the dataset of the run: a remark says why."""
    facts = read_run(run)
    trained = str(facts.recipe.get("data.split") or "train")
    if given:
        return _unseen(load_dataset(given), run, trained), []
    if not facts.data.get("root"):
        return None, ["checked on made images alone: the run does not name its dataset; use `data=dataset`"]
    labels = facts.data.get("label_list")
    record = {**facts.data, "labels": labels if isinstance(labels, str) else None, "skip_bad": True}
    try:
        return _unseen(load_dataset(Source.from_record(record)), run, trained), []
    except (VocdetError, KeyError, TypeError) as error:
        problem = error.problem if isinstance(error, VocdetError) else "its record is incomplete"
        root = facts.data["root"]
        return None, [
            f"checked on made images alone: the dataset {root} cannot be used ({problem}); use `data=dataset`"
        ]


def _unseen(loaded: Loaded, run: Path, trained: str) -> Data:
    """The images to check on: those of the validation, or of test if any of them was trained on."""
    splits, seen = loaded.dataset.splits, set(trained_rows(loaded.dataset, run).tolist())
    names = (validation_split(trained), "test")
    new = (name for name in names if len(rows := splits.get(name, ())) and seen.isdisjoint(rows))
    split = next(new, names[0])
    return Data(load_dataset(loaded, split=split), split, not seen.isdisjoint(loaded.dataset.rows(split)))


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A folder that appears when the block succeeds, also in place of an earlier export that nobody changed."""
    if not is_folder(folder) or not any(folder.iterdir()):
        with appearing(folder) as temporary:
            yield temporary
        return
    folder = Path(os.path.realpath(folder))  # a link stays one
    check_replaceable(folder)
    earlier, marker = OutputFiles(folder, KIND), read_marker(folder)
    if marker is None or marker.kind != KIND or not all(map(earlier.may_write, _exported_names(folder))):
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
    try:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".", ignore_cleanup_errors=True) as away:
            earlier_folder = folder.rename(Path(away) / "earlier")
            try:
                fresh.rename(folder)
            except BaseException:
                earlier_folder.rename(folder)
                raise
    except OSError as error:
        raise unwritable(folder, error) from error


def _exported_names(folder: Path) -> list[str]:
    """The files of an export, with forward slashes: all but those of an evaluation, and the marker."""
    ours = (MARKER, "metrics-*.json", "detections-*.json", "report-*.html", "plots-*")
    files = (path.relative_to(folder) for path in folder.rglob("*") if is_link(path) or not is_folder(path))
    return [file.as_posix() for file in files if not any(Path(file.parts[0]).match(name) for name in ours)]
