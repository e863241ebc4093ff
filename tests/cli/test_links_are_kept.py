"""No command writes through a link in a dataset: the store that the links lead to stays byte for byte."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from vocdet_cli.app import app

from tests.cli.test_eval_command import save_run

pytestmark = pytest.mark.usefixtures("no_curves")

MakeVoc = Callable[..., Path]
Run = Callable[..., tuple[int, str, str]]

DOG, CAT = ("dog ", (5.0, 5.0, 40.0, 50.0)), ("cat", (50.0, 10.0, 90.0, 70.0))
SCENES = {name: [DOG, CAT] for name in "abcdefgh"}
SPLITS = {"trainval": list("abcd"), "train": list("abc"), "val": ["d"], "test": ["e"]}  # f, g and h are new

DATA, RUN = "{data}", "{run}"
COMMANDS = (
    ("check", DATA, "--fix", "--yes"),
    ("split", DATA, "--append"),
    ("split", DATA, "--force", "--per-label"),
    ("split", DATA, "--force", "--kfold", "2"),
    ("convert", DATA, "voc", "--to", "voc"),
    ("convert", DATA, "linked", "--to", "yolo", "--images", "link"),
    ("convert", DATA, "coco", "--to", "coco", "--skip-bad"),
    ("remap", DATA, "remapped", "--rename", "cat=tiger"),
    ("merge", DATA, "voc", "--out", "merged"),
    ("sample", DATA, "sampled", "--count", "2"),
    ("crops", DATA, "crops"),
    ("stats", DATA, "--picture", "{data}/stats.png"),
    ("train-backbone", DATA, "--net", "mb1-0.25", "--size", "32", "--epochs", "1", "--batch", "4", "--device", "cpu"),
    ("train-ssd", DATA, "--net", "mb1-0.25", "--size", "64", "--epochs", "1", "--batch", "2", "--device", "cpu"),
    ("eval", RUN, "--data", DATA, "--picture", "{data}/sheet.png", "--split", "all", "--device", "cpu"),
    ("predict", RUN, DATA, "--out", "{data}/found", "--voc", "--device", "cpu"),
    ("predict", RUN, "{data}/JPEGImages", "--out", "{data}/found", "--voc", "--device", "cpu"),
    ("bench", RUN, "--data", DATA, "--json", "bench.json", "--device", "cpu"),
    ("init", "project", "--data", DATA),
)
# They read no dataset, write nothing, run others in a row (`train`), or need what no test has.
OTHERS = {
    "train",
    "demo",
    "frames",
    "progress",
    "serve",
    "recipes",
    "fetch",
    "train-maskrcnn",
    "live",
    "runs",
    "compare",
    "doctor",
}


def test_every_command_is_tried() -> None:
    names = {command.name or getattr(command.callback, "__name__", "") for command in _commands()}
    assert {name.replace("_", "-") for name in names} - OTHERS <= {command[0] for command in COMMANDS}


def _commands() -> list[Any]:
    groups = [group.typer_instance for group in app.registered_groups]
    return [command for group in groups if group for command in group.registered_commands]


@pytest.fixture
def store(make_voc: MakeVoc, tmp_path: Path) -> Path:
    """A dataset with something to fix in every kind of file."""
    root = make_voc(SCENES, root=tmp_path / "store", splits=SPLITS)
    Image.new("RGB", (100, 80), (9, 99, 9)).save(root / "JPEGImages" / "b.jpg", "PNG")
    train = root / "ImageSets" / "Main" / "train.txt"
    train.write_bytes(train.read_bytes().replace(b"\n", b"\r\n"))
    return root


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def link_files(store: Path, root: Path) -> None:
    for path in store.rglob("*"):
        if path.is_file():
            link = root / path.relative_to(store)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)


def link_folders(store: Path, root: Path) -> None:
    root.mkdir()
    for path in store.iterdir():
        (root / path.name).symlink_to(path)


@pytest.mark.parametrize("link", [link_files, link_folders])
def test_no_command_changes_what_a_link_leads_to(
    vocdet: Run, store: Path, tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    before = snapshot(store)
    run = save_run(Path("mine").resolve(), "cat", "dog")
    for number, command in enumerate(COMMANDS):
        root = tmp_path / f"set{number}"
        link(store, root)
        code, out, err = vocdet(*(word.format(data=root, run=run) for word in command))
        assert "Traceback" not in err
        assert snapshot(store) == before, (command, out, err)
        refused = link is link_folders and command[0] in ("split", "merge")
        assert code == 0 or refused or "--append" in command, (command, out, err)
        if link is link_folders and command[0] == "split" and "--append" not in command:
            assert "ImageSets: is a link" in err
        for path in Path().rglob("*"):  # a copy has what the links lead to
            assert not path.is_symlink()


def test_a_fix_replaces_linked_files_and_names_linked_folders(vocdet: Run, store: Path, tmp_path: Path) -> None:
    files, folders = tmp_path / "files", tmp_path / "folders"
    link_files(store, files)
    link_folders(store, folders)
    code, out, _ = vocdet("check", files, "--fix", "--yes")
    assert (code, "fixed" in out) == (0, True)
    fixed = files / "Annotations" / "a.xml"
    assert not fixed.is_symlink()
    assert "<name>dog</name>" in fixed.read_text()
    assert b"\r" not in (files / "ImageSets" / "Main" / "train.txt").read_bytes()
    assert (files / "JPEGImages" / "a.jpg").is_symlink()
    _, out, err = vocdet("check", folders, "--fix", "--yes")
    assert "behind the link Annotations" in out + err
    assert "behind the link ImageSets" in out + err
