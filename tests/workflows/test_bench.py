"""Detectors side by side: their costs and their metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from tests.exporting.conftest import NET, exported
from vocdet.data.tiles import Tiles
from vocdet.errors import ArgumentError, CheckpointError, SplitError
from vocdet.formats.scan import Source
from vocdet.inference.bench import Latency, Work, noise
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.classifier import ClassifierSpec
from vocdet.models.rcnn.model import RcnnSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.runtimes.description import described
from vocdet.runtimes.onnx_file import read_onnx
from vocdet.workflows import bench_scores as module
from vocdet.workflows.bench import BenchOptions, Measurement, bench_runs, ratios
from vocdet.workflows.bench_candidates import candidates
from vocdet.workflows.bench_memory import measure, peak_memory
from vocdet.workflows.bench_scores import LatestScores
from vocdet.workflows.mobilenet_grid import mobilenet_grid

MakeVoc = Callable[..., Path]
LABELS = ("cat", "dog")
SCENES = {stem: [("cat", (5.0, 5.0, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 70.0))] for stem in "abcd"}


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc(SCENES, splits={"train": ["d"], "test": ["a", "b", "c"]})


@pytest.fixture
def ssd(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    about = CheckpointInfo(
        vocdet="0", model=SsdSpec(BackboneSpec("mb1", 0.25), LABELS, (64, 64), torchvision_anchors()), dataset="abc", scores={"ap50": 0.75, "ap": 0.5, "f1": 0.25},
    )  # fmt: skip
    save_checkpoint(tmp_path / "ssd-1" / "best.safetensors", build(about.model), about)
    return tmp_path / "ssd-1"


def test_the_work_on_tiles_is_that_of_all_of_them(tmp_path: Path) -> None:
    spec, runs = SsdSpec(NET, LABELS, (64, 64), torchvision_anchors()), []
    for name, tiles in (("plain", None), ("tiled", Tiles(64, 0.0, whole=False))):
        about = CheckpointInfo(vocdet="0", model=spec, tiles=tiles)
        save_checkpoint(tmp_path / name / "best.safetensors", build(spec), about)
        runs.append(tmp_path / name)
    plain, tiled = (one.work for one in candidates(runs, "torch", [noise((64, 192))], "cpu"))
    assert plain
    assert tiled
    assert tiled.macs == 3 * plain.macs


@pytest.fixture
def rcnn(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = RcnnSpec(BackboneSpec("mb1", 0.25), LABELS, size=64, longest=96, proposals=10, channels=16, hidden=32)
    about = CheckpointInfo(
        vocdet="0", model=spec, dataset="abc", scores={"ap50": 0.5, "ap": 0.25, "mask_ap50": 0.375, "mask_ap": 0.125},
    )  # fmt: skip
    save_checkpoint(tmp_path / "maskrcnn-1" / "best.safetensors", build(about.model), about)
    return tmp_path / "maskrcnn-1"


def test_without_data_detectors_are_timed_on_noise_with_training_metrics(ssd: Path, rcnn: Path) -> None:
    done = bench_runs([ssd, rcnn], BenchOptions(rounds=2, device="cpu"))
    first, second = done.runs
    assert (first.task, first.net, first.size) == ("ssd", "mb1-0.25", (64, 64))
    assert (second.task, second.net, second.size) == ("maskrcnn", "mb1-0.25", (64, 96))
    assert (done.pictures, done.rounds, done.device) == ("noise", 2, "cpu")
    assert first.bytes == (ssd / "best.safetensors").stat().st_size
    assert first.scores == LatestScores({"ap50": 0.75, "ap": 0.5}, "val, in training", 0, "abc")
    assert second.scores.metrics == {"ap50": 0.5, "ap": 0.25, "mask_ap50": 0.375, "mask_ap": 0.125}
    assert done.same_images
    assert all(0 < one.latency.median <= one.latency.p90 for one in done.runs)
    assert not list(ssd.glob("metrics*"))  # nothing was evaluated


def test_the_last_evaluation_takes_precedence_over_the_training(ssd: Path, rcnn: Path) -> None:
    for i, (split, ap) in enumerate((("val", 0.1), ("test", 0.2))):
        block = {"overall": {"ap50": ap, "ap": ap}}
        text = {"split": split, "dataset": "xyz", "images": 9, "labels": [], **block, "masks": block}
        path = rcnn / f"metrics-{split}.json"
        path.write_text(json.dumps(text))
        later = (rcnn / "best.safetensors").stat().st_mtime + 10 * (i + 1)
        os.utime(path, (later, later))
    done = bench_runs([ssd, rcnn], BenchOptions(rounds=1, device="cpu"))
    metrics: dict[str, float | None] = {"ap50": 0.2, "ap": 0.2, "mask_ap50": 0.2, "mask_ap": 0.2}
    assert done.runs[1].scores == LatestScores(metrics, "test", 9, "xyz")
    assert not done.same_images  # one of the training's validation, one of test
    os.utime(rcnn / "metrics-test.json", (0, 0))  # it was trained on since
    assert bench_runs([rcnn], BenchOptions(rounds=1, device="cpu")).runs[0].scores.split == "val"
    (rcnn / "metrics-val.json").write_text("{")
    assert bench_runs([rcnn], BenchOptions(rounds=1, device="cpu")).runs[0].scores.split == "val, in training"


def test_with_data_detectors_are_evaluated_on_the_split_once(
    ssd: Path, rcnn: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = bench_runs([ssd, rcnn], BenchOptions(rounds=4, device="cpu"), data=Source(root))
    assert done.pictures == "3 images of test"
    for run, one in zip((ssd, rcnn), done.runs, strict=True):
        written = json.loads((run / "metrics-test.json").read_text())
        assert one.scores.metrics == {"ap50": written["overall"]["ap50"], "ap": written["overall"]["ap"]}
        assert (one.scores.split, one.scores.images, one.scores.dataset) == ("test", 3, written["dataset"])
    assert done.same_images

    def again(*args: object, **kwargs: object) -> None:
        raise AssertionError("it is known")

    monkeypatch.setattr(module, "evaluate_run", again)
    assert (
        bench_runs([ssd, rcnn], BenchOptions(rounds=1, device="cpu"), data=Source(root)).runs[1].scores
        == done.runs[1].scores
    )
    with pytest.raises(AssertionError, match="it is known"):  # on another split it is not
        bench_runs([ssd], BenchOptions(split="train", rounds=1, device="cpu"), data=Source(root))


def test_metrics_of_another_checkpoint_in_the_folder_are_not_used(ssd: Path, root: Path) -> None:
    bench_runs([ssd], BenchOptions(rounds=1, device="cpu"), data=Source(root))
    (ssd / "last.safetensors").write_bytes((ssd / "best.safetensors").read_bytes())
    bench_runs([ssd / "last.safetensors"], BenchOptions(rounds=1, device="cpu"), data=Source(root))
    assert json.loads((ssd / "metrics-test.json").read_text())["checkpoint"] == "last.safetensors"
    assert bench_runs([ssd], BenchOptions(rounds=1, device="cpu")).runs[0].scores.split == "val, in training"


def test_everything_is_written_as_json(ssd: Path, rcnn: Path, tmp_path: Path) -> None:
    bench_runs([ssd, rcnn], BenchOptions(rounds=1, device="cpu"), json=tmp_path / "out" / "bench.json")
    content = json.loads((tmp_path / "out" / "bench.json").read_text())
    first, second = content["runs"]
    assert first["ratios"] == {"median": 1, "p90": 1, "bytes": 1, "parameters": 1, "macs": 1}
    assert second["ratios"]["bytes"] == pytest.approx(second["bytes"] / first["bytes"])
    assert second["ratios"]["macs"] == pytest.approx(second["work"]["macs"] / first["work"]["macs"])
    assert content["environment"]["threads"] == torch.get_num_threads()


def test_ratios_are_multiples_of_the_first() -> None:
    scores = LatestScores({}, "", 0, "")
    first = Measurement("a", "ssd", "mb1", (8, 8), Latency(10, 20), 1000, Work(500, 100), scores)
    second = Measurement("b", "ssd", "mb1", (8, 8), Latency(40, 30), 100, Work(0, 250), scores)
    assert ratios(second, first) == {"median": 4, "p90": 1.5, "bytes": 0.1, "parameters": 2.5, "macs": 0}
    assert ratios(first, second).keys() == {"median", "p90", "bytes", "parameters"}  # of nothing there is no multiple


def test_a_run_that_is_not_a_detector_is_an_error(ssd: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no run to measure"):
        bench_runs([])
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        bench_runs([tmp_path])
    with pytest.raises(SplitError, match="no split 'val'"):
        bench_runs([ssd], BenchOptions(split="val"), data=Source(root))
    about = CheckpointInfo(vocdet="0", model=ClassifierSpec(BackboneSpec("mb1", 0.25), LABELS, 64))
    save_checkpoint(tmp_path / "backbone-1" / "best.safetensors", build(about.model), about)
    with pytest.raises(CheckpointError, match="is a classifier, not a detector"):
        bench_runs([tmp_path / "backbone-1"])


def test_a_run_and_its_exports_are_side_by_side(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SsdSpec(NET, LABELS, (64, 96), torchvision_anchors())
    model, onnx = exported(spec, "ssd", tmp_path_factory, (0.3, 0.6))
    run = tmp_path / "ssd-1"
    save_checkpoint(run / "best.safetensors", model, CheckpointInfo(vocdet="0", model=spec))
    folder = run / "exports" / "onnx"
    folder.mkdir(parents=True)
    (folder / "export.json").write_text("{}")
    (folder / "model.onnx").write_bytes(onnx.read_bytes())
    about = described(read_onnx(onnx)[1], onnx)
    monkeypatch.setattr("vocdet.workflows.detector.digest_of", lambda _: about.checkpoint)
    monkeypatch.setattr("vocdet.workflows.bench.peak_memory", lambda target, _: len(str(target)))
    done = bench_runs([run, folder], BenchOptions(rounds=1, device="cpu", backend="all", full=True))
    own, beside, named = done.runs
    assert [(one.name, one.backend) for one in done.runs] == [
        ("ssd-1", "torch"), ("ssd-1 onnx", "onnx"), ("onnx", "onnx"),
    ]  # fmt: skip
    assert beside.work == own.work
    assert named.work is None  # of a file alone the layers are unknown
    assert beside.bytes == (folder / "model.onnx").stat().st_size
    for one in done.runs:
        assert one.details
        assert one.details.file is None  # without a dataset
        assert one.details.network
        assert min(one.details.network.median, one.details.one_thread.median, one.details.batch.median) > 0
    assert own.details
    assert own.details.memory == len(str(run / "best.safetensors"))


def test_a_model_of_torchvision_has_its_published_precision(ssd: Path, tmp_path: Path) -> None:
    options = BenchOptions(rounds=1, device="cpu", torchvision=("ssdlite320_mobilenet_v3_large",))
    done = bench_runs([ssd], options, plot=tmp_path / "plot.png")
    other = done.runs[1]
    assert other.scores.metrics == {"ap": 0.213}  # torchvision's documentation
    assert other.work
    assert other.work.parameters == 3_440_060
    assert other.work.macs == pytest.approx(583e6, rel=0.05)
    assert not done.same_images
    image = cv2.imread(str(tmp_path / "plot.png"))
    assert image is not None
    assert image.shape == (650, 1000, 3)
    with pytest.raises(ArgumentError, match="torchvision has no detector 'ssd3000_vgg16'") as caught:
        bench_runs([], BenchOptions(torchvision=("ssd3000_vgg16",)))
    assert "ssd300_vgg16" in caught.value.hint


def test_the_memory_is_that_of_the_process(ssd: Path) -> None:
    assert int(measure(str(ssd / "best.safetensors"), "64", "64")) > 50e6
    assert peak_memory(ssd / "missing.onnx", noise((8, 8))) == 0


def test_the_grid_of_mobilenets_costs_what_its_paper_says() -> None:
    cells = mobilenet_grid(rounds=1, widths=(1.0, 0.25), sides=(224, 128))
    millions = [(one.width, one.side, round(one.macs / 1e6), round(one.parameters / 1e6, 1)) for one in cells]
    # Howard et al. 2017, tables 6 and 7
    assert millions == [(1, 224, 569, 4.2), (1, 128, 186, 4.2), (0.25, 224, 41, 0.5), (0.25, 128, 14, 0.5)]
    assert all(one.latency for one in cells)
