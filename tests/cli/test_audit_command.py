"""`vocdet audit`, from the training of folds to a correction."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from vocdet_cli.audit import DEFAULT_RECIPE, OF_RECIPE

from tests.workflows.test_audit import BAD, GOOD, STEMS
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import SsdRecipe
from vocdet.runs.facts import flatten

Run = Callable[..., tuple[int, str, str]]
QUICK = (
    "--net",
    "mb1-0.25",
    "--size",
    64,
    "--batch",
    8,
    "--epochs",
    1,
    "--folds",
    2,
    "--device",
    "cpu",
    "--set",
    "model.weights=none",
)


@pytest.mark.usefixtures("no_curves")
def test_folds_are_trained_once_and_what_is_accepted_is_corrected(
    vocdet: Run, make_voc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_voc({stem: BAD.get(stem, GOOD) for stem in STEMS})
    code, out, err = vocdet("audit", root, *QUICK)
    assert code == 0, err
    assert out.count("epoch   1") == 2
    code, out, err = vocdet("audit", root, *QUICK)
    assert code == 0, err
    assert "epoch" not in out
    record = Path("audit/audit.json")
    proposal = {
        "number": 1,
        "kind": "missing",
        "confidence": 0.9,
        "image": "JPEGImages/img6.jpg",
        "label": "cat",
        "box": [60, 10, 90, 40],
        "score": 0.9,
    }
    record.write_text(json.dumps({"dataset": str(root), "proposals": [proposal]}))
    path = root / "Annotations" / "img6.xml"
    before = path.read_bytes()
    code, out, err = vocdet("audit", root, "--review")
    assert (code, path.read_bytes()) == (0, before)
    assert "a review needs a terminal" in err
    code, out, err = vocdet("audit", root, "--accept", 1)
    assert (code, path.read_bytes()) == (0, before)
    assert "+\t\t<name>cat</name>" in out
    code, out, err = vocdet("audit", root, "--accept", 1, "--yes")
    assert code == 0, err
    assert path.read_text().count("<object>") == 2
    assert ".vocdet-backup" in out


def test_the_help_shows_the_defaults_of_its_recipe() -> None:
    recipe = load_recipe("ssd", DEFAULT_RECIPE).recipe
    flat = flatten(dataclasses.asdict(recipe)), flatten(dataclasses.asdict(SsdRecipe()))
    differing = {name.split(".")[1]: value for name, value in flat[0].items() if value != flat[1][name]}
    assert differing == OF_RECIPE
