"""`--from`: every command that reads a dataset takes its format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import typer
from vocdet_cli.app import app
from vocdet_cli.next_steps import same_dataset

from tests.conftest import save_image
from vocdet.formats.scan import Source

Run = Callable[..., tuple[int, str, str]]
XML = "<annotation><size><width>60</width><height>50</height><depth>3</depth></size><object>"
XML += (
    "<name>{}</name><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
)
READERS = (
    "bench", "check", "convert", "crops", "eval", "init", "merge", "remap", "sample", "split", "stats",
    "train-backbone", "train-maskrcnn", "train-ssd",
)  # fmt: skip


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Six images, all annotated twice: in XML files as `square`, in text files as `circle`."""
    (tmp_path / "set").mkdir()
    for name in "abcdef":
        save_image(tmp_path / "set" / f"{name}.png", (60, 50), seed=ord(name))
        (tmp_path / "set" / f"{name}.xml").write_text(XML.format("square"))
        (tmp_path / "set" / f"{name}.txt").write_text("0 .5 .5 .4 .4\n")
    (tmp_path / "set" / "classes.txt").write_text("circle\n")
    return tmp_path / "set"


@pytest.mark.parametrize("command", READERS)
def test_every_command_that_reads_a_dataset_has_it(command: str) -> None:
    lazy: Any = typer.main.get_group(app)
    options = [option for one in lazy.commands[command].load().params for option in one.opts]
    assert "--from" in options


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--no-images"),
        ("stats",),
        ("split", "--dry-run"),
        ("remap", "../out", "--rename", "LABEL=disc"),
        ("sample", "../out", "-n", "3"),
        ("crops", "../out"),
        ("convert", "../out", "--to", "coco"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_the_format_decides_what_is_read(vocdet: Run, both: Path, arguments: tuple[str, ...]) -> None:
    for format, label, other in (("voc", "square", "circle"), ("yolo", "circle", "square")):
        command, *more = (word.replace("out", f"out-{format}").replace("LABEL", label) for word in arguments)
        code, out, err = vocdet(command, both, *more, "--from", format)
        assert code == 0, err
        if command in ("stats", "split", "remap", "sample", "crops"):
            assert label in out
        assert other not in out
        if command in ("check", "stats"):
            assert out.endswith(f"next: vocdet split {both} --from {format}\n")


@pytest.mark.parametrize("command", ["check", "stats", "split"])
def test_other_matching_formats_are_named(vocdet: Run, both: Path, command: str) -> None:
    code, out, err = vocdet(command, both)
    assert code == 0
    assert "it also matches yolo: " in out + err
    assert "--from yolo" in out + err


def test_datasets_that_are_merged_have_a_format_each(vocdet: Run, both: Path) -> None:
    code, _, err = vocdet(
        "merge",
        both,
        copytree(both, both.with_name("copy")),
        "../out",
        "--from",
        "voc",
        "--from",
        "yolo",
        "--to",
        "coco",
    )
    assert code == 0, err
    _, out, _ = vocdet("stats", "../out")
    assert "circle" in out
    assert "square" in out
    code, _, err = vocdet("merge", both, "../copy", "../more", *("--from", "voc") * 3)
    assert code == 2
    assert "once for each" in err


def test_a_project_names_it_in_its_commands(vocdet: Run, both: Path) -> None:
    code, out, _ = vocdet("init", "p", "--data", both, "--from", "yolo")
    assert code == 0
    assert out.endswith(f"&& vocdet check {both} --from yolo\n")
    assert Path("p/labels.txt").read_text() == "circle\n"
    assert f"vocdet split {both} --from yolo --trainval" in Path("p/README.md").read_text()
    assert "\noptions=(--from yolo) " in Path("p/slurm.sh").read_text()


def test_the_next_command_has_the_options_of_the_last() -> None:
    source = Source(Path("set"), "yolo", Path("labels.txt"), "one", "objects")
    options = ["--from", "yolo", "--labels", "labels.txt", "--coordinates", "one", "--crowds", "objects"]
    assert same_dataset(source) == ["set", *options]
    assert same_dataset(Source(Path("set"))) == ["set"]
