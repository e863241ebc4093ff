"""What `import vocdet` offers: fast, complete, documented, and the examples in the documentation run."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vocdet
from vocdet.inference.output import writing_video
from vocdet.models.backbones import backbone

SOURCE = Path(vocdet.__file__).read_text(encoding="utf-8")
SLOW = {"cv2", "lxml", "matplotlib", "msgspec", "numpy", "PIL", "pycocotools", "safetensors", "torch", "torchvision"}
ERRORS = {name for name in vocdet.__all__ if name.endswith("Error") or name == "ManyErrors"}
# their example is that of training_events, predict or train
EVENTS = {"DetectorResult", "DetectorStart", "Epoch", "ExportResult", "PredictResult", "Step", "TrainResult"}
WITHOUT_EXAMPLE = (
    (ERRORS - {"VocdetError"}) | EVENTS | {"__version__", "prepare_cpu"}
)  # VocdetError's is for all errors


def in_a_new_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_names_are_sorted_and_unique() -> None:
    assert vocdet.__all__ == sorted(set(vocdet.__all__))
    assert set(vocdet.__all__) <= set(dir(vocdet))


def test_import_loads_nothing_slow_and_nothing_of_the_library() -> None:
    loaded = in_a_new_process("import sys, vocdet; print(*sys.modules)").split()
    assert not SLOW & set(loaded)
    assert [name for name in loaded if name.startswith("vocdet")] == ["vocdet"]


def test_reading_and_checking_a_dataset_load_no_torch() -> None:
    code = "import sys, vocdet; vocdet.read, vocdet.check, vocdet.split, vocdet.write; print(*sys.modules)"
    assert not {"torch", "torchvision"} & set(in_a_new_process(code).split())


def test_type_checkers_see_exactly_the_names_that_exist() -> None:
    tree = ast.parse(SOURCE)
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    declared = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert {*declared, "__version__"} == set(vocdet.__all__)
    for name, module in declared.items():
        assert module is not None
        assert getattr(importlib.import_module(module), name) is getattr(vocdet, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vocdet' has no attribute 'trian'"):
        vocdet.trian  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("vocdet.trian")


def test_a_star_import_brings_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from vocdet import *", names)
    assert names.keys() - {"__builtins__"} == set(vocdet.__all__)


@pytest.mark.parametrize("name", [name for name in vocdet.__all__ if name != "__version__"])
def test_every_name_is_documented(name: str) -> None:
    text = getattr(vocdet, name).__doc__
    assert text
    assert text.strip()[0].isupper()


@pytest.mark.parametrize("name", sorted(set(vocdet.__all__) - WITHOUT_EXAMPLE))
def test_every_example_runs(
    name: str,
    trained: tuple[Path, vocdet.Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_curves: None,
    quick_facts: None,
) -> None:
    """In a folder with two datasets, the picture photo.jpg, film.avi, and the run and detector of `trained`."""
    root, run = trained
    for folder in ("shelf", "counter"):
        shutil.copytree(root, tmp_path / folder)
    shutil.copytree(run.path, tmp_path / "runs" / run.path.name)
    shutil.copy(root / "JPEGImages" / "img10.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    with writing_video(Path("film.avi"), 10.0) as write:
        for _ in range(20):
            write(np.asarray(Image.open("photo.jpg")))
    for registry in ("LAYERS", "C4_LAYER", "REGISTERED"):  # registrations end with the test
        monkeypatch.setattr(backbone, registry, getattr(backbone, registry).copy())
    here = replace(run, path=Path("runs", run.path.name))
    names = {"vocdet": vocdet, "shutil": shutil, "run": here, "detector": vocdet.load(here, device="cpu")}
    text = inspect.getdoc(getattr(vocdet, name)) or ""
    example = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert example.examples, f"{name} has no example"
    said: list[str] = []
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    doctest.DocTestRunner(optionflags=flags, verbose=False).run(example, out=said.append)
    assert not said, "".join(said)
