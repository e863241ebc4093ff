"""ONNX files of every model family: the detections of the model, from images of any size."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.exporting.conftest import LABELS, NET, Exported, lively, picture
from vocdet.data.detections import Detections
from vocdet.exporting.graphs import at_size, graph_of
from vocdet.exporting.parity import difference
from vocdet.exporting.resizing import resized
from vocdet.inference.predictor import predictor_of
from vocdet.inputs.images import resize
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.folding import fused
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.runtimes.onnx import load_onnx

SHAPES = ((64, 96), (31, 200), (200, 31), (7, 5), (300, 400))


def same(one: Detections, other: Detections) -> None:
    apart = difference([one], [other])  # a network of random weights magnifies rounding
    assert apart.detections > 0
    assert apart.missing <= apart.detections // 20
    assert apart.scores < 2e-3
    assert apart.boxes < 0.1


@pytest.mark.parametrize("kind", ["ssd", "pan"])
def test_an_exported_ssd_detects_what_the_model_detects(kind: str, request: pytest.FixtureRequest) -> None:
    model, path = request.getfixturevalue(kind)
    original, exported = predictor_of(fused(model)), load_onnx(path)
    images = [picture(*shape, seed=i) for i, shape in enumerate(SHAPES)]
    for one, other in zip(original.detect(images, score=0.05), exported.detect(images, score=0.05), strict=True):
        same(one, other)


def test_an_image_of_the_inputs_size_skips_the_resizing(ssd: Exported) -> None:
    model = onnx.load(str(ssd[1]))
    (branch,) = (node for node in model.graph.node if node.op_type == "If")
    operators = {one.name: {node.op_type for node in one.g.node} for one in branch.attribute}
    assert operators["then_branch"] == {"Cast", "Transpose"}
    assert "MatMul" in operators["else_branch"]
    assert "MatMul" not in {node.op_type for node in model.graph.node}


def test_an_exported_mask_rcnn_detects_and_outlines_what_the_model_does(rcnn: Exported) -> None:
    model, path = rcnn
    original, exported = predictor_of(fused(model)), load_onnx(path)
    for image in (picture(64, 64), picture(150, 150, 1)):  # on a square canvas the two see the same
        (one,), (other,) = original.detect([image]), exported.detect([image])
        same(one, other)
        assert one.masks is not None
        assert other.masks is not None
        assert [one.masks[i] for i in range(len(one))] == [other.masks[i] for i in range(len(one))]


def test_a_file_alone_takes_whole_images_and_applies_the_threshold_of_each_label(ssd: Exported) -> None:
    model, path = ssd
    session = onnxruntime.InferenceSession(str(path))
    assert [(one.name, one.type, one.shape[2]) for one in session.get_inputs()] == [("image", "tensor(uint8)", 3)]
    image = picture(300, 400, 4)
    boxes, scores, labels = session.run(["boxes", "scores", "labels"], {"image": image})
    (expected,) = predictor_of(fused(model), (0.3, 0.6)).detect([image])
    expected = expected.above(np.array([0.3, 0.6], np.float32))
    assert len(expected) < len(session.run(["candidate_scores"], {"image": image})[0])
    np.testing.assert_allclose(
        boxes, expected.boxes, atol=1e-2
    )  # shrunk by averaging: equal in OpenCV and in the graph
    np.testing.assert_allclose(scores, expected.scores, atol=1e-4)
    assert labels.tolist() == expected.labels.tolist()


def test_the_file_says_what_a_program_needs_to_know(ssd: Exported) -> None:
    texts = onnxruntime.InferenceSession(str(ssd[1])).get_modelmeta().custom_metadata_map
    assert json.loads(texts["vocdet.labels"]) == list(LABELS)
    assert json.loads(texts["vocdet.size"]) == [64, 96]
    assert json.loads(texts["vocdet.thresholds"]) == [0.3, 0.6]
    assert texts["vocdet.task"] == "ssd"
    assert texts["vocdet.net"] == "mb1-0.25"
    assert b"site-packages" not in ssd[1].read_bytes()  # nor any path of the machine


@pytest.mark.parametrize(
    ("height", "width"), [(300, 400), (64, 96), (100, 300), (640, 480), (1, 1), (9, 700), (33, 45)]
)
def test_a_graph_resizes_as_opencv_does(height: int, width: int) -> None:
    image = picture(height, width)
    inside = resized(torch.from_numpy(image), (64, 96)).permute(1, 2, 0).numpy()
    apart = np.abs(inside - resize(image, (64, 96)))
    assert apart.max() <= 1
    averaged = min(height / 64, width / 96) > 2
    assert (apart > 0).mean() <= (0.01 if averaged or (height, width) == (64, 96) else 0.15)  # bilinear drops bits


def test_the_rest_of_a_canvas_is_zero() -> None:
    image = np.full((50, 200, 3), 77, np.uint8)
    canvas = resized(torch.from_numpy(image), (64, 64), torch.tensor([16, 64]), 6)
    assert (canvas[:, :16] == 77).all()
    assert not canvas[:, 16:].any()


def test_another_size_has_anchors_of_its_own_and_the_same_weights() -> None:
    spec = SsdSpec(NET, LABELS, (64, 64), torchvision_anchors())
    other, info = at_size(lively(spec), CheckpointInfo(vocdet="0", model=spec), 96)
    assert info.size == (96, 96)
    image = picture(96, 96)
    found = graph_of(other, info).module(torch.from_numpy(image))[3:]
    same(Detections(*(column.detach().numpy() for column in found)), predictor_of(other).detect([image])[0])


def test_the_graph_of_a_classifier_gives_probabilities() -> None:
    spec = ClassifierSpec(NET, LABELS, size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    model = build(spec).eval()
    assert isinstance(model, Classifier)
    image = picture(32, 32)
    with torch.no_grad():
        (found,) = graph_of(model, CheckpointInfo(vocdet="0", model=spec)).module(torch.from_numpy(image))
        x = (torch.from_numpy(image).permute(2, 0, 1) / 255 - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(
            spec.std
        ).view(3, 1, 1)
        np.testing.assert_allclose(found, model(x[None])[0].softmax(0), atol=1e-5)
