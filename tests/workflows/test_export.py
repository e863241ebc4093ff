"""An export appears when it equals its model, and not at all otherwise."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from tests.exporting.conftest import LABELS, NET, lively
from tests.exporting.conftest import ssd as ssd
from vocdet.errors import ArgumentError, CheckpointError, DependencyError, ExportError, OutputError
from vocdet.exporting.formats import EXPORTERS
from vocdet.exporting.graphs import Graph, graph_of
from vocdet.formats.scan import Source
from vocdet.inputs.images import Image, decode, resize
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.classifier import ClassifierSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.runs.image_record import write_image_digests
from vocdet.runtimes.description import Description
from vocdet.workflows.export import ExportOptions, export_run
from vocdet.workflows.export_check import check_outputs
from vocdet.workflows.load import load_dataset

SPEC = SsdSpec(NET, LABELS, (64, 96), torchvision_anchors())


@pytest.fixture
def run(tmp_path: Path, ssd: tuple[nn.Module, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose export is at hand."""
    about = CheckpointInfo(vocdet="0", model=SPEC, thresholds=(0.3, 0.6), scores={"ap50": 0.75})
    save_checkpoint(tmp_path / "run" / "best.safetensors", ssd[0], about)
    written = replace(EXPORTERS["onnx"], write=lambda *_: {"model.onnx": ssd[1].read_bytes()})
    monkeypatch.setitem(EXPORTERS, "onnx", written)
    return tmp_path / "run"


def test_an_export_brings_all_that_its_user_needs(run: Path) -> None:
    result = export_run(run)
    assert result.folder == run / "exports" / "onnx"
    names = {path.name for path in result.folder.iterdir()} - {".vocdet.json"}
    assert names == {"model.onnx", "labels.txt", "README.md", "export.json", "detect.py"}
    assert (result.folder / "labels.txt").read_text() == "cat\ndog\n"
    assert result.check
    assert result.check.difference.detections > 10
    assert result.check.difference.missing == 0
    assert result.check.difference.boxes < 0.1
    assert result.remarks == ("checked on made images alone: the run does not name its dataset; use `data=dataset`",)
    report = json.loads((result.folder / "export.json").read_text())
    assert report["description"]["thresholds"] == [0.3, 0.6]
    assert report["check"]["difference"]["missing"] == 0
    _, front, body = (result.folder / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "object-detection"
    assert "2 labels: cat, dog" in body
    assert "| dog | 0.600 |" in body
    assert "ap50 0.750" in body


@pytest.mark.parametrize("splits", [("val",), ("val", "test")])
def test_metrics_are_of_images_that_were_not_trained_on(
    run: Path, make_voc: Callable[..., Path], splits: tuple[str, ...]
) -> None:
    boxes = {name: [("cat", (5, 5, 50, 50))] for name in ("train", "val", "test")}
    data = Source(make_voc(boxes, splits={name: [name] for name in ("train", *splits)}))
    dataset = load_dataset(data).dataset
    export_run(run, data=data)
    assert "On the val split, 1 image, by the rules of COCO" in card_of(run)
    write_image_digests(run, LABELS, {"train": dataset.subset(dataset.rows("trainval"))})
    result = export_run(run, data=data)
    assert result.check
    assert (result.check.split, result.check.trained_on) == (splits[-1], "test" not in splits)
    assert ("On the test split" in card_of(run)) == ("test" in splits)
    assert ("model-index" in card_of(run)) == ("test" in splits)


def card_of(run: Path) -> str:
    return (run / "exports" / "onnx" / "README.md").read_text()


def test_a_second_export_replaces_the_first_unless_a_user_changed_it(run: Path) -> None:
    folder = export_run(run).folder
    for name in ("metrics-test.json", "report-test.html"):  # of an evaluation
        (folder / name).write_text("{}")
    assert export_run(run).folder == folder
    (folder / "labels.txt").write_text("my own words")
    with pytest.raises(OutputError, match="an export that was changed since"):
        export_run(run)
    assert (folder / "labels.txt").read_text() == "my own words"


def test_a_second_export_replaces_the_target_of_a_link_and_folders_in_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = EXPORTERS["coreml"]
    package = replace(about, check_installed=lambda: None, write=lambda *_: dict.fromkeys(about.files, b"x"))
    monkeypatch.setitem(EXPORTERS, "coreml", package)
    link = run / "exports" / "coreml"
    export_run(run, ExportOptions("coreml"), out=tmp_path / "elsewhere")
    link.parent.mkdir()
    link.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "metrics-val.json").write_text("{}")
    assert export_run(run, ExportOptions("coreml")).file == link / "model.mlpackage"
    assert link.is_symlink()
    assert not (tmp_path / "elsewhere" / "metrics-val.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "run"]
    (link / "model.mlpackage" / "notes.txt").write_text("my own words")
    with pytest.raises(OutputError, match="an export that was changed since"):
        export_run(run, ExportOptions("coreml"))


def test_the_current_folder_is_not_replaced_by_an_export(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(export_run(run).folder)
    with pytest.raises(OutputError, match="is the current folder, which cannot be replaced"):
        export_run(run, out=Path())


def test_an_export_is_not_exported_again(run: Path) -> None:
    folder = export_run(run).folder
    for path in (folder, folder / "model.onnx"):
        with pytest.raises(CheckpointError, match="is an export already"):
            export_run(path)


def test_an_export_that_differs_from_its_model_never_appears(run: Path) -> None:
    other = lively(SPEC)
    nn.init.normal_(next(iter(other.parameters())))
    save_checkpoint(run / "best.safetensors", other, CheckpointInfo(vocdet="0", model=SPEC))
    with pytest.raises(ExportError, match=r"differs by more than 0\.01: a score by") as caught:
        export_run(run)
    assert "`tolerance=" in caught.value.hint
    assert not (run / "exports").exists()


def test_a_full_disk_leaves_nothing_behind(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vocdet.files.os.fsync", full)
    monkeypatch.setattr("vocdet.outputs.write_bytes", full)
    with pytest.raises(OutputError, match="no space left on device") as caught:
        export_run(run)
    assert "free some space" in caught.value.hint
    assert not (run / "exports").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (ExportOptions("onyx"), "unknown export format 'onyx'"), (ExportOptions(tolerance=2.0), "tolerance is 2"),
        (ExportOptions(size=5), "a size of 5 pixels"), (ExportOptions(int8=True), "onnx is not exported in 8 bits"),
        (ExportOptions("web", int8=True), "web is not exported in 8 bits"),
        (ExportOptions("ncnn", int8=True), "ncnn is not exported in 8 bits"),
        (ExportOptions(target="tensorrt", int8=True), "tensorrt is not exported in 8 bits"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused_before_anything_is_written(
    run: Path, options: ExportOptions, problem: str
) -> None:
    with pytest.raises(ArgumentError, match=problem) as caught:
        export_run(run, options)
    if options.int8:
        assert "the format is openvino, litert or executorch" in caught.value.hint
    assert not (run / "exports").exists()


def test_8_bits_are_calibrated_on_training_images_at_the_size_of_the_input(
    run: Path, make_voc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Image] = []

    def quantized(graph: Graph, description: Description, images: Sequence[Image]) -> dict[str, bytes]:
        assert (graph.outputs, description.precision) == (("boxes", "scores"), "int8")
        seen.extend(images)
        return {"model.tflite": b"in 8 bits"}

    about = replace(EXPORTERS["litert"], check_installed=lambda: None, load=None, quantize=quantized, quantizer="numpy")
    monkeypatch.setitem(EXPORTERS, "litert", about)
    monkeypatch.setattr("vocdet.workflows.export.CALIBRATION", 3)
    with pytest.raises(ArgumentError, match="the dataset of the run is missing") as caught:
        export_run(run, ExportOptions("litert", int8=True))
    assert "`data=dataset`" in caught.value.hint
    stems = [f"a{i}" for i in range(6)]
    boxes = {stem: [("cat", (5, 5, 50, 50))] for stem in stems}
    data = Source(make_voc(boxes, splits={"train": stems[:4], "val": stems[4:]}))
    result = export_run(run, ExportOptions("litert", int8=True), data=data)
    assert result.folder == run / "exports" / "litert-int8"
    assert [one.shape for one in seen] == [(64, 96, 3)] * 3
    training = [resize(decode(data.path / "JPEGImages" / f"{stem}.jpg"), (64, 96)) for stem in stems[:4]]
    assert all(any(np.array_equal(one, other) for other in training) for one in seen)
    assert result.file.read_bytes() == b"in 8 bits"
    assert "on mb1-0.25, in 8 bits, that knows" in (result.folder / "README.md").read_text()
    monkeypatch.setitem(EXPORTERS, "litert", replace(about, quantizer="no_such_package"))
    with pytest.raises(DependencyError, match="no_such_package is not installed"):
        export_run(run, ExportOptions("litert", int8=True), data=data)


def test_a_classifier_is_compared_by_its_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ClassifierSpec(NET, LABELS, size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    model, about = build(spec).eval(), CheckpointInfo(vocdet="0", model=spec)
    save_checkpoint(tmp_path / "run" / "best.safetensors", model, about)
    graph = graph_of(model, about).module

    def other(by: float) -> None:
        def run(image: Image) -> list[NDArray[np.float32]]:
            return [graph(torch.from_numpy(image))[0].numpy() + np.float32(by)]

        made = replace(EXPORTERS["onnx"], write=lambda *_: {"model.onnx": b""}, runner=lambda *_: run)
        monkeypatch.setitem(EXPORTERS, "onnx", made)

    other(0.02)
    with pytest.raises(ExportError, match=r"an output by 0\.02"):
        export_run(tmp_path / "run")
    assert not (tmp_path / "run" / "exports" / "onnx").exists()
    other(0.002)
    result = export_run(tmp_path / "run")
    assert result.apart == pytest.approx(0.002, rel=1e-3)
    assert (result.check, result.remarks) == (None, ())
    assert json.loads((result.folder / "export.json").read_text())["apart"] == result.apart


def test_outputs_that_are_not_numbers_are_refused() -> None:
    graph: Any = SimpleNamespace(module=lambda image: [torch.zeros(3)])
    with pytest.raises(ExportError, match="outputs that are not numbers"):
        check_outputs(graph, lambda image: [np.array([0.0, np.nan, 0.0])], tolerance=0.01)
