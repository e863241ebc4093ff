"""A detector that is trained on tiles detects on tiles, wherever it is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import vocdet
from vocdet.data.detections import Detections
from vocdet.data.tiles import Tiles
from vocdet.formats.scan import Source
from vocdet.inference.tiled import TileChoice, TiledPredictor
from vocdet.inputs.images import Image
from vocdet.models.checkpoint import load_checkpoint
from vocdet.workflows.detector import DetectorOptions
from vocdet.workflows.evaluate import evaluate_run


def test_training_on_tiles_is_stored_and_used(
    make_voc: Callable[..., Path], tmp_path: Path, no_curves: None, quick_facts: None
) -> None:
    objects = [("dot", (40.0 * i, 10.0 * i, 40.0 * i + 12, 10.0 * i + 12)) for i in range(3)]
    splits = {"train": ["a", "b"], "val": ["c"], "test": ["c"]}
    root = make_voc({"a": objects, "b": objects, "c": objects}, size=(110, 64), splits=splits)
    settings: dict[str, Any] = {"net": "mb1-0.25", "size": 64, "weights": "none", "epochs": 1, "repeat": 1, "batch": 8}
    run = vocdet.train_detector(root, runs=tmp_path / "runs", device="cpu", tile=64, **settings)
    _, info = load_checkpoint(run.path / "best.safetensors")
    assert info.tiles == Tiles(64, 0.2, whole=False)
    detector = vocdet.load(run, device="cpu")
    assert isinstance(detector.model, TiledPredictor)
    inner = detector.model.inner
    views: list[tuple[int, ...]] = []

    class Watched:
        labels, thresholds, levels = inner.labels, inner.thresholds, inner.levels

        def detect(self, images: Sequence[Image], *, score: float = 0.0) -> list[Detections]:
            views.extend(image.shape for image in images)
            return inner.detect(images)

    detector.model.inner = Watched()
    detector(np.zeros((64, 110, 3), np.uint8))
    assert views == [(64, 64, 3)] * 2
    views.clear()
    assert vocdet.evaluate(root, detector).overall.objects == 3
    assert views == [(64, 64, 3)] * 2
    views.clear()
    vocdet.evaluate(root, detector, tile=0)
    assert views == [(64, 110, 3)]
    for choice, tiles in ((TileChoice(), Tiles(64, whole=False)), (TileChoice(80), Tiles(80)), (TileChoice(0), None)):
        metrics = evaluate_run(run.path, Source(root), detector=DetectorOptions("cpu", tiles=choice)).metrics
        assert json.loads(metrics.read_text()).get("tiles") == (asdict(tiles) if tiles else None)
