"""`vocdet train-backbone` and `vocdet train-ssd`: what they print, and how they end."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vocdet_cli.training.options import TrainingOptions
from vocdet_cli.training.resume import resolve_request

from vocdet.formats.scan import Source
from vocdet.formats.voc.masks import palette_png
from vocdet.recipes.schema import SsdRecipe, changed
from vocdet.runs.setup import RunOptions
from vocdet.training.loop import Step
from vocdet.workflows.train_detector import training_events

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
STEMS = [f"img{i}" for i in range(6)]
BOTH = [("cat", (5.0, 5.0, 40.0, 50.0)), ("[red]dog", (50.0, 10.0, 90.0, 70.0))]
COMMANDS = ["train-backbone", "train-ssd", "train-maskrcnn"]
TINY = ("--net", "mb1-0.25", "--batch", 2, "--epochs", 1, "--device", "cpu")
NARROW = {"train-maskrcnn": ("--set", "model.channels=16")}


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    """A VOC folder with masks beside its boxes."""
    root = make_voc(dict.fromkeys(STEMS, BOTH), splits={"train": STEMS[:4], "val": STEMS[4:]})
    pixels = np.zeros((80, 100), np.uint8)
    for k, (_, (x0, y0, x1, y1)) in enumerate(BOTH, start=1):
        pixels[int(y0) : int(y1), int(x0) : int(x1)] = k
    (root / "SegmentationObject").mkdir()
    for stem in STEMS:
        (root / "SegmentationObject" / f"{stem}.png").write_bytes(palette_png(pixels))
    return root


def test_a_detector_trains_on_a_trained_classifier(vocdet: Run, root: Path) -> None:
    code, out, err = vocdet("train-backbone", root, *TINY, "--size", 32)
    assert (code, "error" in err) == (0, False)
    assert "weights: from scratch" in out
    assert "epoch   1" in out
    assert "best" in out
    assert "accuracy" in out
    assert "[red]dog" in out  # square brackets are no markup
    assert "backbone-mb1-0.25-1" in out
    assert f"next: vocdet train-ssd {root} --net mb1-0.25\n" in out

    code, out, err = vocdet("train-ssd", root, *TINY, "--size", 64)
    assert (code, "error" in err) == (0, False)
    assert "the newest backbone run" in out
    # all of the backbone's 27 layers: weight, and five of its batch norm
    assert ["backbone", "162"] in [line.split()[:2] for line in out.splitlines()]
    assert "an IoU of .5 or more with" in out
    assert "ssd-mb1-0.25-1" in out
    assert f"next: vocdet eval --data {root}\n" in out
    assert sorted(path.name for path in Path("runs").iterdir()) == ["backbone-mb1-0.25-1", "ssd-mb1-0.25-1"]


def test_a_mask_rcnn_trains_on_a_trained_classifier(vocdet: Run, root: Path) -> None:
    assert vocdet("train-backbone", root, *TINY, "--size", 32)[0] == 0
    code, out, err = vocdet("train-maskrcnn", root, *TINY, "--size", 64, "--set", "model.channels=16")
    assert code == 0, err
    assert "Training on 4 images (2 labels), validating on 2; batch size 2" in out
    assert "the newest backbone run" in out
    rows = [line.split()[:3] for line in out.splitlines()]
    assert ["backbone", "162", "·"] in rows  # all of the backbone's 27 layers: weight, and five of its batch norm
    assert "IoU" in out
    (epoch,) = (line for line in out.splitlines() if line.startswith("epoch   1"))
    for name in ("objectness", "rpn_box", "class", "box", "mask", "ap50", "mask_ap"):
        assert f" {name} " in epoch
    assert "maskrcnn-mb1-0.25-1" in out
    assert f"next: vocdet eval --data {root}\n" in out


def test_without_masks_boxes_are_sufficient(vocdet: Run, make_voc: MakeVoc) -> None:
    root = make_voc(dict.fromkeys(STEMS, BOTH), splits={"train": STEMS[:4], "val": STEMS[4:]})
    tiny = (*TINY, "--size", 64, "--set", "model.channels=16", "--weights", "none")
    code, out, err = vocdet("train-maskrcnn", root, *tiny)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {root}: no object of the train split has a mask")
    assert "--no-masks" in err
    code, out, err = vocdet("train-maskrcnn", root, *tiny, "--no-masks")
    assert code == 0, err
    assert "freeze_norm is off" in err
    assert "mask_ap" not in out


def test_every_tensor_is_listed_on_request(vocdet: Run, root: Path) -> None:
    assert vocdet("train-backbone", root, *TINY, "--size", 32)[0] == 0
    code, out, _ = vocdet("train-ssd", root, *TINY, "--size", 64, "--show-weights")
    assert code == 0
    rows = [line.split()[:3] for line in out.splitlines()]
    assert ["backbone.features.0.0.weight", "8×3×3×3", "loaded"] in rows
    assert ["extras.0.0.0.weight", "256×256×1×1", "fresh"] in rows
    assert ["classifier.1.weight", "2×256", "not"] in rows


def test_without_validation_the_last_weights_are_saved_with_a_warning(vocdet: Run, root: Path) -> None:
    code, _, err = vocdet("train-ssd", root, *TINY, "--size", 64, "--split", "trainval", "--runs", "elsewhere")
    assert code == 0
    assert "without validation the last weights count as the best" in err
    assert Path("elsewhere", "ssd-mb1-0.25-1", "best.safetensors").is_file()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (("--net", "vgg16"), "unknown net 'vgg16'"),
        (("--size", 7), "size is 7"),
        (("--lr", "nan"), "lr is nan"),
        (("--epochs", 0), "epochs is 0"),
        (("--minutes", -1), "minutes is -1"),
        (("--weights", "x.pth"), "x.pth: no such file of weights"),
        (("--device", "tpu"), "device 'tpu' is not available"),
    ],
)
def test_an_invalid_option_is_one_message_with_a_hint(
    vocdet: Run, root: Path, command: str, wrong: tuple[object, ...], problem: str
) -> None:
    code, out, err = vocdet(command, root, *wrong)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {problem}")
    assert err.count("error:") == err.count("hint:") == 1
    assert "Traceback" not in err
    assert not Path("runs").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dataset_without_splits_is_an_error_with_the_command(vocdet: Run, make_voc: MakeVoc, command: str) -> None:
    code, _, err = vocdet(command, make_voc(dict.fromkeys(STEMS, BOTH)))
    assert code == 1
    assert "no split 'train'" in err
    assert "hint: create splits: vocdet split" in err


def interrupting(real: Any, times: int) -> Any:
    """The same training, with `times` presses of Ctrl-C after the first step of a new run."""

    def train(*args: Any, **kwargs: Any) -> Iterator[Any]:
        pressed = args[2].resume is not None
        for event in real(*args, **kwargs):
            if isinstance(event, Step) and not pressed:
                pressed = True
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            yield event

    return train


@pytest.fixture(params=COMMANDS)
def interrupted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], str]:
    """Interrupt a training this number of times; the name of its command."""
    command = str(request.param)
    file, name = (
        ("train_backbone", "backbone_events") if "backbone" in command else ("train_detector", "training_events")
    )
    module = importlib.import_module(f"vocdet.workflows.{file}")

    def interrupt(times: int) -> str:
        monkeypatch.setattr(module, name, interrupting(getattr(module, name), times))
        return command

    return interrupt


def test_ctrl_c_stops_after_the_step_and_saves_the_run_which_resumes(
    vocdet: Run, root: Path, interrupted: Callable[[int], str]
) -> None:
    before, command = signal.getsignal(signal.SIGINT), interrupted(1)
    small = ("--size", 64, *NARROW.get(command, ()))
    code, out, err = vocdet(command, root, *TINY[:4], "--epochs", 2, *small, "--set", "train.warm=3")
    (run,) = Path("runs").iterdir()
    assert code == 130
    assert "stopping after this step; press Ctrl-C again to exit at once" in err
    assert "Stopped after" in out
    assert (run / "best.safetensors").is_file()
    assert signal.getsignal(signal.SIGINT) is before
    assert f"next: vocdet {command} --resume {run}\n" in out

    code, _, err = vocdet(command, "--resume", run, "--lr", 0.5)
    assert code == 1
    assert "train.lr was" in err
    assert "and is 0.5 now" in err

    code, _, err = vocdet(command, "--resume", "--recipe", "backbone")
    assert (code, "--recipe and --resume exclude each other" in err) == (1, True)

    code, out, err = vocdet(command, "--resume", "--device", "cpu")  # the last one, with its data and its recipe
    assert code == 0, err
    assert "weights: step" in out
    assert f"Saved to {run}" in out
    assert not (run / "state.safetensors").exists()

    code, _, err = vocdet(command, "--resume")
    assert code == 1
    assert "no unfinished" in err

    code, _, err = vocdet(command, "--resume", run)
    assert code == 1
    assert "this training is finished, after 2 epochs" in err
    assert "hint: continue it with a new schedule: --epochs 4 in all, or --minutes 30 more" in err

    moved = Path("runs").rename("kept") / run.name
    code, out, err = vocdet(command, "--resume", moved, "--epochs", 3, "--device", "cpu")
    assert code == 0, err
    assert f"weights: {moved} after epoch 2, with a new schedule" in out
    assert " --runs kept" in out.splitlines()[-1]  # where the next command finds it
    assert "Trained 3 epochs" in out


def test_a_run_resumes_with_the_source_that_it_started_with(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = changed(SsdRecipe(), net="mb1-0.25", weights="none", size=64, batch=2, epochs=9, lr=0.003)
    options = RunOptions(device="cpu", stop=lambda: True)
    list(training_events(Source(root, format="voc", coordinates="zero"), recipe, options))
    request = resolve_request("ssd", TrainingOptions(resume="last"))
    assert request.source == Source(root, format="voc", coordinates="zero")
    assert (request.run, request.recipe.recipe) == (Path("runs/ssd-mb1-0.25-1"), recipe)
    overridden = resolve_request("ssd", TrainingOptions(resume="last", data=root / "moved", coordinates="one"))
    assert overridden.source == Source(root / "moved", format="voc", coordinates="one")
    assert resolve_request("ssd", TrainingOptions(resume="last", format="coco")).source.format == "coco"
    assert resolve_request("ssd", TrainingOptions(data=root, format="yolo")).source == Source(root, "yolo")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_recipe_is_shown_with_the_origins_of_its_values(vocdet: Run, root: Path, command: str) -> None:
    code, out, _ = vocdet(command, root, "--lr", 0.25, "--set", "train.clip=3", "--show-recipe")
    assert code == 0
    lines = {line.split("=")[0].strip(): line for line in out.splitlines()}
    assert lines["lr"].split() == ["lr", "=", "0.25", "#", "--lr"]
    assert lines["clip"].split() == ["clip", "=", "3.0", "#", "--set"]
    assert not Path("runs").exists()


def test_an_automatic_batch_is_printed(vocdet: Run, root: Path) -> None:
    code, out, err = vocdet("train-ssd", root, *TINY[:2], "--batch", "auto", "--epochs", 1, "--size", 64)
    assert code == 0, err
    assert "Training on 4 images (2 labels), validating on 2; batch size 4\n" in out  # all of them
    assert "batch = 4" in Path("runs/ssd-mb1-0.25-1/recipe.toml").read_text()


def test_a_second_ctrl_c_exits_at_once(vocdet: Run, root: Path, interrupted: Callable[[int], str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    command = interrupted(2)
    small = ("--size", 64, *NARROW.get(command, ()))
    code, _, err = vocdet(command, root, *TINY[:4], "--epochs", 1000, *small)
    assert code == 130
    assert "Traceback" not in err
    assert signal.getsignal(signal.SIGINT) is before
