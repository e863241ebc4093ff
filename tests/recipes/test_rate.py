"""The default learning rate with few images."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from vocdet.recipes.load import load_recipe
from vocdet.recipes.rate import rate_notes, with_rate
from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe, changed


@pytest.mark.parametrize("samples", [1, 20, 99])
def test_few_images_halve_the_rate_of_muon(samples: int) -> None:
    recipe = SsdRecipe()
    adjusted = with_rate(recipe, samples)
    assert (recipe.train.optimizer, recipe.train.lr, adjusted.train.lr) == ("muon", 0.004, 0.002)
    assert adjusted == changed(recipe, lr=0.002)
    few = "1 sample" if samples == 1 else f"{samples} samples"
    assert rate_notes(recipe, adjusted, samples) == (
        f"for only {few} the learning rate is 0.002; `lr=0.004`: as with many",
    )


@pytest.mark.parametrize(
    ("recipe", "samples", "given"),
    [
        (SsdRecipe(), 100, ()),
        (SsdRecipe(), 20, ("lr",)),
        (changed(SsdRecipe(), lr=0.003), 20, ()),
        (changed(SsdRecipe(), optimizer="adamw"), 20, ()),
        (MaskRcnnRecipe(), 20, ()),
        (BackboneRecipe(), 20, ()),
    ],
)
def test_the_rate_stays_with_many_images_other_optimizers_and_a_choice(
    recipe: Any, samples: int, given: Collection[str]
) -> None:
    assert with_rate(recipe, samples, given) == recipe
    assert rate_notes(recipe, recipe, samples) == ()


def test_the_recipe_of_the_command_has_the_default_rate() -> None:
    assert with_rate(load_recipe("ssd", "ssdlite-mb3-small").recipe, 20).train.lr == 0.002
