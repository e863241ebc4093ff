"""`vocdet demo`: the whole way, small, and no further than it goes well."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vocdet.training.loop import Step
from vocdet.workflows import train_backbone

Run = Callable[..., tuple[int, str, str]]
TINY = ("--images", 10, "--labels", 2, "--minutes", 0.1, "--net", "mb1-0.25", "--size", 64)
WAY = ["check", "split", "train-backbone", "train-ssd", "eval"]


def commands(out: str) -> list[str]:
    """The commands that were printed before they ran."""
    return [line.split()[2] for line in out.splitlines() if line.startswith("$ vocdet ")]


def test_the_demo_runs_end_to_end(vocdet: Run) -> None:
    code, out, err = vocdet("demo", "x", *TINY)
    assert (code, "error" in err) == (0, False)
    assert commands(out) == WAY
    assert "generated 10 images" in out
    assert "the demo took" in out
    with Image.open("x/detections.jpg") as sheet:
        assert sheet.format == "JPEG"
    (run,) = Path("x/runs").glob("ssd-*")
    figures = json.loads((run / "metrics-test.json").read_text())
    assert figures["images"] == 2
    assert len(list(Path("x/train/JPEGImages").iterdir())) == 10


def test_the_demo_overwrites_no_files(vocdet: Run) -> None:
    Path("x/train").mkdir(parents=True)
    code, out, err = vocdet("demo", "x", *TINY)
    assert (code, commands(out)) == (1, [])
    assert "exists already" in err
    assert list(Path("x").iterdir()) == [Path("x/train")]


def test_an_interrupt_ends_the_demo(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = train_backbone.backbone_events

    def interrupted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for event in real(*args, **kwargs):
            if isinstance(event, Step):
                signal.raise_signal(signal.SIGINT)
            yield event

    monkeypatch.setattr(train_backbone, "backbone_events", interrupted)
    code, out, _ = vocdet("demo", "x", *TINY)
    assert code == 130
    assert commands(out) == WAY[:3]
    assert "the demo took" not in out


def test_the_demo_never_downloads(vocdet: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOCDET_OFFLINE")
    switches: list[str | None] = []
    monkeypatch.setattr("vocdet_cli.demo._run", lambda *_: switches.append(os.environ.get("VOCDET_OFFLINE")))
    code, _, _ = vocdet("demo", "x", *TINY)
    assert (code, switches) == (0, ["1"] * len(WAY))
    assert "VOCDET_OFFLINE" not in os.environ
