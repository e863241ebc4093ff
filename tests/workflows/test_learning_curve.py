"""A learning curve, with made detectors in place of trained ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import vocdet
from vocdet.data.detections import Detections
from vocdet.errors import RunError, SplitError
from vocdet.evaluation.learning_curve import CurveFit
from vocdet.evaluation.report import evaluate
from vocdet.formats.scan import Source
from vocdet.recipes.schema import SsdRecipe, changed
from vocdet.runs.setup import RunOptions
from vocdet.training.state import read_record
from vocdet.workflows import learning_curve as workflow
from vocdet.workflows import trainings
from vocdet.workflows.eval_options import EvalOptions, split_rows
from vocdet.workflows.learning_curve import CurveOptions, LabelGrowth, learning_curve, nested
from vocdet.workflows.load import Loaded, load_dataset

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
    with pytest.raises(SplitError, match="5 images of split 'train' are also trained on"):
        learning_curve(Source(root), CurveOptions(tmp_path / "out", split="train"), train)


def test_subsets_are_nested_and_no_label_is_missing(make_voc: Callable[..., Path]) -> None:
    stems = [f"a{i:02}" for i in range(32)]
    rare = {"a03", "a17"}
    root = make_voc({stem: [("rare" if stem in rare else "cat", BOX)] for stem in stems}, splits={"train": stems})
    dataset = vocdet.read(root)
    for seed in range(5):
        parts = nested(dataset, dataset.rows("train"), seed)
        assert [len(parts[share]) for share in (8, 4, 2, 1)] == [4, 8, 16, 32]
        assert set(parts[8]) < set(parts[4]) < set(parts[2]) < set(parts[1])
        assert rare & {dataset.images.stems[row] for row in parts[8]}


@pytest.mark.parametrize(
    ("objects", "ap50", "gain", "text"),
    [
        (50, (0.3, 0.5, 0.6, 0.7), (0.04, 0.08), "+0.060 (+0.040 to +0.080)"),
        (3, (0.3, 0.5, 0.6, 0.7), (0.04, 0.08), "cannot tell: only 3 objects to evaluate on"),
        (50, (0.0, 0.0, 0.0, 0.1), (0.0, 0.0), "cannot tell: hardly learned with fewer images"),
        (50, (0.3, 0.5, 0.6, 0.7), (0.0, 0.3), "cannot tell: between +0.00 and +0.30"),
    ],
)
def test_what_the_fit_cannot_tell_is_not_said(
    objects: int, ap50: tuple[float, ...], gain: tuple[float, float], text: str
) -> None:
    growth = LabelGrowth("cat", objects, ap50, CurveFit(0.3, 0.7, 0.76, 0.74, 0.78, gain))
    assert growth.doubling() == text


def test_runs_of_another_recipe_are_not_taken_for_these(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folders: list[Path] = []

    def trained(_: object, recipe: object, options: RunOptions) -> Iterator[SimpleNamespace]:
        folders.append(options.runs)
        yield SimpleNamespace(run=options.runs / "ssd-1", summary=SimpleNamespace(interrupted=False))

    monkeypatch.setattr(trainings, "training_events", trained)
    for minutes in (1.0, 2.0, 1.0):
        recipe = changed(SsdRecipe(), minutes=minutes)
        trainings.Trainings(recipe, RunOptions())(None, "train", tmp_path / "train_8")  # type: ignore[arg-type]
    assert folders[0] == folders[2] != folders[1]


def test_an_interrupted_training_continues_with_the_length_that_fits_its_images(
    make_voc: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_voc({stem: [("cat", BOX)] for stem in "abcd"}, splits={"train": list("abc"), "val": ["d"]})
    recipe = changed(SsdRecipe(), net="mb1-0.25", size=64, weights="none", batch=2)
    train = trainings.Trainings(recipe, RunOptions(device="cpu", stop=lambda: True))
    for _ in range(2):
        with pytest.raises(RunError, match=": interrupted"):
            train(load_dataset(Source(root)), "train", tmp_path / "fold")
    (run,) = tmp_path.glob("fold-*/ssd-*")
    assert read_record(run / "state.safetensors").progress.steps == 2
    annotation = root / "Annotations" / "d.xml"
    annotation.write_text(annotation.read_text().replace("<xmax>45</xmax>", "<xmax>40</xmax>"))
    with pytest.raises(RunError, match=": interrupted"):  # and not that an image has changed
        train(load_dataset(Source(root)), "train", tmp_path / "fold")
    assert len(list(tmp_path.glob("fold-*/ssd-*"))) == 2
