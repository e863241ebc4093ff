"""The default length of a training: enough steps for few images, fewer epochs for many."""

from __future__ import annotations

import math
from typing import Any

import pytest

from vocdet.recipes.length import length_notes, with_length
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe, changed


def steps(recipe: Any, samples: int) -> int:
    """Steps of a training by epochs."""
    each = math.ceil(samples * (recipe.data.repeat or 1) / recipe.train.batch)
    return int(recipe.train.epochs * each)


def notes(recipe: Any, samples: int) -> tuple[str, ...]:
    return length_notes(recipe, with_length(recipe, samples), samples)


@pytest.mark.parametrize("base", [SsdRecipe(), MaskRcnnRecipe(), BackboneRecipe()])
@pytest.mark.parametrize("samples", [1, 5, 9, 16, 39, 79])
def test_few_samples_are_repeated_until_the_training_has_1000_steps(base: Any, samples: int) -> None:
    recipe = with_length(base, samples)
    assert recipe.train == base.train
    assert 1000 <= steps(recipe, samples) <= 2000


def test_eight_images_fill_a_batch_and_pass_ten_times() -> None:
    assert with_length(SsdRecipe(), 8).data.repeat == 10
    assert notes(SsdRecipe(), 8) == ("8 samples are few: an epoch has 10 passes; `repeat=1`: one",)


@pytest.mark.parametrize("samples", [80, 500, 2000])
def test_hundreds_of_images_have_a_hundred_passes(samples: int) -> None:
    assert with_length(SsdRecipe(), samples) == SsdRecipe()
    assert notes(SsdRecipe(), samples) == ()


def test_with_many_images_the_number_of_epochs_falls_with_their_square_root() -> None:
    recipe = with_length(SsdRecipe(), 50_000)  # 25 times 2,000
    assert (recipe.train.epochs, recipe.data.repeat) == (20, 0)
    assert notes(SsdRecipe(), 50_000) == ("50000 samples are many: 20 epochs; `epochs=100`: more",)


@pytest.mark.parametrize("samples", [5, 50_000])
@pytest.mark.parametrize(
    ("values", "given"),
    [({"epochs": 30}, ()), ({"epochs": 100}, ("epochs",)), ({"max_steps": 90}, ()), ({"repeat": 2}, ())],
)
def test_a_chosen_length_is_not_changed(values: dict[str, Any], given: tuple[str, ...], samples: int) -> None:
    recipe = changed(SsdRecipe(), **values)
    assert with_length(recipe, samples, given) == recipe


def test_within_a_time_few_images_are_repeated_but_no_epochs_are_counted() -> None:
    timed = changed(SsdRecipe(), minutes=3.0)
    assert with_length(timed, 8).data.repeat == 10
    assert with_length(timed, 50_000) == timed


def test_longer_recipes_are_repeated_less_often_and_are_never_shortened() -> None:
    recipe = load_recipe("ssd", "ssd-mb1").recipe
    assert recipe.train.epochs == 200
    assert steps(with_length(recipe, 8), 8) == 1000
    assert with_length(recipe, 50_000) == recipe
