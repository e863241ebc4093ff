"""What a training says of the weights that it starts from, and what it records of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from vocdet.models.backbones.backbone import parse_net
from vocdet.models.checkpoint import Start, read_info
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.weights.published import PublishedWeights
from vocdet.recipes.load import load_recipe
from vocdet.runs import setup, weights_choice

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]
STEMS = [f"img{i}" for i in range(6)]
BOTH = [("cat", (5.0, 5.0, 40.0, 50.0)), ("dog", (50.0, 10.0, 90.0, 70.0))]
TINY = ("--net", "mb1-0.25", "--batch", 2, "--size", 64, "--device", "cpu")


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc(dict.fromkeys(STEMS, BOTH), splits={"train": STEMS[:4], "val": STEMS[4:]})


@pytest.fixture
def published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serving: Callable[[Any], AbstractContextManager[str]]
) -> Iterator[PublishedWeights]:
    """Weights of mb1-0.25 on a server; this machine has none."""
    served = tmp_path / "served"
    served.mkdir()
    torch.save(Classifier(ClassifierSpec(parse_net("mb1-0.25"), ("a", "b"))).state_dict(), served / "x.pth")
    digest = sha256((served / "x.pth").read_bytes()).hexdigest()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with serving(served) as url:
        made = PublishedWeights("small.pth", f"{url}/x.pth", "made weights", 1_234_000, digest[:8])
        monkeypatch.setattr(weights_choice, "imagenet_weights", lambda _: (made,))
        yield made


def test_weights_are_downloaded_recorded_and_not_searched_again(
    vocdet: Run, root: Path, tmp_path: Path, published: PublishedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "torch" / "hub" / "checkpoints" / "small.pth"
    code, out, err = vocdet("train-ssd", root, *TINY, "--epochs", 1)
    assert code == 0, err
    assert err.startswith(f"downloading made weights, 1.2 MB: {published.url} to {file}\n")
    assert f"weights: made weights, {file}, downloaded now (no backbone run of mb1-0.25 in runs)\n" in out
    run = Path("runs/ssd-mb1-0.25-1")
    digest = sha256(file.read_bytes()).hexdigest()
    recorded = {"name": "small.pth", "sha256": digest}
    assert tomllib.loads((run / "recipe.toml").read_text())["start"] == recorded
    assert read_info(run / "best.safetensors").start == Start("small.pth", digest)
    assert load_recipe("ssd", str(run)).recipe.model.weights == "auto"

    monkeypatch.setattr(setup, "find_weights", None)
    code, out, err = vocdet("train-ssd", "--resume", run, "--epochs", 2, "--device", "cpu")
    assert code == 0, err
    assert tomllib.loads((run / "recipe.toml").read_text())["start"] == recorded
    assert read_info(run / "best.safetensors").start == Start("small.pth", digest)


def test_a_start_from_scratch_is_a_warning_at_the_start_and_at_the_end(
    vocdet: Run, root: Path, tmp_path: Path, published: PublishedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCDET_OFFLINE", "1")
    code, out, err = vocdet("train-backbone", root, *TINY, "--epochs", 1)
    assert code == 0, err
    warning = (
        "warning: mb1-0.25 starts from scratch, without pretrained weights (downloads are switched off by VOCDET_OFFLINE): "
        f"download {published.url} (1.2 MB) to {tmp_path / 'torch' / 'hub' / 'checkpoints' / 'small.pth'}, or to the folder "
        "that VOCDET_WEIGHTS names\n"
    )
    assert err.count(warning) == 2
    assert "weights: from scratch: no published weights on this disk\n" in out
    run = Path("runs/backbone-mb1-0.25-1")
    assert "start" not in tomllib.loads((run / "recipe.toml").read_text())
    assert read_info(run / "best.safetensors").start is None

    code, _, err = vocdet("train-backbone", root, *TINY, "--epochs", 1, "--weights", "none")
    assert (code, "scratch" in err) == (0, False)


def test_weights_that_are_requested_are_an_error_without_a_network(
    vocdet: Run, root: Path, published: PublishedWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOCDET_OFFLINE", "1")
    code, _, err = vocdet("train-ssd", root, *TINY, "--weights", "imagenet")
    assert code == 1
    assert err.startswith("error: made weights could not be downloaded: downloads are switched off by VOCDET_OFFLINE\n")
    assert f"hint: download {published.url} (1.2 MB) to " in err
    assert not Path("runs").exists()
