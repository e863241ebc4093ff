"""`vocdet bench`: the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vocdet.inference.bench import Latency, Work
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.workflows import bench as module
from vocdet.workflows.bench import Bench, Details, Measurement
from vocdet.workflows.bench_scores import LatestScores
from vocdet.workflows.mobilenet_grid import GridCell

Run = Callable[..., tuple[int, str, str]]
TEACHER = Measurement(
    "runs/maskrcnn-resnet50-1", "maskrcnn", "resnet50", (512, 512), Latency(1020.04, 1100), 245_000_000,
    Work(115_000_000_000, 44_000_000), LatestScores({"ap50": 0.9, "ap": 0.6, "mask_ap50": 0.8, "mask_ap": 0.5}, "test", 30, "x"),
)  # fmt: skip
PUPIL = Measurement(
    "runs/ssd-mb1-1", "ssd", "mb1", (320, 320), Latency(102.004, 220), 24_500_000, Work(1_150_000_000, 4_400_000),
    LatestScores({"ap50": 0.7, "ap": 0.65}, "val", 0, ""),
)  # fmt: skip


def run_in(folder: Path) -> Path:
    torch.manual_seed(0)
    about = CheckpointInfo(
        vocdet="0", model=SsdSpec(BackboneSpec("mb1", 0.25), ("cat",), (64, 64), torchvision_anchors()), scores={"ap50": 0.75, "ap": 0.5},
    )  # fmt: skip
    save_checkpoint(folder / "best.safetensors", build(about.model), about)
    return folder


def test_costs_are_multiples_of_the_first_and_scores_differences(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Bench((TEACHER, PUPIL), "30 images of test", 30, "cpu", {"threads": 2})
    monkeypatch.setattr(module, "bench_runs", lambda *args, **kwargs: found)
    for one in (TEACHER, PUPIL):
        run_in(Path(one.run))
    code, out, err = vocdet("bench", TEACHER.run, PUPIL.run, "--data", ".")
    assert code == 0
    assert "30 images each in rotation (30 images of test) on cpu, 2 threads" in out
    rows = {line[:20].strip(): line[20:].split() for line in out.splitlines()}
    assert rows["ms an image, median"] == ["1020.0", "102.0", "(×0.10)"]
    assert rows["ms an image, 90 %"] == ["1100.0", "220.0", "(×0.20)"]
    assert rows["MB on disk"] == ["245.0", "24.5", "(×0.10)"]
    assert rows["M parameters"] == ["44.00", "4.40", "(×0.10)"]
    assert rows["G multiply-adds"] == ["115.00", "1.15", "(×0.01)"]
    assert rows["AP"] == ["0.600", "0.650", "(+0.050)"]
    assert rows["AP50"] == ["0.900", "0.700", "(−0.200)"]
    assert rows["mask AP"] == ["0.500", "–"]
    assert "test: 30 images" in out
    assert "were evaluated on different images" in err


def test_details_and_backends_have_rows_of_their_own(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    more = Details(None, Latency(3.04, 4), Latency(9, 10), Latency(5, 6), 123_400_000)
    exported = replace(PUPIL, name="one openvino-int8", backend="openvino int8", work=None, details=more)
    found = Bench((replace(PUPIL, name="one", details=more), exported), "noise", 30, "cpu", {})
    monkeypatch.setattr(module, "bench_runs", lambda *args, **kwargs: found)
    code, out, _ = vocdet("bench", "--torchvision", "ssd300_vgg16", "--full")
    assert code == 0
    rows = {line[:20].strip(): line[20:].split() for line in out.splitlines()}
    assert rows["backend"] == ["torch", "openvino", "int8"]
    assert rows["M parameters"] == ["4.40", "–"]
    assert rows["ms from a file"] == ["–", "–"]
    assert rows["ms, network alone"] == ["3.0", "(90", "%:", "4.0)"] * 2
    assert rows["MB of memory"] == ["123", "123"]


def test_the_grid_is_a_table_of_its_own(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = GridCell(0.5, 160, 77_000_000, 1_330_000, Latency(4.5, 6))
    monkeypatch.setattr("vocdet.workflows.mobilenet_grid.mobilenet_grid", lambda **_: [cell])
    code, out, _ = vocdet("bench", "--table", "mobilenet")
    assert code == 0
    assert ["0.5", "160×160", "77", "1.33", "4.5", "6.0"] in [line.split() for line in out.splitlines()]


@pytest.mark.parametrize("other", [("one",), ("--json", "a.json"), ("--data", "."), ("--full",)])
def test_the_grid_takes_nothing_that_it_would_not_use(vocdet: Run, other: tuple[str, ...]) -> None:
    code, _, err = vocdet("bench", *other, "--table", "mobilenet", "--images", "1")
    assert code == 2
    assert "cannot be combined" in err


def test_runs_are_measured_by_name(vocdet: Run) -> None:
    run_in(Path("mine/one"))
    code, out, err = vocdet(
        "bench", "one", "mine/one/best.safetensors", "--runs", "mine", "--images", "1", "--device", "cpu", "--json", "b.json"
    )  # fmt: skip
    assert code == 0
    assert "Saved b.json" in out
    assert "timed on noise" in err
    assert "different images" not in err
    content = json.loads(Path("b.json").read_text())
    assert [one["scores"]["metrics"] for one in content["runs"]] == [{"ap50": 0.75, "ap": 0.5}] * 2


@pytest.mark.parametrize(("arguments", "problem"), [(("nothing",), "nothing: no such run"), ((".",), "not a run")])
def test_a_folder_that_is_not_a_run_is_an_error(vocdet: Run, arguments: tuple[str, ...], problem: str) -> None:
    code, out, err = vocdet("bench", *arguments)
    assert (code, out) == (1, "")
    assert problem in err
