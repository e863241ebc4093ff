"""Thresholds are chosen on a split, and stored in the checkpoint without touching its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.workflows.test_evaluate import SCENES, Knows, save_run
from vocdet.errors import ArgumentError, SplitError
from vocdet.evaluation.curves import Wanted
from vocdet.formats.scan import Source
from vocdet.inference.predictor import load_predictor
from vocdet.models.checkpoint import read_info
from vocdet.workflows import evaluate, thresholds
from vocdet.workflows.load import load_dataset
from vocdet.workflows.thresholds import ThresholdOptions, choose_thresholds

MakeVoc = Callable[..., Path]


@pytest.fixture
def root(make_voc: MakeVoc) -> Path:
    return make_voc(SCENES, splits={"train": ["d"], "val": ["a", "b", "c"]})


@pytest.fixture
def run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that finds every dog and no cat, with a score of .9."""
    loaded = load_dataset(Source(root))
    detector = Knows(loaded.dataset.subset(loaded.dataset.rows("val")), ("dog", "cat"))
    detector.truth = detector.truth.select_objects(detector.truth.objects.label == 1)
    monkeypatch.setattr(thresholds, "load_predictor", lambda path, device: detector)
    monkeypatch.setattr(evaluate, "detect_all", lambda predictor, images: predictor.detect_all(images))
    return save_run(tmp_path / "run", thresholds=(0.3, 0.7))


def test_they_are_stored_with_their_origin_and_the_same_weights(run: Path, root: Path) -> None:
    before = load_file(run / "best.safetensors")
    done = choose_thresholds(run, Source(root), ThresholdOptions(Wanted(recall=0.9)))
    info = read_info(run / "best.safetensors")
    assert info.thresholds == pytest.approx((0.45, 0.95))  # no cat was found: it keeps its threshold
    assert info.thresholds_from is not None
    assert (info.thresholds_from.rule, info.thresholds_from.split) == ("recall 0.9", "val")
    assert (info.thresholds_from.images, info.thresholds_from.unreached) == (3, ("cat",))
    assert info.calibration == ((0.9, 1.0),)
    assert [(row.label, row.precision, row.recall) for row in done.labels] == [("dog", 1, 1), ("cat", None, 0)]
    after = load_file(run / "best.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_detector_uses_what_is_stored(run: Path, root: Path) -> None:
    choose_thresholds(run, Source(root), ThresholdOptions(fixed={"cat": 0.25}))
    assert load_predictor(run).thresholds.tolist() == pytest.approx([0.45, 0.25])


def test_a_trial_changes_no_file(run: Path, root: Path) -> None:
    before = (run / "best.safetensors").read_bytes()
    assert choose_thresholds(run, Source(root), ThresholdOptions(store=False)).labels[0].threshold == pytest.approx(
        0.45
    )
    assert (run / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (ThresholdOptions(Wanted(precision=1.5)), "the wanted precision is 1.5"),
        (ThresholdOptions(Wanted(recall=float("nan"))), "the wanted recall is nan"),
        (ThresholdOptions(fixed={"dgo": 0.5}), "the detector has no label 'dgo'"),
        (ThresholdOptions(fixed={"dog": 2}), "the threshold of dog is 2"),
    ],
)
def test_what_cannot_be_wanted_is_refused(run: Path, root: Path, options: ThresholdOptions, problem: str) -> None:
    with pytest.raises(ArgumentError, match=problem):
        choose_thresholds(run, Source(root), options)


def test_they_can_be_chosen_on_every_image(run: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Knows(load_dataset(Source(root)).dataset, ("dog", "cat"))
    monkeypatch.setattr(thresholds, "load_predictor", lambda path, device: detector)
    done = choose_thresholds(run, Source(root), ThresholdOptions(split="all"))
    assert (done.split, done.images) == ("all", 4)


def test_a_fold_with_an_unknown_stem_is_refused(run: Path, root: Path) -> None:
    (root / "ImageSets" / "Main" / "fold1_val.txt").write_text("a\ngone\n")
    with pytest.raises(SplitError, match="gone"):
        choose_thresholds(run, Source(root), ThresholdOptions(split="fold1_val"))
