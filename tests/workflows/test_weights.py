"""What a training starts from, as the user names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vocdet.errors import CheckpointError
from vocdet.models import transfer
from vocdet.models.backbone import Classifier, parse_net
from vocdet.models.checkpoint import About, save_checkpoint
from vocdet.workflows import weights
from vocdet.workflows.weights import find_start

SMALL = parse_net("mb1-0.25")
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OWN = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def save(run: Path, *, age: int = 0, net: str = "mb1-0.25") -> Path:
    spec = parse_net(net)
    about = About(vocdet="0", task="backbone", backbone=spec, labels=("a", "b"), size=(64, 64), mean=OWN[0], std=OWN[1])
    save_checkpoint(run / "best.safetensors", Classifier(spec, 2), about)
    os.utime(run / "best.safetensors", (10_000_000 - age,) * 2)
    return run


def test_none_is_from_scratch(tmp_path: Path) -> None:
    start = find_start("none", SMALL, tmp_path)
    assert (start.text, start.tensors, start.normalisation) == ("from scratch", {}, HALF)


def test_auto_is_the_newest_backbone_of_the_same_net(tmp_path: Path) -> None:
    save(tmp_path / "old", age=9)
    new = save(tmp_path / "new", age=5)
    save(tmp_path / "other-net", net="mb1-0.5")
    start = find_start("auto", SMALL, tmp_path)
    assert start.text == f"the newest backbone run, {new}"
    assert start.source == str(new / "best.safetensors")
    assert start.normalisation == OWN
    assert any(name.startswith("backbone.features.") for name in start.tensors)


def test_auto_without_a_backbone_is_from_scratch_and_says_why(tmp_path: Path) -> None:
    for runs in (tmp_path, tmp_path / "missing"):
        start = find_start("auto", SMALL, runs)
        assert start.text == f"from scratch: there is no backbone run of mb1-0.25 in {runs}"
        assert start.tensors == {}


def test_a_run_and_its_checkpoint_bring_their_normalisation(tmp_path: Path) -> None:
    run = save(tmp_path / "run")
    for given, text in ((run, f"the run {run}"), (run / "best.safetensors", str(run / "best.safetensors"))):
        start = find_start(str(given), SMALL, tmp_path)
        assert (start.text, start.normalisation) == (text, OWN)


@pytest.mark.parametrize(
    ("name", "normalisation"),
    [
        ("mobilenet_v2-7ebf99e0.pth", IMAGENET),
        ("ssdlite320_mobilenet_v3_large_coco-a79551df.pth", HALF),  # as torchvision trained it
        ("mine.pth", HALF),
        ("other.safetensors", HALF),
    ],
)
def test_other_files_are_normalised_as_they_were_trained(
    tmp_path: Path, name: str, normalisation: tuple[tuple[float, ...], ...]
) -> None:
    tensors = {"features.0.0.weight": torch.zeros(3)}
    save_file(tensors, tmp_path / name) if name.endswith(".safetensors") else torch.save(tensors, tmp_path / name)
    start = find_start(str(tmp_path / name), SMALL, tmp_path)
    assert start.normalisation == normalisation
    assert start.tensors.keys() == tensors.keys()


def test_imagenet_is_what_torchvision_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(url: str, **_: object) -> dict[str, torch.Tensor]:
        asked.append(url)
        return {"features.0.0.weight": torch.zeros(3)}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    start = find_start("imagenet", parse_net("mb3-small"), tmp_path)
    assert start.text.startswith("ImageNet weights of torchvision (mobilenet_v3_small-")
    assert start.normalisation == IMAGENET
    assert asked[0].startswith("https://download.pytorch.org/models/mobilenet_v3_small-")
    assert transfer.is_torchvision_name(Path(start.source))


def test_nothing_is_downloaded_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "imagenet_tensors", None)
    for given in ("auto", "none"):
        assert find_start(given, SMALL, tmp_path).tensors == {}


def test_a_file_that_is_not_there_is_told_what_can_be_given(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file of weights") as caught:
        find_start(str(tmp_path / "x.pth"), SMALL, tmp_path)
    assert caught.value.hint == "give a file, a run folder, imagenet, none or auto"
    with pytest.raises(CheckpointError, match="there is no such file of weights"):
        find_start(str(tmp_path), SMALL, tmp_path)  # a folder without a checkpoint
