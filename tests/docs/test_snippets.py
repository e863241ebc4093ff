"""The snippets of the README and of the pages do what they say, on tiny data made on the spot."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from vocdet_cli.app import main

from tests.docs.conftest import PAGES, ROOT, blocks
from vocdet.formats.voc.write import WrittenObject, annotation_text

COLORS = {"cup": (210, 60, 50), "mug": (40, 90, 200), "plate": (230, 200, 40)}
TINY = ["--epochs", "1", "--minutes", "0", "--net", "mb1-0.25", "--size", "64", "--batch", "4", "--patience", "0"]
TINY_API = {"epochs": 1, "minutes": 0, "net": "mb1-0.25", "size": 64, "batch": 4}
RUNNING = [page for page in PAGES if any(block.runs and block.language in ("sh", "python") for block in blocks(page))]


def make_shelf(folder: Path, images: int = 20) -> None:
    """A VOC folder of rectangles, a color for each label."""
    random = np.random.default_rng(0)
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for i in range(images):
        image = Image.fromarray(random.integers(80, 180, (60, 80, 3), np.uint8))
        objects = []
        for left in (0, 40):
            label = list(COLORS)[int(random.integers(3))]
            x, y, side = left + int(random.integers(2, 10)), int(random.integers(2, 20)), int(random.integers(16, 28))
            ImageDraw.Draw(image).rectangle((x, y, x + side - 1, y + side - 1), fill=COLORS[label])
            objects.append(WrittenObject(label, (x, y, x + side, y + side)))
        image.save(folder / "JPEGImages" / f"{i:03}.jpg")
        (folder / "Annotations" / f"{i:03}.xml").write_text(annotation_text(f"{i:03}.jpg", (80, 60), objects))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with shelf/, photos/ and photo.jpg, in which every page starts."""
    monkeypatch.setenv("VOCDET_CPU_TUNING", "0")
    make_shelf(tmp_path / "shelf")
    photos = tmp_path / "photos"
    photos.mkdir()
    for source, target in (("000", photos / "a.jpg"), ("001", photos / "b.jpg"), ("000", tmp_path / "photo.jpg")):
        target.write_bytes((tmp_path / "shelf" / "JPEGImages" / f"{source}.jpg").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_line(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a line of a shell block in this process: a command of vocdet, maybe with its output sent to a file."""
    line, _, target = (part.strip() for part in line.partition(" > "))
    words = shlex.split(line)
    assert words[0] == "vocdet", f"{line}: only vocdet runs here; mark the block no-run"
    tiny = TINY if words[1].startswith("train-") and "--show-recipe" not in words else []
    monkeypatch.setattr(sys, "argv", [*words, *tiny])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert not caught.value.code, f"{line}\n{out}{err}"
    if target:
        Path(target).write_text(out, encoding="utf-8")
    return out


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_snippets_of_a_page_run(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_trainings: None,
    no_curves: None,
) -> None:  # fmt: skip
    names: dict[str, object] = {"__name__": "page"}
    for block in (block for block in blocks(page) if block.runs):
        monkeypatch.chdir(place / block.notes.get("folder", "."))
        if block.language == "sh":
            for line in block.commands:
                run_line(line, monkeypatch, capsys)
        elif block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
