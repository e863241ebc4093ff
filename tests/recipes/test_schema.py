"""Invalid recipes are refused before training starts."""

from __future__ import annotations

import dataclasses
from dataclasses import asdict
from typing import Any

import msgspec
import pytest

from vocdet.errors import ManyErrors, VocdetError
from vocdet.recipes.schema import TASKS, BackboneRecipe, MaskRcnnRecipe, Recipe, SsdRecipe, changed, check_side

ALL = pytest.mark.parametrize("recipe", [SsdRecipe(), BackboneRecipe(), MaskRcnnRecipe()])


@ALL
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
        ({"color": 1.5}, "give a number from 0 to 1"),
        ({"size": 8}, None),
        ({"size": 100_000}, None),
        ({"best": "beauty"}, None),
        ({"optimizer": "adam"}, "give one of muon, adamw, sgd, momentum"),
        ({"cache": "tape"}, "give one of ram, off"),
        ({"split": "a/b"}, "give the name of a split, as in train, trainval or fold1_train"),
        ({"split": ""}, None),
    ],
)
def test_an_invalid_value_is_an_error_with_the_valid_ones(recipe: Any, wrong: dict[str, Any], hint: str | None) -> None:
    with pytest.raises(VocdetError) as caught:
        changed(recipe, **wrong)
    (name,) = wrong
    assert caught.value.problem.startswith(f"{name} is {wrong[name]}")
    if hint:
        assert caught.value.hint == hint


def test_all_errors_of_a_section_are_raised_together() -> None:
    with pytest.raises(ManyErrors) as caught:
        changed(SsdRecipe(), mosaic=1.1, mixup=-0.1)
    assert [error.problem for error in caught.value.errors] == ["mosaic is 1.1", "mixup is -0.1"]


@ALL
def test_the_defaults_are_valid(recipe: Recipe) -> None:
    assert msgspec.json.decode(msgspec.json.encode(asdict(recipe)), type=type(recipe)) == recipe


@ALL
def test_no_two_sections_share_a_name_and_every_field_has_help(recipe: Recipe) -> None:
    sections = [getattr(recipe, split.name) for split in dataclasses.fields(recipe)]
    fields = [field for section in sections for field in dataclasses.fields(section)]
    assert len({field.name for field in fields}) == len(fields)
    assert all(field.metadata["help"] for field in fields)


def test_a_value_is_set_in_its_section() -> None:
    recipe = changed(SsdRecipe(), net="mb1", epochs=3, split="trainval", mosaic=0.0)
    assert (recipe.model.net, recipe.train.epochs, recipe.data.split, recipe.augment.mosaic) == (
        "mb1",
        3,
        "trainval",
        0,
    )
    with pytest.raises(ValueError, match="no recipe has epoch"):
        changed(SsdRecipe(), epoch=3)
    assert set(TASKS) == {"backbone", "ssd", "maskrcnn"}


def test_a_detectors_input_is_at_least_64_pixels_and_a_crop_32() -> None:
    with pytest.raises(VocdetError, match="size is 32") as caught:
        changed(SsdRecipe(), size=32)
    assert caught.value.hint == "give a number from 64 to 2048"
    changed(BackboneRecipe(), size=32)
    check_side(32, smallest=32)
    with pytest.raises(VocdetError, match="size is 31 pixels"):
        check_side(31, smallest=32)


@ALL
@pytest.mark.parametrize("net", ["vgg16", "mb1-3", "mb1-0.01", "mb4", "", "mb1-", "MB1", "resnet50-0.5", "mb1\n"])
def test_an_invalid_net_is_an_immediate_error(recipe: Any, net: str) -> None:
    with pytest.raises(VocdetError) as caught:
        changed(recipe, net=net)
    assert caught.value.problem == f"unknown net {net!r}"
    assert "mb1, mb2, mb3-small, mb3-large" in caught.value.hint


def test_resnet50_is_a_net_for_mask_rcnn_alone() -> None:
    assert changed(MaskRcnnRecipe(), net="resnet50").model.net == "resnet50"
    for change in (lambda: changed(SsdRecipe(), net="resnet50"), lambda: changed(BackboneRecipe(), net="resnet50")):
        with pytest.raises(VocdetError, match="unknown net 'resnet50'") as caught:
            change()
        assert caught.value.hint.startswith("only Mask R-CNN and Faster R-CNN have it")
    with pytest.raises(VocdetError, match="unknown net") as caught:
        changed(MaskRcnnRecipe(), net="resnet18")
    assert caught.value.hint.startswith("use resnet50, mb1")


@pytest.mark.parametrize("channels", [1, 7, -1, 513])
def test_a_pyramid_has_enough_channels(channels: int) -> None:
    with pytest.raises(VocdetError, match=f"channels is {channels}"):
        changed(MaskRcnnRecipe(), channels=channels)
    assert [changed(MaskRcnnRecipe(), channels=n).model.channels for n in (0, 8, 512)] == [0, 8, 512]


@pytest.mark.parametrize("scales", [(), (1.0,), (1.2, 0.8), (0.5, 1.0, 2.0)])
def test_scales_are_a_minimum_and_a_maximum(scales: tuple[float, ...]) -> None:
    with pytest.raises(VocdetError, match="scales is") as caught:
        changed(MaskRcnnRecipe(), scales=scales)
    assert "scales = [0.8, 1.25]" in caught.value.hint
