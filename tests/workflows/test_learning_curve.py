"""A learning curve, with made detectors in place of trained ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vocdet.data.detections import Detections
from vocdet.errors import SplitError
from vocdet.evaluation.report import evaluate
from vocdet.formats.scan import Source
from vocdet.workflows import learning_curve as workflow
from vocdet.workflows.eval_options import EvalOptions, split_rows
from vocdet.workflows.learning_curve import CurveOptions, learning_curve
from vocdet.workflows.load import Loaded

BOX = (5.0, 5.0, 45.0, 50.0)
TRAIN, TEST = [f"train{i:02}" for i in range(32)], [f"test{i:02}" for i in range(10)]


@dataclass
class Sees:
    """Finds the object in a share of the images."""

    share: float


@pytest.fixture
def root(make_voc: Callable[..., Path]) -> Path:
    return make_voc({stem: [("cat", BOX)] for stem in (*TRAIN, *TEST)}, splits={"train": TRAIN, "test": TEST})


def evaluated(detector: Sees, loaded: Loaded, options: EvalOptions, **_: object) -> SimpleNamespace:
    dataset = loaded.dataset.subset(split_rows(loaded.dataset, options.split))
    found = [
        Detections(np.array([BOX]), np.array([0.9], np.float32), np.array([0])).take([0] if i < detector.share * len(dataset) else [])
        for i in range(len(dataset))
    ]  # fmt: skip
    return SimpleNamespace(ground_truth=dataset, detections=tuple(found), report=evaluate(dataset, found))


def test_shares_are_trained_on_and_the_gain_is_estimated(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = {"train_8": 0.2, "train_4": 0.4, "train_2": 0.6, "train_1": 0.7}
    monkeypatch.setattr(workflow, "open_detector", lambda run, **_: Sees(shares[run.name]))
    monkeypatch.setattr(workflow, "evaluate_detector", evaluated)
    seen: dict[str, set[int]] = {}

    def train(loaded: Loaded, split: str, folder: Path) -> Path:
        seen[split] = set(loaded.dataset.splits[split].tolist())
        return folder.with_name(split)

    result = learning_curve(Source(root), CurveOptions(tmp_path / "out"), train)
    assert result.sizes == (4, 8, 16, 32)
    parts = [seen[name] for name in shares]
    assert [len(part) for part in parts] == [4, 8, 16, 32]
    assert all(small < large for small, large in zip(parts, parts[1:], strict=False))
    (cat,) = result.labels
    assert cat.ap50 == pytest.approx((0.2, 0.4, 0.6, 0.7), abs=0.02)  # COCO's recalls are hundredths
    assert cat.fit is not None
    assert 0.7 < cat.fit.doubled < 0.9
    assert cat.fit.low < cat.fit.doubled < cat.fit.high
    assert result.overall.fit == cat.fit
    assert json.loads(result.result.read_text())["images"] == [4, 8, 16, 32]
    with Image.open(result.picture) as picture:
        assert picture.size == (1000, 650)


def test_too_few_images_are_refused_before_any_training(make_voc: Callable[..., Path], tmp_path: Path) -> None:
    root = make_voc({stem: [("cat", BOX)] for stem in "abcdef"}, splits={"train": list("abcde"), "test": ["f"]})

    def train(loaded: Loaded, split: str, folder: Path) -> Path:
        raise AssertionError

    with pytest.raises(SplitError, match="has 5 images, too few to divide by 8"):
        learning_curve(Source(root), CurveOptions(tmp_path / "out"), train)
    assert not (tmp_path / "out").exists()
