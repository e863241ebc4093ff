"""`vocdet eval`: what it prints and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from vocdet.models.anchors import torchvision_anchors
from vocdet.models.backbone import BackboneSpec
from vocdet.models.checkpoint import About, build, save_checkpoint

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
BOTH = [("cat", (5.0, 5.0, 40.0, 50.0)), ("[red]dog", (50.0, 10.0, 90.0, 70.0))]


def save_run(run: Path, *labels: str) -> Path:
    """A detector that has learned nothing."""
    torch.manual_seed(0)
    about = About(
        vocdet="0", task="ssd", backbone=BackboneSpec("mb1", 0.25), labels=labels, size=(64, 64),
        mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), anchors=torchvision_anchors(),
    )  # fmt: skip
    save_checkpoint(run / "best.safetensors", build(about), about)
    return run


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc({"a": BOTH, "b": BOTH[:1], "c": []}, parts={"test": ["a", "b", "c"]})


def test_every_label_has_its_figures(vocdet: Run, root: Path) -> None:
    run = save_run(Path("runs", "ssd-mb1-0.25-1"), "[red]dog", "cat")
    code, out, err = vocdet("eval", "--data", root, "--device", "cpu", "--picture", "sheet.png")
    assert (code, "error" in err) == (0, False)
    assert "runs/ssd-mb1-0.25-1 on test: 3 images" in out  # the newest run, unasked
    lines = [line.split() for line in out.splitlines()]
    assert [line[:2] for line in lines if line[:1] in (["[red]dog"], ["cat"], ["all"])][:3] == [
        ["[red]dog", "1"], ["cat", "2"], ["all", "3"],
    ]  # fmt: skip
    for word in ("AP50", "precision", "recall", "F1", "missed", "COCO:", "AR100"):
        assert word in out
    assert f"wrote {run / 'metrics-test.json'} and {run / 'detections-test.json'}" in out
    assert f"next: vocdet predict {run}" in out
    assert json.loads((run / "metrics-test.json").read_text())["images"] == 3
    with Image.open("sheet.png") as sheet:
        assert sheet.format == "PNG"


def test_a_label_that_was_never_learned_is_a_warning(vocdet: Run, root: Path) -> None:
    code, _, err = vocdet("eval", save_run(Path("mine"), "cat"), "--data", root, "--device", "cpu")
    assert code == 0
    assert "warning: the detector never learned [red]dog: their objects count as missed" in err


def test_it_works_on_the_folder_one_is_in(vocdet: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = save_run(Path("mine").resolve(), "cat", "[red]dog")
    monkeypatch.chdir(root)
    assert vocdet("eval", run, "--device", "cpu")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--data", "{root}"), "runs: there is no ssd run in it"),
        (("nothing", "--data", "{root}"), "nothing: there is no such checkpoint"),
        (("{run}", "--data", "{root}", "--split", "val"), "there is no val.txt"),
        (("{run}", "--data", "empty"), "empty: "),
        (("{run}", "--data", "{root}", "--device", "tpu"), "there is no device 'tpu'"),
    ],
)
def test_what_is_missing_is_one_message_with_a_cure(
    vocdet: Run, root: Path, arguments: tuple[str, ...], problem: str
) -> None:
    run = save_run(Path("mine"), "cat", "[red]dog")
    code, out, err = vocdet("eval", *(a.format(root=root, run=run) for a in arguments))
    assert (code, out) == (1, "")
    assert problem in err
    assert err.count("error:") == err.count("hint:") == 1
