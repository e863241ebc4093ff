"""A recipe that makes no sense is refused before any work is done."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
import pytest

from vocdet.errors import VocdetError
from vocdet.recipes.schema import BackboneRecipe, DetectorRecipe, check_side


@pytest.mark.parametrize("kind", [DetectorRecipe, BackboneRecipe])
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"batch": 0}, "give a number from 1 to 4096"),
        ({"epochs": 0}, "give a number from 1 to 100000"),
        ({"minutes": -1.0}, "give a number from 0.01 to 1e+06"),
        ({"minutes": float("nan")}, "give a number from 0.01 to 1e+06"),
        ({"patience": -1}, "give a number from 0 to 100000"),
        ({"lr": 0.0}, "give a number from 1e-08 to 100"),
        ({"lr": float("nan")}, "give a number from 1e-08 to 100"),
        ({"lr": float("inf")}, "give a number from 1e-08 to 100"),
        ({"weight_decay": -0.1}, "give a number from 0.0 to 1"),
        ({"average": 1.0}, "give a number from 0.0 to 0.99999"),
        ({"seed": -1}, "give a number from 0 to 4.29497e+09"),
        ({"size": 8}, None),
        ({"size": 100_000}, None),
    ],
)
def test_a_number_that_makes_no_sense_is_told_with_what_does(
    kind: Any, wrong: dict[str, Any], hint: str | None
) -> None:
    with pytest.raises(VocdetError) as caught:
        kind(**wrong)
    (name,) = wrong
    assert caught.value.problem.startswith(f"{name} is {wrong[name]}")
    if hint:
        assert caught.value.hint == hint


def test_a_mosaic_is_a_share() -> None:
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(VocdetError, match="mosaic is"):
            DetectorRecipe(mosaic=value)


def test_what_is_usual_makes_sense() -> None:
    for recipe in (DetectorRecipe(), BackboneRecipe(), DetectorRecipe(minutes=0.1, size=64), BackboneRecipe(size=32)):
        assert type(recipe)(**asdict(recipe)) == recipe
        assert msgspec.json.decode(msgspec.json.encode(recipe), type=type(recipe)) == recipe


def test_a_detectors_input_is_at_least_64_pixels_and_a_crop_32() -> None:
    with pytest.raises(VocdetError, match="size is 32 pixels") as caught:
        DetectorRecipe(size=32)
    assert caught.value.hint == "give one from 64 to 2048"
    check_side(32, smallest=32)
    with pytest.raises(VocdetError, match="size is 31 pixels"):
        check_side(31, smallest=32)
