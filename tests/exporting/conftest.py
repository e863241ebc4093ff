"""Tiny models of every family, and their ONNX files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from vocdet.exporting.graphs import graph_of
from vocdet.exporting.onnx import onnx_bytes
from vocdet.files import write_bytes
from vocdet.inputs.images import resize
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import ModelSpec, build
from vocdet.models.checkpoint import CheckpointInfo
from vocdet.models.rcnn.model import RcnnSpec
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.workflows.export import describe

NET = BackboneSpec("mb1", 0.25)
LABELS = ("cat", "dog")


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return resize(coarse, (height, width))


def lively(spec: ModelSpec) -> nn.Module:
    """A model that says something else of every place: norms that fit their inputs, and large last layers."""
    torch.manual_seed(0)
    model = build(spec)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.bias, 0, 0.2)
        norm.momentum = 1.0
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and any(
            part in name for part in ("class_head", "class_out", "box_out", "box_predictor", "mask_predictor")
        ):
            nn.init.normal_(layer.weight, 0, 0.3)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([picture(64, 64, seed) for seed in range(8)])).permute(0, 3, 1, 2)
        if isinstance(spec, RcnnSpec):
            boxes, classes = torch.tensor([[[10.0, 10, 50, 50]]]).expand(8, 1, 4), torch.ones(8, 1, dtype=torch.int64)
            model.train().losses(pixels, None, boxes, classes, None)  # type: ignore[operator]
        else:
            model.train()(pixels.float())
    return model.eval()


def exported(
    spec: ModelSpec, name: str, temporary: pytest.TempPathFactory, thresholds: tuple[float, ...] | None = None
) -> tuple[nn.Module, Path]:
    """A lively model, and its ONNX file, which all test processes share: writing it takes seconds."""
    model, info = lively(spec), CheckpointInfo(vocdet="0", model=spec, thresholds=thresholds)
    base = temporary.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    path = shared / f"{name}.onnx"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            lock.write("weights")
            lock.flush()
            write_bytes(path, onnx_bytes(graph_of(model, info), describe(info, Path(lock.name))))
    return model, path


Exported = tuple[nn.Module, Path]


@pytest.fixture(scope="session")
def ssd(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    spec = SsdSpec(NET, LABELS, (64, 96), torchvision_anchors())
    return exported(spec, "ssd", tmp_path_factory, (0.3, 0.6))


@pytest.fixture(scope="session")
def pan(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return exported(SsdSpec(NET, LABELS, (64, 64), Anchors(()), neck="pan", channels=16), "pan", tmp_path_factory)


@pytest.fixture(scope="session")
def rcnn(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    spec = RcnnSpec(NET, LABELS, size=64, longest=64, channels=16, hidden=32, proposals=20, candidates=50)
    return exported(spec, "rcnn", tmp_path_factory, (0.06, 0.06))
