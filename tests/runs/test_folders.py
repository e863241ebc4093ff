"""Run folders: numbering and look-up."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vocdet.errors import OutputError, RunError
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.classifier import ClassifierSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.runs.folders import make_run, newest_run, run_info


def save(run: Path, task: str = "backbone", net: str = "mb1-0.25", *, reduced_tail: bool = False, age: int = 0) -> Path:
    """A run with a best checkpoint that was written `age` seconds ago."""
    backbone, labels = parse_net(net, reduced_tail=reduced_tail), ("a", "b")
    classifier, ssd = ClassifierSpec(backbone, labels, 64), SsdSpec(backbone, labels, (64, 64), torchvision_anchors())
    about = CheckpointInfo(vocdet="0", model=classifier if task == "backbone" else ssd)
    best = run / "best.safetensors"
    save_checkpoint(best, build(about.model), about)
    os.utime(best, (10_000_000 - age,) * 2)
    return run


def test_runs_are_numbered_and_numbers_are_not_reused(tmp_path: Path) -> None:
    runs = tmp_path / "new" / "runs"
    assert [make_run(runs, "ssd", "mb1").name for _ in range(3)] == ["ssd-mb1-1", "ssd-mb1-2", "ssd-mb1-3"]
    (runs / "ssd-mb1-2").rmdir()
    (runs / "ssd-mb1-10").mkdir()
    (runs / "ssd-mb1-copy").mkdir()
    assert make_run(runs, "ssd", "mb1").name == "ssd-mb1-11"
    assert make_run(runs, "backbone", "mb1").name == "backbone-mb1-1"


def test_runs_created_concurrently_get_different_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_run(tmp_path, "ssd", "mb1"), range(24)))
    assert len(set(made)) == 24
    assert all(run.is_dir() for run in made)


def test_a_file_in_place_of_the_runs_folder_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("mine")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "deep"):
        with pytest.raises(OutputError, match="cannot be written"):
            make_run(folder, "ssd", "mb1")


def test_the_newest_run_has_the_newest_best_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "backbone-mb1-0.25-1", age=5)
    newest = save(tmp_path / "renamed", age=1)
    save(tmp_path / "backbone-mb1-0.25-9", age=9)
    save(tmp_path / "ssd-mb1-0.25-1", "ssd", age=0)
    assert newest_run(tmp_path, "backbone") == newest
    assert newest_run(tmp_path, "ssd").name == "ssd-mb1-0.25-1"


def test_only_runs_of_the_requested_net_count(tmp_path: Path) -> None:
    small = save(tmp_path / "a", net="mb3-small", age=9)
    save(tmp_path / "b", net="mb3-small", reduced_tail=True, age=1)
    save(tmp_path / "c", net="mb1-0.25")
    assert newest_run(tmp_path, "backbone", net="mb3-small", reduced_tail=False) == small
    with pytest.raises(RunError, match="no backbone run of mb2 in this folder") as caught:
        newest_run(tmp_path, "backbone", net="mb2")
    assert caught.value.hint == "run `vocdet.train_backbone(dataset)`, or name a run"


def test_damaged_and_unfinished_runs_are_skipped(tmp_path: Path) -> None:
    good = save(tmp_path / "good", age=9)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "best.safetensors").write_text("x")
    assert newest_run(tmp_path, "backbone") == good


def test_without_runs_the_hint_says_what_to_do(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="no ssd run in this folder") as caught:
            newest_run(folder, "ssd")
        assert caught.value.hint == "run `vocdet.train_detector(dataset)`, or name a run"


def test_a_run_and_its_checkpoint_have_the_same_description(tmp_path: Path) -> None:
    run = save(tmp_path / "run")
    assert run_info(run) == run_info(run / "best.safetensors")
    assert run_info(run).labels == ("a", "b")
