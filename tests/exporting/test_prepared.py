"""Files for programs that prepare the image and select the detections: the same as those of the model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.exporting.conftest import LABELS, NET, Exported, lively, picture
from vocdet.data.detections import Detections
from vocdet.errors import CheckpointError, DependencyError, ExportError
from vocdet.exporting import packages
from vocdet.exporting.decoder import decoders, prepared_onnx, prepared_predictor
from vocdet.exporting.formats import EXPORTERS, TARGETS
from vocdet.exporting.graphs import Graph, prepared_graph
from vocdet.exporting.parity import difference
from vocdet.inference.predictor import predictor_of
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.folding import fused
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.resources import bundled
from vocdet.runtimes.onnx import load_onnx
from vocdet.workflows.export import describe

SSD = SsdSpec(NET, LABELS, (64, 96), torchvision_anchors())
PAN = SsdSpec(NET, LABELS, (64, 64), Anchors(()), neck="pan", channels=16)
MAIN = """
#include <cstdio>
#include "decode.hpp"
int main() {
    int anchors, labels;
    float width, height;
    if (std::scanf("%d %d %f %f", &anchors, &labels, &width, &height) != 4) return 1;
    std::vector<float> boxes(anchors * 4), scores(anchors * labels);
    for (auto* values : {&boxes, &scores})
        for (float& value : *values)
            if (std::scanf("%f", &value) != 1) return 1;
    for (const vocdet::Detection& one : vocdet::select(boxes.data(), scores.data(), anchors, labels, width, height))
        std::printf("%.9g %.9g %.9g %.9g %.9g %d\\n", one.box[0], one.box[1], one.box[2], one.box[3], one.score, one.label);
}
"""
SCRIPT = """
import { readFileSync } from "node:fs";
import { select } from "./decode.mjs";
const { boxes, scores, labels, width, height } = JSON.parse(readFileSync("outputs.json"));
for (const one of select(boxes, scores, labels, width, height)) console.log(...one.box, one.score, one.label);
"""


def same(one: Detections, other: Detections) -> None:
    apart = difference([one], [other])
    assert apart.detections > 0
    assert apart.missing <= apart.detections // 20
    assert (apart.boxes, apart.scores) < (0.1, 2e-3)


@pytest.mark.parametrize("spec", [SSD, PAN], ids=["ssd", "pan"])
def test_the_decoder_beside_a_file_selects_what_the_model_detects(spec: SsdSpec, tmp_path: Path) -> None:
    model, image = lively(spec), picture(300, 400)
    graph = prepared_graph(model, "decoder")
    (tmp_path / "weights").write_text("x")
    about = describe(CheckpointInfo(vocdet="0", model=spec), tmp_path / "weights", target="decoder")
    with torch.no_grad():
        predictor = prepared_predictor(lambda one: graph.module(torch.from_numpy(one)), about)
        same(predictor_of(fused(model)).detect([image])[0], predictor.detect([image])[0])
        whole = predictor.candidates(image, (300, 400))  # it resizes by itself
    same(predictor_of(fused(model)).detect([image])[0], whole)


@pytest.mark.parametrize("spec", [SSD, PAN], ids=["ssd", "pan"])
def test_the_decoders_in_other_languages_are_the_same(spec: SsdSpec, tmp_path: Path) -> None:
    with torch.no_grad():
        boxes, scores = prepared_graph(lively(spec), "decoder").module(
            torch.from_numpy(picture(*spec.size).transpose(2, 0, 1)[None] / np.float32(255))
        )
    about = describe(CheckpointInfo(vocdet="0", model=spec), bundled("export/decode.py"), target="decoder")
    programs = decoders(about)
    expected = prepared_predictor(lambda _: (boxes, scores), about).candidates(picture(200, 100), (200, 100))
    for name in ("decode.hpp", "decode.mjs"):
        (tmp_path / name).write_text(programs[name])
    (tmp_path / "main.cpp").write_text(MAIN)
    (tmp_path / "main.mjs").write_text(SCRIPT)
    flat = [column.numpy().ravel().tolist() for column in (boxes, scores)]
    values = {"boxes": flat[0], "scores": flat[1], "labels": 2, "width": 100, "height": 200}
    (tmp_path / "outputs.json").write_text(json.dumps(values))
    numbers = f"{boxes.shape[1]} 2 100 200 " + " ".join(map(repr, (*flat[0], *flat[1])))
    subprocess.run(
        ["g++", "-std=c++11", "-O1", "-Wall", "-Wextra", "-Werror", "main.cpp", "-o", "main"], cwd=tmp_path, check=True
    )
    for command, text in ((["./main"], numbers), (["node", "main.mjs"], "")):
        shown = subprocess.run(command, cwd=tmp_path, input=text, capture_output=True, text=True, check=True).stdout
        rows = np.array([line.split() for line in shown.splitlines()], float)
        assert len(rows) == len(expected) > 5
        np.testing.assert_allclose(rows[:, :4], expected.boxes, atol=1e-3)
        np.testing.assert_allclose(rows[:, 4], expected.scores, atol=1e-6)
        assert rows[:, 5].tolist() == expected.labels.tolist()


def test_a_file_for_tensorrt_has_fixed_shapes_and_detects_the_same(tmp_path: Path) -> None:
    model, exporter, weights = lively(PAN), TARGETS["tensorrt-nms"], tmp_path / "weights"
    weights.write_text("x")
    about = describe(CheckpointInfo(vocdet="0", model=PAN), weights, target=exporter.target)
    (data,) = exporter.write(prepared_graph(model, exporter.target), about).values()
    (tmp_path / "model.onnx").write_bytes(data)
    image = picture(64, 64)
    found = prepared_onnx(tmp_path / "model.onnx", about).detect([image])[0]
    same(predictor_of(fused(model)).detect([image])[0], found)
    with pytest.raises(CheckpointError, match="is made for tensorrt-nms, not for vocdet"):
        load_onnx(tmp_path / "model.onnx")


def test_x_anylabeling_gets_labels_boxes_and_scores_and_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = lively(SSD), picture(64, 96)
    graph = prepared_graph(model, "x-anylabeling")
    assert list(graph.inputs or ()) == ["images", "orig_target_sizes"]  # of its type rtdetrv2
    assert graph.outputs == ("labels", "boxes", "scores")
    prepared = torch.from_numpy(image.transpose(2, 0, 1)[None] / np.float32(255))
    with torch.no_grad():
        labels, boxes, scores = graph.module(prepared, torch.tensor([[960, 640]]))
    (expected,) = predictor_of(fused(model)).detect([picture(64, 96)])
    rows = scores[0] > 0
    found = Detections((boxes[0][rows] / 10).double().numpy(), scores[0][rows].numpy(), labels[0][rows].numpy())
    same(expected, found)
    monkeypatch.setattr("vocdet.exporting.targets.onnx_bytes", lambda *_: b"")
    (tmp_path / "weights").write_text("x")
    info = CheckpointInfo(vocdet="0", model=SSD, thresholds=(0.4, 0.25))
    about = describe(info, tmp_path / "weights", target="x-anylabeling")
    config = yaml.safe_load(TARGETS["x-anylabeling"].write(graph, about)["x-anylabeling.yaml"])
    assert (config["type"], config["model_path"], config["classes"]) == ("rtdetrv2", "model.onnx", ["cat", "dog"])
    assert config["conf_threshold"] == 0.25


def test_what_tensorrt_does_not_document_is_refused(ssd: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vocdet.exporting.targets.onnx_bytes", lambda *_: ssd[1].read_bytes())
    about = load_onnx(ssd[1]).description
    with pytest.raises(ExportError, match=r"TensorRT documents no operator .*NonZero"):
        TARGETS["tensorrt"].write(Graph(torch.nn.Identity(), ()), about)


@pytest.mark.parametrize("name", ["litert", "executorch", "coreml", "ncnn"])
def test_a_missing_package_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda _: None)
    with pytest.raises(DependencyError, match="is not installed") as caught:
        EXPORTERS[name].check_installed()
    assert f'"vocdet[{name}]"' in caught.value.hint
