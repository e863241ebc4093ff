"""A recipe that makes no sense is refused before any work is done."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from typing import Any

import msgspec
import pytest

from vocdet.errors import ManyErrors, VocdetError
from vocdet.recipes.schema import TASKS, BackboneRecipe, Recipe, SsdRecipe, changed, check_side

BOTH = pytest.mark.parametrize("recipe", [SsdRecipe(), BackboneRecipe()])


@BOTH
@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"batch": -1}, "give a number from 0 to 4096"),
        ({"epochs": 0}, "give a number from 1 to 100000"),
        ({"minutes": -1.0}, "give a number from 0 to 1000000"),
        ({"minutes": float("nan")}, "give a number from 0 to 1000000"),
        ({"patience": -1}, "give a number from 0 to 100000"),
        ({"lr": 0.0}, "give a number from 1e-08 to 100"),
        ({"lr": float("nan")}, "give a number from 1e-08 to 100"),
        ({"lr": float("inf")}, "give a number from 1e-08 to 100"),
        ({"weight_decay": -0.1}, "give a number from 0 to 1"),
        ({"average": 1.0}, "give a number from 0 to 0.99999"),
        ({"seed": -1}, "give a number from 0 to 4294967295"),
        ({"colour": 1.5}, "give a number from 0 to 1"),
        ({"size": 8}, None),
        ({"size": 100_000}, None),
        ({"best": "beauty"}, None),
        ({"optimizer": "adam"}, "give one of adamw, sgd"),
        ({"cache": "tape"}, "give one of ram, disk, off"),
    ],
)
def test_a_value_that_makes_no_sense_is_told_with_what_does(
    recipe: Any, wrong: dict[str, Any], hint: str | None
) -> None:
    with pytest.raises(VocdetError) as caught:
        changed(recipe, **wrong)
    (name,) = wrong
    assert caught.value.problem.startswith(f"{name} is {wrong[name]}")
    if hint:
        assert caught.value.hint == hint


def test_all_that_is_wrong_in_a_section_is_told_at_once() -> None:
    with pytest.raises(ManyErrors) as caught:
        changed(SsdRecipe(), mosaic=1.1, mixup=-0.1)
    assert [error.problem for error in caught.value.errors] == ["mosaic is 1.1", "mixup is -0.1"]


@BOTH
def test_what_is_usual_makes_sense(recipe: Recipe) -> None:
    assert msgspec.json.decode(msgspec.json.encode(asdict(recipe)), type=type(recipe)) == recipe


@BOTH
def test_no_two_sections_share_a_name_and_every_field_has_help(recipe: Recipe) -> None:
    sections = [getattr(recipe, part.name) for part in dataclasses.fields(recipe)]
    fields = [field for section in sections for field in dataclasses.fields(section)]
    assert len({field.name for field in fields}) == len(fields)
    assert all(field.metadata["help"] for field in fields)


def test_a_value_goes_to_its_section() -> None:
    recipe = changed(SsdRecipe(), net="mb1", epochs=3, part="trainval", mosaic=0.0)
    assert (recipe.model.net, recipe.train.epochs, recipe.data.part, recipe.augment.mosaic) == ("mb1", 3, "trainval", 0)
    with pytest.raises(ValueError, match="no recipe has epoch"):
        changed(SsdRecipe(), epoch=3)
    assert set(TASKS) == {"backbone", "ssd"}


def test_a_detectors_input_is_at_least_64_pixels_and_a_crop_32() -> None:
    with pytest.raises(VocdetError, match="size is 32") as caught:
        changed(SsdRecipe(), size=32)
    assert caught.value.hint == "give a number from 64 to 2048"
    changed(BackboneRecipe(), size=32)
    check_side(32, smallest=32)
    with pytest.raises(VocdetError, match="size is 31 pixels"):
        check_side(31, smallest=32)
