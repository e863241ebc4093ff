"""Names in a user's files cannot control the terminal, in any command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from vocdet_cli.safe import SafeConsole, escape

Run = Callable[..., tuple[int, str, str]]

LABELS = ("\x1b[31mred\x1b[0m \x9b2J", "[/red] [bold]\u202egnp.exe\u2066", "c\rd\x08e\nnext: vocdet [link=x]")
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
TINY = ("--net", "mb1-0.25", "--size", 64, "--batch", 2, "--epochs", 1, "--device", "cpu")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A COCO folder whose labels and file names hold what terminals and Rich obey."""
    root = tmp_path / "[red]set\u202e"
    (root / "images").mkdir(parents=True)
    images, annotations = [], []
    for i in range(10):
        name = f"[b]{i}\u202e.png"
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)).save(root / "images" / name)
        images.append({"id": i, "file_name": name, "width": 64, "height": 64})
        for k in range(3):
            box = [4 + 18 * k, 6, 15, 40]
            annotations.append({"id": 3 * i + k, "image_id": i, "category_id": k, "bbox": box, "\x1b[5m": 1})
    annotations.append({"id": 99, "image_id": 0, "category_id": 0, "bbox": [60, 6, 15, 40]})  # a finding
    categories = [{"id": k, "name": name} for k, name in enumerate(LABELS)]
    (root / "annotations").mkdir()
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances.json").write_text(json.dumps(content))
    return root


def commands(root: Path, other: Path) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Command lines with their exit codes."""
    yield 1, ("check", root)
    yield 1, ("check", root, "--all")
    yield 1, ("check", root, "--json")
    yield 1, ("split", root)
    yield 0, ("split", root, "--skip-bad", "--dry-run", "--kfold", 2)
    yield 0, ("split", root, "--skip-bad")
    yield 0, ("stats", root, "--all")
    yield 0, ("stats", root, "--json")
    yield 0, ("crops", root, other / "crops", "--skip-bad")
    yield 0, ("sample", root, other / "few", "-n", 6, "--skip-bad")
    yield 0, ("convert", root, other / "copy", "--to", "coco", "--skip-bad")
    yield 0, ("check", other / "copy")
    yield 1, ("convert", root, other / "xmls", "--to", "voc", "--skip-bad")  # XML cannot hold these labels
    yield 0, ("remap", root, other / "remapped", "--drop", LABELS[0], "--skip-bad")
    yield 1, ("remap", root, other / "none", "--drop", "re\x1b[2Jd", "--skip-bad")
    yield 0, ("merge", root, other / "copy", other / "both", "--skip-bad")
    yield 0, ("train-backbone", root, *TINY, "--skip-bad")
    yield 0, ("train-ssd", root, *TINY, "--skip-bad")
    yield 0, ("eval", "--data", root, "--skip-bad", "--split", "val")
    yield 0, ("bench", "runs/ssd-mb1-0.25-1", "--data", root, "--split", "val", "--images", 1, "--skip-bad")
    yield 0, ("predict", "runs/ssd-mb1-0.25-1", root / "images", "--out", other / "found")
    yield 0, ("runs",)
    yield 0, ("compare", "runs/ssd-mb1-0.25-1", "runs/backbone-mb1-0.25-1")


def test_no_command_passes_on_what_a_terminal_obeys(
    vocdet: Run, hostile: Path, tmp_path: Path, no_curves: None
) -> None:
    for expected, command in commands(hostile, tmp_path / "other"):
        code, out, err = vocdet(*command)
        assert code == expected, (command, out, err)
        assert OBEYED.findall(out + err) == [], command
        assert "\nnext: vocdet [link" not in out + err, command
        assert "Traceback" not in out + err


def test_brackets_and_controls_are_shown_as_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    console = SafeConsole(highlight=False)
    console.print(escape("[red]a\x1b[0m\u202eb\n"))
    console.print("\x1b[2J\rraw", markup=False)  # Rich drops the carriage return
    assert capsys.readouterr().out == "[red]a\\x1b[0m\\u202eb\\n\n\\x1b[2Jraw\n"
