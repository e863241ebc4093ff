"""Which file runs a detector: the run, or an export of its weights."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.runtimes.test_onnx_file import ABOUT, write
from vocdet.errors import ArgumentError, CheckpointError
from vocdet.outputs import BEST, digest_of
from vocdet.runtimes.description import REPORT
from vocdet.workflows.detector import choose_file


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / BEST).write_bytes(b"weights")
    return tmp_path / "run"


def export_of(run: Path, **changes: object) -> Path:
    folder = run / "exports" / "onnx"
    folder.mkdir(parents=True)
    (folder / REPORT).write_text("{}")
    about = msgspec.structs.replace(ABOUT, **{"checkpoint": digest_of(run / BEST), **changes})
    return write(folder / "model.onnx", about)


def test_a_run_without_exports_runs_in_torch(run: Path) -> None:
    assert choose_file(run) == run
    with pytest.raises(CheckpointError, match="has no onnx export of its weights"):
        choose_file(run, "onnx")


def test_an_export_of_the_same_weights_stands_in_for_the_run_on_a_cpu(run: Path) -> None:
    file = export_of(run)
    assert choose_file(run, device="cpu") == choose_file(run, "onnx") == choose_file(run / BEST, "onnx") == file
    assert choose_file(run, "torch") == choose_file(run, device="cuda") == run
    (run / BEST).write_bytes(b"other weights")
    assert choose_file(run, device="cpu") == run


@pytest.mark.parametrize("change", [{"precision": "int8"}, {"resized": True}, {"raw": True}])
def test_an_export_that_differs_from_the_run_never_stands_in(run: Path, change: dict[str, object]) -> None:
    export_of(run, **change)
    assert choose_file(run, device="cpu") == run


def test_an_export_runs_in_its_own_library(run: Path) -> None:
    file = export_of(run)
    assert choose_file(file) == choose_file(file.parent) == choose_file(file, "onnx") == file
    with pytest.raises(ArgumentError, match="is an export, which torch does not run"):
        choose_file(file, "torch")
    with pytest.raises(ArgumentError, match="unknown backend"):
        choose_file(run, "onx")  # type: ignore[arg-type]
