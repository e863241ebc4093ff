"""OpenVINO models: the detections of the ONNX file they were made from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.exporting.conftest import Exported, picture
from vocdet.errors import CheckpointError
from vocdet.exporting import openvino as module
from vocdet.exporting.graphs import Graph
from vocdet.exporting.parity import difference
from vocdet.runtimes.onnx import load_onnx
from vocdet.runtimes.openvino import load_openvino, read_openvino


def converted(
    onnx: Path, folder: Path, images: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] | None = None
) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "onnx_bytes", lambda *_: onnx.read_bytes())
        about = load_onnx(onnx).description
        for name, data in module.openvino_files(Graph(None, ()), about, images or []).items():  # type: ignore[arg-type]
            (folder / name).write_bytes(data)
    return folder / "model.xml"


def test_openvino_detects_what_onnx_runtime_detects(ssd: Exported, tmp_path: Path) -> None:
    one, other = load_onnx(ssd[1]), load_openvino(converted(ssd[1], tmp_path))
    assert other.description == one.description
    images = [picture(64, 96), picture(31, 200, 1), picture(300, 400, 2)]
    apart = difference(one.detect(images), other.detect(images))
    assert apart.detections > 20
    assert (apart.boxes, apart.scores) < (1e-2, 1e-4)
    whole = [p.candidates(images[2], (300, 400)) for p in (one, other)]
    assert difference(whole[:1], whole[1:]).boxes < 1e-2


def test_threads_may_share_a_detector(ssd: Exported, tmp_path: Path) -> None:
    detector = load_openvino(converted(ssd[1], tmp_path))
    images = [picture(64, 96, seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: detector.detect([image])[0], images))
    assert difference(detector.detect(images), found).boxes == 0


def test_in_8_bits_the_network_is_small_and_what_surrounds_it_unchanged(ssd: Exported, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    for folder in ("fp32", "int8"):
        (tmp_path / folder).mkdir()
    plain = converted(ssd[1], tmp_path / "fp32")
    small = converted(ssd[1], tmp_path / "int8", [picture(64, 96, seed) for seed in range(8)])
    assert small.with_suffix(".bin").stat().st_size < 0.5 * plain.with_suffix(".bin").stat().st_size
    image = picture(64, 96, 3)
    one, other = (load_openvino(path).detect([image])[0] for path in (plain, small))
    assert abs(one.scores[:5] - other.scores[:5]).max() < 0.1


def test_damaged_and_foreign_models_are_refused(ssd: Exported, tmp_path: Path) -> None:
    path = converted(ssd[1], tmp_path)
    text = path.read_text()
    for content, problem in (
        (text[: len(text) // 2], "incomplete"), ("<!DOCTYPE a><net/>", "DOCTYPE"), ("<net></net>", "no export of vocdet"),
        ("hello", "not an OpenVINO model"), ('<?xml version="1.0" encoding="big5"?><net/>', "not an OpenVINO model"),
        ('<?xml version="1.0" encoding="nothing"?><net/>', "not an OpenVINO model"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(CheckpointError, match=problem):
            read_openvino(path)
    path.write_text(text)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be loaded by OpenVINO"):
        load_openvino(path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="lacks its weights"):
        load_openvino(path)
