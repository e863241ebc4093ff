"""`vocdet predict` and `vocdet live` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from vocdet_cli.app import app

from vocdet.data.detections import Detections
from vocdet.errors import OutputError, VocdetError
from vocdet.inference.frames import MediaSource
from vocdet.inference.tiled import TileChoice
from vocdet.inference.tracking import Line, VideoOptions
from vocdet.outputs import write_marker
from vocdet.workflows import live as watching
from vocdet.workflows import predict as workflow
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.live import LiveFrame
from vocdet.workflows.predict import Prediction

OPENED = DetectorOptions(backend="torch")  # the run has no export
REST = {"also": [], "force": False, "videos": VideoOptions()}  # what predict gets without options
FOUND = Detections(np.array([[0.0, 0, 5, 5]]), np.array([0.9], np.float32), np.array([0]))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The calls of the library, which a fake answers with two images or three frames."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def predict(*args: Any, **kwargs: Any) -> Iterator[Prediction]:
        calls.append((args, kwargs))
        source = MediaSource("image", "a.png", "a.png")
        for done in (1, 2):
            yield Prediction(source, 0, FOUND, done, 2, kwargs["out"] / "a.jpg")

    def live(*args: Any, **kwargs: Any) -> Iterator[LiveFrame]:
        calls.append((args, kwargs))
        for number in range(3):
            yield LiveFrame(number, FOUND, 24.0)

    monkeypatch.setattr(workflow, "predict", predict)
    monkeypatch.setattr(watching, "live", live)
    monkeypatch.setattr(workflow, "_newest", lambda runs: runs / "newest")
    return calls


def run_in(folder: Path) -> Path:
    run = folder / "ssd-mb3-small-1"
    run.mkdir()
    (run / "best.safetensors").touch()
    return run


def vocdet(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def test_predict_takes_the_newest_run_and_names_its_output(calls: list[Any]) -> None:
    code, text = vocdet("predict", "a.png", "b")
    assert code == 0
    assert text.startswith(
        "Detected 2 objects in 2 images with runs/newest. Saved to found next: vocdet live runs/newest"
    )
    assert calls[0][0] == (Path("runs/newest"), ["a.png", "b"])
    assert calls[0][1] == {"out": Path("found"), "options": OPENED} | REST


@pytest.mark.parametrize("name", ["", "best.safetensors"])
def test_predict_takes_a_run_or_checkpoint_given_first(calls: list[Any], tmp_path: Path, name: str) -> None:
    run = run_in(tmp_path) / name
    assert vocdet("predict", str(run), "a.png", "--score", "0.3", "--batch", "2", "--device", "cpu",
                  "--voc", "--csv", "--frames", "9", "--tile", "640", "--overlap", "0.3", "--no-whole", "--count", "0.5,0,0.5,1")[0] == 0  # fmt: skip
    assert calls[0][0] == (run, ["a.png"])
    assert calls[0][1] == {
        "out": Path("found"),
        "options": DetectorOptions("cpu", "torch", TileChoice(640, 0.3, whole=False), score=0.3, batch=2),
        "videos": VideoOptions(line=Line(0.5, 0, 0.5, 1), frames=9),
        "also": ["voc", "csv"],
        "force": False,
    }


def test_predict_without_a_source_is_a_usage_error(calls: list[Any], tmp_path: Path) -> None:
    code, text = vocdet("predict", str(run_in(tmp_path)))
    assert code == 2
    assert "give an image, a folder or a video" in text
    assert not calls


@pytest.mark.parametrize("option", ["--voc", "--frames=2", "--track", "--count=0,0,1,1", "--force"])
def test_annotations_to_correct_have_no_other_results(calls: list[Any], tmp_path: Path, option: str) -> None:
    code, text = vocdet("predict", str(run_in(tmp_path)), "photos", "--to-annotate", option)
    assert code == 2
    assert "cannot be combined" in text
    assert not calls


def test_live_shows_the_first_camera_by_default(calls: list[Any]) -> None:
    code, text = vocdet("live")
    assert code == 0
    assert text == "Showed 3 frames, 24.0 fps at the end"
    assert calls[0] == (
        (Path("runs/newest"), "0"),
        {"save": None, "options": OPENED, "videos": VideoOptions(), "force": False},
    )


def test_live_refuses_an_address_without_a_page(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOCDET_TOKEN", "secret")
    assert vocdet("live")[0] == 0
    code, text = vocdet("live", "--port", "9000")
    assert code == 2
    assert "give --web, too" in text
    assert len(calls) == 1


def test_live_saves_a_video(calls: list[Any], tmp_path: Path) -> None:
    run = run_in(tmp_path)
    code, text = vocdet("live", str(run), "--source", "clip.mp4", "--save", "out.mp4", "--frames", "3")
    assert (code, text) == (0, "Showed 3 frames, 24.0 fps at the end. Saved to out.mp4")
    assert calls[0] == (
        (run, "clip.mp4"),
        {"save": Path("out.mp4"), "options": OPENED, "videos": VideoOptions(frames=3), "force": False},
    )


def test_live_takes_one_run(calls: list[Any]) -> None:
    assert vocdet("live", "a", "b")[0] == 2
    assert not calls


@pytest.mark.parametrize("command", [("predict", "a.png"), ("live",)])
def test_the_newest_run_comes_from_the_runs_folder(calls: list[Any], command: tuple[str, ...]) -> None:
    assert vocdet(*command, "--runs", "elsewhere")[0] == 0
    assert calls[0][0][0] == Path("elsewhere/newest")


def test_an_error_at_the_end_leaves_the_summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def predict(*args: Any, **kwargs: Any) -> Iterator[Prediction]:
        yield Prediction(MediaSource("image", "a.png", "a.png"), 0, FOUND, 1, 2, tmp_path)
        raise VocdetError("b.png is broken")

    monkeypatch.setattr(workflow, "predict", predict)
    result = CliRunner().invoke(app, ["predict", str(run_in(tmp_path)), "a.png", "b.png"])
    assert isinstance(result.exception, VocdetError)
    text = " ".join(result.output.split())
    assert "Detected 1 object in 1 image with" in text
    assert "next:" not in text


def test_live_that_fails_to_save_does_not_report_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def live(*args: Any, **kwargs: Any) -> Iterator[LiveFrame]:
        yield LiveFrame(0, FOUND, 24.0)
        raise OutputError("could not be written completely", place=kwargs["save"])

    monkeypatch.setattr(watching, "live", live)
    result = CliRunner().invoke(app, ["live", str(run_in(tmp_path)), "--save", "out.mp4"])
    assert isinstance(result.exception, OutputError)
    assert "Saved" not in result.output
    assert "Showed" not in result.output


def test_images_without_detections_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def predict(*args: Any, **kwargs: Any) -> Iterator[Prediction]:
        for done in range(1, 5):
            found = FOUND if done == 1 else FOUND.above(1.0)
            yield Prediction(MediaSource("image", "a.png", "a.png"), 0, found, done, 4, tmp_path)

    monkeypatch.setattr(workflow, "predict", predict)
    text = vocdet("predict", str(run_in(tmp_path)), "a.png")[1]
    assert "Detected 1 object in 4 images (1 of 4 with any, 0.25 on average) with" in text


@pytest.mark.usefixtures("calls")
def test_predict_names_what_it_passes_over_and_what_it_keeps(tmp_path: Path) -> None:
    for name in ("a.png", "b.psd", "c.psd"):
        (tmp_path / name).touch()
    out = tmp_path / "found"
    out.mkdir()
    write_marker(out, "predictions", kept=["Annotations/a.xml"])
    code, text = vocdet("predict", str(tmp_path), "--out", str(out), "--force")
    assert code == 0
    assert "warning: 2 paths passed over, .psd files are not read: b.psd, c.psd" in text
    assert f"kept what was changed or added by hand, 1 file in {out}: Annotations/a.xml; --force replaces it" in text
