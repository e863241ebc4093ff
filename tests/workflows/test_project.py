"""A project folder: what is in it, and that nothing is overwritten or half-written."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vocdet.errors import DatasetError, ManyErrors, OutputError
from vocdet.formats.shared.values import read_labels
from vocdet.recipes.load import load_recipe
from vocdet.workflows.project import DETECTOR_RECIPES, init_project

MakeVoc = Callable[..., Path]
FILES = ["README.md", "labels.txt", "recipes/backbone.toml", "recipes/ssd.toml", "slurm.sh"]


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_project_has_what_a_training_needs(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "shelf"
    made = init_project(folder)
    assert sorted(path.relative_to(folder).as_posix() for path in made) == files_in(folder) == FILES
    assert load_recipe("ssd", str(folder / "recipes" / "ssd.toml")).recipe.model.net == "mb3-small"
    assert load_recipe("backbone", str(folder / "recipes" / "backbone.toml")).recipe.model.net == "mb3-small"
    assert len(read_labels(folder / "labels.txt")) == 2
    for name in FILES:
        text = (folder / name).read_bytes()
        assert b"@" not in re.sub(rb'@\}"|\[@\]|@180|"\$@"', b"", text), f"{name} has a gap that was not filled"
        assert b"\r" not in text


@pytest.mark.parametrize("net", sorted(DETECTOR_RECIPES))
def test_the_recipes_are_for_the_requested_net(tmp_path: Path, net: str) -> None:
    init_project(tmp_path / "p", net=net)
    assert load_recipe("ssd", str(tmp_path / "p" / "recipes" / "ssd.toml")).recipe.model.net == net
    assert load_recipe("backbone", str(tmp_path / "p" / "recipes" / "backbone.toml")).recipe.model.net == net


def test_a_project_for_a_classifier_has_no_detector(tmp_path: Path) -> None:
    init_project(tmp_path, task="backbone")
    assert files_in(tmp_path) == [name for name in FILES if "ssd" not in name]
    for name in ("README.md", "slurm.sh"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "train" in text
        assert "ssd" not in text


@pytest.mark.parametrize("net", sorted(DETECTOR_RECIPES))
def test_a_project_for_masks_goes_from_the_classifier_to_mask_rcnn(tmp_path: Path, net: str) -> None:
    init_project(tmp_path, task="maskrcnn", net=net)
    assert files_in(tmp_path) == [name.replace("ssd", "maskrcnn") for name in FILES]
    recipe = load_recipe("maskrcnn", str(tmp_path / "recipes" / "maskrcnn.toml")).recipe
    assert (recipe.model.net, recipe.model.weights) == (net, "auto")  # the classifier of the project
    for name in ("README.md", "slurm.sh"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "ssd" not in text
        assert "maskrcnn" in text
    assert "vocdet train-maskrcnn data --recipe recipes/maskrcnn.toml" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("task", ["ssd", "maskrcnn", "backbone"])
def test_a_value_that_the_readme_changes_is_one_of_the_recipe(tmp_path: Path, task: str) -> None:
    init_project(tmp_path, task=task)
    settings = re.findall(r"--set (\S+)", (tmp_path / "README.md").read_text(encoding="utf-8"))
    assert settings
    assert "settings" in load_recipe(task, settings=settings).origin.values()


def test_the_labels_and_the_name_of_a_dataset_are_taken_over(tmp_path: Path, make_voc: MakeVoc) -> None:
    box = (5.0, 5.0, 40.0, 50.0)
    data = make_voc({"a": [("dog", box), ("cat bird", box)]}, root=tmp_path / "the data")
    init_project(tmp_path, data=data)
    assert read_labels(tmp_path / "labels.txt") == ("cat bird", "dog")
    assert "vocdet check 'the data'" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "\ndata='the data'\n" in (tmp_path / "slurm.sh").read_text(encoding="utf-8")
    init_project(tmp_path / "elsewhere", data=data)
    assert f"vocdet check '{data}'" in (tmp_path / "elsewhere" / "README.md").read_text(encoding="utf-8")


def test_a_dataset_without_objects_is_an_error_and_nothing_is_written(tmp_path: Path, make_voc: MakeVoc) -> None:
    data = make_voc({"a": []})
    with pytest.raises(DatasetError, match="the annotations contain no objects"):
        init_project(tmp_path / "p", data=data)
    assert not (tmp_path / "p").exists()


def test_existing_files_are_listed_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "ssd.toml").write_text("mine, too")
    with pytest.raises(ManyErrors) as caught:
        init_project(tmp_path)
    assert [(error.problem, error.place and error.place.path) for error in caught.value.errors] == [
        ("exists already", tmp_path / "README.md"),
        ("exists already", tmp_path / "recipes" / "ssd.toml"),
    ]
    assert files_in(tmp_path) == ["README.md", "recipes/ssd.toml"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_broken_link_counts_as_an_existing_file(tmp_path: Path) -> None:
    try:
        (tmp_path / "labels.txt").symlink_to(tmp_path / "gone")
    except OSError:
        pytest.skip("no links on this system")
    with pytest.raises(OutputError, match="exists already"):
        init_project(tmp_path)
    assert not (tmp_path / "gone").exists()


def test_a_folder_with_other_files_can_become_a_project(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    init_project(tmp_path)
    assert files_in(tmp_path) == sorted([*FILES, "a.jpg"])


def test_no_file_remains_if_one_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "slurm.sh":
            raise OSError(28, "No space left on device")
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError) as caught:
        init_project(tmp_path / "new" / "p")
    assert caught.value.problem == "cannot be written: no space left on device"
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        init_project(tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "recipes").write_text("no folder")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        init_project(tmp_path)
    assert caught.value.hint
    assert files_in(tmp_path) == ["recipes"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written: permission denied"):
            init_project(tmp_path / "p")
    finally:
        tmp_path.chmod(0o700)


FAKES = {  # Slurm's commands, which write down what they were asked
    "srun": 'echo "srun $*" >> "$LOG"; while [ -e "$LOG.wait" ]; do sleep .02; done; [ -z "$FAILS" ]',
    "scontrol": 'if [ "$1" = show ]; then printf "node7\\nnode8\\n"; else echo "scontrol $*" >> "$LOG"; fi',
}
JOB = {
    "SLURM_JOB_ID": "41007", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "node[7-8]",
    "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "16",
}  # fmt: skip


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., tuple[int, list[str]]]:
    """Run the Slurm script of a new project: its exit code, and what Slurm was asked."""
    if sys.platform == "win32" or shutil.which("bash") is None:
        pytest.skip("no bash on this system")
    folder, commands, log = tmp_path / "project", tmp_path / "bin", tmp_path / "log"
    init_project(folder)
    commands.mkdir()
    for name, text in FAKES.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)

    def run(signalled: bool = False, **more: str) -> tuple[int, list[str]]:
        log.write_text("")
        waiting = tmp_path / "log.wait"
        path = f"{commands}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "LOG": str(log), "FAILS": "", "SLURM_SUBMIT_DIR": str(folder), **JOB, **more}
        if signalled:
            waiting.touch()
        script = subprocess.Popen([folder / "slurm.sh"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while signalled and not log.read_text():
                time.sleep(0.02)
            if signalled:
                script.send_signal(signal.SIGUSR1)
            return script.wait(300), log.read_text().splitlines()
        finally:
            waiting.unlink(missing_ok=True)
            script.kill()

    return run


TORCHRUN = (
    "srun --kill-on-bad-exit=1 torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-id 41007-{task} "
    "--rdzv-endpoint node7:21007 -m vocdet_cli train-{task} data --recipe recipes/{task}.toml --runs runs/slurm-41007"
)


def test_the_slurm_script_trains_one_model_after_the_other_on_all_nodes(
    job: Callable[..., tuple[int, list[str]]],
) -> None:
    assert job() == (0, [TORCHRUN.format(task="backbone"), TORCHRUN.format(task="ssd")])
    assert job() == (0, [])  # requeued after its end: all is done


def test_a_requeued_job_resumes_its_training(tmp_path: Path, job: Callable[..., tuple[int, list[str]]]) -> None:
    assert job(FAILS="1") == (1, [TORCHRUN.format(task="backbone")])
    run = tmp_path / "project" / "runs" / "slurm-41007" / "backbone-mb3-small-1"
    run.mkdir()
    (run / "state.safetensors").write_bytes(b"")
    resumed = f"{TORCHRUN.format(task='backbone')} --resume runs/slurm-41007/backbone-mb3-small-1"
    assert job() == (0, [resumed, TORCHRUN.format(task="ssd")])


def test_a_job_whose_time_is_up_is_requeued(job: Callable[..., tuple[int, list[str]]]) -> None:
    assert job(signalled=True) == (0, [TORCHRUN.format(task="backbone"), "scontrol requeue 41007"])


def test_a_job_without_accelerators_has_one_process_a_node(job: Callable[..., tuple[int, list[str]]]) -> None:
    _, (first, _) = job(SLURM_GPUS_ON_NODE="")
    assert "--nproc-per-node 1 " in first


def test_the_slurm_script_outside_of_slurm_says_how_to_start_it(job: Callable[..., tuple[int, list[str]]]) -> None:
    assert job(SLURM_SUBMIT_DIR="") == (1, [])
