"""Detectors side by side: their costs and their metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vocdet.errors import ArgumentError, CheckpointError, SplitError
from vocdet.formats.scan import Source
from vocdet.inference.bench import Latency, Work
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.classifier import ClassifierSpec
from vocdet.models.rcnn.model import RcnnSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.workflows import bench as module
from vocdet.workflows.bench import LatestScores, Measurement, bench_runs, ratios

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
    done = bench_runs([ssd, rcnn], rounds=2, device="cpu")
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
    done = bench_runs([ssd, rcnn], rounds=1, device="cpu")
    metrics: dict[str, float | None] = {"ap50": 0.2, "ap": 0.2, "mask_ap50": 0.2, "mask_ap": 0.2}
    assert done.runs[1].scores == LatestScores(metrics, "test", 9, "xyz")
    assert not done.same_images  # one of the training's validation, one of test
    os.utime(rcnn / "metrics-test.json", (0, 0))  # it was trained on since
    assert bench_runs([rcnn], rounds=1, device="cpu").runs[0].scores.split == "val"
    (rcnn / "metrics-val.json").write_text("{")
    assert bench_runs([rcnn], rounds=1, device="cpu").runs[0].scores.split == "val, in training"


def test_with_data_detectors_are_evaluated_on_the_split_once(
    ssd: Path, rcnn: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = bench_runs([ssd, rcnn], data=Source(root), rounds=4, device="cpu")
    assert done.pictures == "3 images of test"
    for run, one in zip((ssd, rcnn), done.runs, strict=True):
        written = json.loads((run / "metrics-test.json").read_text())
        assert one.scores.metrics == {"ap50": written["overall"]["ap50"], "ap": written["overall"]["ap"]}
        assert (one.scores.split, one.scores.images, one.scores.dataset) == ("test", 3, written["dataset"])
    assert done.same_images

    def again(*args: object, **kwargs: object) -> None:
        raise AssertionError("it is known")

    monkeypatch.setattr(module, "evaluate_run", again)
    assert bench_runs([ssd, rcnn], data=Source(root), rounds=1, device="cpu").runs[1].scores == done.runs[1].scores
    with pytest.raises(AssertionError, match="it is known"):  # on another split it is not
        bench_runs([ssd], data=Source(root), split="train", rounds=1, device="cpu")


def test_metrics_of_another_checkpoint_in_the_folder_are_not_used(ssd: Path, root: Path) -> None:
    bench_runs([ssd], data=Source(root), rounds=1, device="cpu")
    (ssd / "last.safetensors").write_bytes((ssd / "best.safetensors").read_bytes())
    bench_runs([ssd / "last.safetensors"], data=Source(root), rounds=1, device="cpu")
    assert json.loads((ssd / "metrics-test.json").read_text())["checkpoint"] == "last.safetensors"
    assert bench_runs([ssd], rounds=1, device="cpu").runs[0].scores.split == "val, in training"


def test_everything_is_written_as_json(ssd: Path, rcnn: Path, tmp_path: Path) -> None:
    bench_runs([ssd, rcnn], rounds=1, device="cpu", json=tmp_path / "out" / "bench.json")
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
        bench_runs([ssd], data=Source(root), split="val")
    about = CheckpointInfo(vocdet="0", model=ClassifierSpec(BackboneSpec("mb1", 0.25), LABELS, 64))
    save_checkpoint(tmp_path / "backbone-1" / "best.safetensors", build(about.model), about)
    with pytest.raises(CheckpointError, match="is a classifier, not a detector"):
        bench_runs([tmp_path / "backbone-1"])
