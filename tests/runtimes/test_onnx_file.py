"""ONNX files from anywhere: those that vocdet wrote work, all others are refused before a library opens them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from vocdet.errors import CheckpointError
from vocdet.runtimes.description import Description
from vocdet.runtimes.onnx import load_onnx
from vocdet.runtimes.onnx_file import read_onnx

ABOUT = Description(
    version="0", task="ssd", net="mb1", labels=("cat",), size=(32, 32), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)


def write(path: Path, about: Description | None = ABOUT, *, location: str = "") -> Path:
    """A model that adds a constant to its input; with `location`, the constant is in that file."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2], np.ones(2, np.float32).tobytes(), raw=True)
    if location:
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info("image", TensorProto.FLOAT, [2])
    out = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [2])
    inner = helper.make_node("Constant", [], ["c"], value=weight)
    model = helper.make_model(
        helper.make_graph([inner, helper.make_node("Add", ["image", "c"], ["boxes"])], "g", [value], [out]),
        opset_imports=[helper.make_opsetid("", 18)], ir_version=10,
    )  # fmt: skip
    for key, text in (about.texts() if about else {}).items():
        model.metadata_props.add(key=key, value=text)
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_onnx(path)
    assert caught.value.place
    assert caught.value.place.path == path
    assert caught.value.hint
    return caught.value


def test_metadata_are_read_without_any_library(tmp_path: Path) -> None:
    data, texts = read_onnx(write(tmp_path / "m.onnx"))
    assert texts == ABOUT.texts()
    assert len(data) == (tmp_path / "m.onnx").stat().st_size


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is no model", b"<!doctype html><html>", b"\x08\x08", b"\xff" * 99, b"\x00" * 99]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    assert "ONNX" in refused(tmp_path / "m.onnx").problem


def test_a_file_that_was_cut_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.onnx").read_bytes()
    cut = tmp_path / "cut.onnx"
    for length in range(1, len(whole) - 1, 7):
        cut.write_bytes(whole[:length])
        refused(cut)


@pytest.mark.parametrize("location", ["weights.bin", "../secret", "/etc/passwd"])
def test_weights_in_other_files_are_never_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\0" * 8)
    problem = refused(write(tmp_path / "m.onnx", location=location)).problem
    assert problem == "keeps its weights in other files, which are not opened"


def test_a_model_of_another_program_is_refused(tmp_path: Path) -> None:
    assert "no export of vocdet" in refused(write(tmp_path / "m.onnx", None)).problem


def test_exports_that_detect_nothing_are_refused(tmp_path: Path) -> None:
    import msgspec

    classifier = msgspec.structs.replace(ABOUT, task="backbone")
    assert "is a classifier" in refused(write(tmp_path / "c.onnx", classifier)).problem
    assert (
        "leaves decoding out" in refused(write(tmp_path / "r.onnx", msgspec.structs.replace(ABOUT, raw=True))).problem
    )


@pytest.mark.parametrize(
    ("key", "text", "problem"),
    [
        ("labels", "[]", "invalid description"), ("labels", "7", "labels"), ("size", "[0, 5]", "invalid description"),
        ("thresholds", "[1, 2]", "invalid description"), ("size", "{", "invalid description"),
        ("format", "2", "newer than this vocdet"),
    ],
)  # fmt: skip
def test_invalid_descriptions_are_refused(tmp_path: Path, key: str, text: str, problem: str) -> None:
    path = write(tmp_path / "m.onnx")
    model = onnx.load(path)
    for entry in model.metadata_props:
        entry.value = text if entry.key == f"vocdet.{key}" else entry.value
    path.write_bytes(model.SerializeToString())
    assert problem in refused(path).problem


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "m.onnx").problem
    (tmp_path / "d.onnx").mkdir()
    assert "directory" in refused(tmp_path / "d.onnx").problem


def test_loading_an_export_loads_no_torch(tmp_path: Path) -> None:
    write(tmp_path / "m.onnx")
    code = f"import sys, vocdet; d = vocdet.load({str(tmp_path / 'm.onnx')!r}); print(d.labels, 'torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "('cat',) False"
