"""The snippets of the README, of the pages and of the notebook run on tiny generated data."""

from __future__ import annotations

import ast
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from vocdet_cli.app import main

import vocdet
from tests.docs.conftest import DOCS, PAGES, ROOT, blocks
from vocdet.formats.voc.write import WrittenObject, annotation_text
from vocdet.models.backbones import backbone
from vocdet.recipes import nets

COLORS = {"cup": (210, 60, 50), "mug": (40, 90, 200), "plate": (230, 200, 40)}
NET = "mb1-0.25"
TINY: dict[str, Any] = {
    "epochs": 1,
    "minutes": 0,
    "size": 64,
    "batch": 8,
    "patience": 0,
}  # in place of what a snippet names
PLANNED = ("epochs", "size", "batch")  # of these, the settings that a plan keeps
OWN = DOCS / "guide" / "own-backbone.md"  # has a test of its own
RUNNING = [
    page
    for page in PAGES
    if page != OWN and any(block.runs and block.language in ("sh", "python") for block in blocks(page))
]


@pytest.fixture(autouse=True)
def tiny_trainings(monkeypatch: pytest.MonkeyPatch, no_curves: None, quick_facts: None) -> None:
    """A training from Python is as short as TINY says, on the smallest net; a registered backbone stays."""
    monkeypatch.setenv("VOCDET_CPU_TUNING", "0")
    train_detector = vocdet.train_detector

    def tiny(*given: Any, **values: Any) -> vocdet.Run:
        net = values.get("net", NET)
        return train_detector(*given, **{**values, **TINY, "net": net if net in nets.REGISTERED else NET})

    monkeypatch.setattr(vocdet, "train_detector", tiny)
    train, options = vocdet.train, {"net": NET} | {name: TINY[name] for name in PLANNED}
    monkeypatch.setattr(vocdet, "train", lambda data, **values: train(data, **{**values, **options}))


@pytest.fixture(autouse=True)
def no_registered_backbones(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A backbone that a page registers is gone after it."""
    monkeypatch.setattr(backbone, "LAYERS", dict(backbone.LAYERS))
    monkeypatch.setattr(backbone, "C4_LAYER", dict(backbone.C4_LAYER))
    yield
    nets.REGISTERED.clear()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOC folder of rectangles, a color for each label, and a run that was trained on it for one epoch."""
    folder = tmp_path_factory.mktemp("docs") / "shelf"
    random = np.random.default_rng(0)
    (folder / "JPEGImages").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for i in range(24):
        image, objects = Image.fromarray(random.integers(80, 180, (60, 80, 3), np.uint8)), []
        for left, label in ((0, list(COLORS)[i % 3]), (40, list(COLORS)[i // 3 % 3])):
            x, y, side = left + int(random.integers(2, 10)), int(random.integers(2, 20)), int(random.integers(16, 28))
            ImageDraw.Draw(image).rectangle((x, y, x + side - 1, y + side - 1), fill=COLORS[label])
            objects.append(WrittenObject(label, (x, y, x + side, y + side)))
        image.save(folder / "JPEGImages" / f"{i:03}.jpg")
        text = annotation_text(f"{i:03}.jpg", (80, 60), objects)
        (folder / "Annotations" / f"{i:03}.xml").write_text(text, encoding="utf-8")
    dataset = vocdet.split(vocdet.read(folder), trainval=0.75, seed=0)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("vocdet.runs.journal.curves", lambda *_, **__: b"")
        vocdet.train_detector(dataset, net=NET, weights="none", runs=folder.parent / "runs", **TINY)
    return folder


@pytest.fixture
def place(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with shelf/, photos/, photo.jpg and two runs, in which every page starts."""
    here = tmp_path / "here"
    shutil.copytree(shelf, here / "shelf")
    (run,) = (shelf.parent / "runs").iterdir()
    for name in ("ssd-mb3-small-1", "ssd-mb3-small-2"):  # the names that pages use
        shutil.copytree(run, here / "runs" / name)
    (here / "photos").mkdir()
    for target in ("photos/a.jpg", "photos/b.jpg", "photo.jpg"):
        shutil.copy(shelf / "JPEGImages" / "000.jpg", here / target)
    monkeypatch.chdir(here)
    return here


def run_line(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a line of a shell block in this process: a command of vocdet, whose output may go to a file."""
    line, _, target = (part.strip() for part in line.partition(" > "))
    words = shlex.split(line)
    assert words[0] == "vocdet", f"{line}: only vocdet runs here; mark the block no-run"
    if words[1].startswith("train"):
        values = {name: TINY[name] for name in PLANNED} if words[1] == "train" else TINY
        words += ["--net", NET, *(word for name, value in values.items() for word in (f"--{name}", str(value)))]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert not caught.value.code, f"{line}\n{out}{err}"
    if target:
        Path(target).write_text(out, encoding="utf-8")


@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_snippets_of_a_page_run(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running = [block for block in blocks(page) if block.runs]
    if not any(line.startswith("vocdet split") for block in running for line in block.commands):
        vocdet.write_splits(vocdet.split(vocdet.read("shelf"), trainval=0.75, seed=0))
    names: dict[str, Any] = {"__name__": "page"}
    for block in running:
        monkeypatch.chdir(place / block.notes.get("folder", "."))
        if block.language == "sh":
            for line in block.commands:
                run_line(line, monkeypatch, capsys)
        elif block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)


def test_the_backbone_of_the_guide_goes_through_training_checkpoint_and_evaluation(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    for block in blocks(OWN):
        if block.runs and block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
    assert names["run"].path.name == "ssd-shop-net-1"
    assert names["report"].images == 2
    stored = vocdet.load(names["run"])
    nets.REGISTERED.clear()
    assert stored("photo.jpg").size == (80, 60)
    with pytest.raises(vocdet.CheckpointError, match="shop-net"):
        vocdet.load(names["run"])


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "quickstart.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "quickstart.ipynb", "exec"), names)
    assert names["report"].errors == ()
    assert (len(names["dataset"]), names["dataset"].labels) == (60, ("disc", "square"))
    assert names["detections"].size == (128, 96)


def test_every_cell_of_the_example_notebook_shows_something(place: Path) -> None:
    vocdet.write_splits(vocdet.split(vocdet.read("shelf"), trainval=0.75, seed=0))
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"]
            tree = ast.parse("".join(cell["source"]))
            last = tree.body[-1]
            if isinstance(last, ast.Expr):
                tree.body.pop()
            exec(compile(tree, "notebook.ipynb", "exec"), names)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "notebook.ipynb", "eval"), names)
                shown[type(value).__name__] = value
    assert {name for name, value in shown.items() if hasattr(value, "_repr_html_")} == {
        "AnnotatedImage", "AuditResult", "CheckReport", "Dataset", "Detections", "EvalReport", "PredictResult", "Statistics",
    }  # fmt: skip
    for name in ("AnnotatedImage", "Dataset", "Detections", "PredictResult"):
        assert "data:image/jpeg" in shown[name]._repr_html_()
    assert shown["Plot"]._repr_png_().startswith(b"\x89PNG")
    assert names["pixels"].shape == (60, 80, 3)
    assert names["matrix"].sum() >= names["report"].overall.objects
