"""The bundled recipes: each loads, describes itself, and has the values of its original."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vocdet import resources
from vocdet.recipes import document
from vocdet.recipes.document import bundled_recipes
from vocdet.recipes.load import dump_recipe, load_recipe, task_of
from vocdet.recipes.schema import BackboneRecipe, MaskRcnnRecipe, SsdRecipe

TEMPLATES = Path(__file__).parents[2] / "templates"
ANCESTORS = {  # and what to begin with
    "ssdlite-mb3-small", "ssdlite-mb3-large", "ssdlite320-coco", "ssd-mb1", "ssd-mb1-keras", "mobile-det",
    "mobilenetv3-ssd", "finetune", "finetune-last", "backbone", "maskrcnn-mb3-small", "maskrcnn-mb3-large",
    "mobile-mask-rcnn", "maskrcnn-resnet50", "maskrcnn-resnet50-mlperf",
}  # fmt: skip


def ssd(name: str) -> SsdRecipe:
    return load_recipe("ssd", name).recipe


def backbone(name: str) -> BackboneRecipe:
    return load_recipe("backbone", name).recipe


def maskrcnn(name: str) -> MaskRcnnRecipe:
    return load_recipe("maskrcnn", name).recipe


def test_every_original_has_a_recipe_and_every_file_is_a_recipe() -> None:
    assert set(bundled_recipes()) == {path.stem for path in (TEMPLATES / "recipes").iterdir()}
    assert set(bundled_recipes()) >= ANCESTORS


@pytest.mark.parametrize("name", bundled_recipes())
def test_a_recipe_loads_has_a_description_and_can_be_dumped(name: str, tmp_path: Path) -> None:
    task = task_of(name)
    resolved = load_recipe(task, name)
    assert resolved.description
    assert set(resolved.origin.values()) == {"default", "recipe"}
    copy = tmp_path / "copy.toml"
    copy.write_text(dump_recipe(resolved.recipe, task), encoding="utf-8")
    assert load_recipe(task, str(copy)).recipe == resolved.recipe


@pytest.mark.parametrize("name", bundled_recipes())
def test_a_recipe_fits_a_screen_and_names_the_source_of_its_values(name: str) -> None:
    lines = (TEMPLATES / "recipes" / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 120 for line in lines)
    assert lines[0].startswith("# ")


@pytest.mark.parametrize(
    ("name", "extras", "last_map"),
    [("ssd-mb1", "plain", "conv"), ("mobile-det", "separable", "conv"), ("ssd-mb1-keras", "plain", "pool")],
)
def test_a_mobilenet_v1_ssd_has_300_pixels_and_a_first_map_of_19(name: str, extras: str, last_map: str) -> None:
    model = ssd(name).model
    assert (model.net, model.size, model.extras, model.last_map) == ("mb1", 300, extras, last_map)
    assert -(-model.size // 16) == 19


def test_the_coco_recipe_is_the_architecture_of_torchvisions_checkpoint() -> None:
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    model = ssd("ssdlite320-coco").model
    theirs = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)
    assert (model.weights, model.anchors) == ("coco", "torchvision")
    assert theirs.transform.fixed_size == (model.size, model.size)
    last = [parameter for name, parameter in theirs.named_parameters() if name.startswith("backbone.features.1")][-1]
    assert model.reduced_tail == (len(last) == 480)  # half of V3-Large's 960


def test_fine_tuning_requires_weights_and_preserves_their_features() -> None:
    recipe = ssd("finetune")
    assert (recipe.train.freeze, recipe.train.freeze_norm) == (8, True)
    assert recipe.model.weights not in ("none", "auto")
    last = ssd("finetune-last")
    assert (last.train.freeze, last.train.freeze_norm, last.model.weights) == (16, True, "last")


def test_mobilenetv3_ssd_has_the_protocol_of_the_original() -> None:
    recipe = ssd("mobilenetv3-ssd")
    assert (recipe.train.epochs, recipe.train.patience, recipe.data.split) == (40, 20, "trainval")
    assert backbone("backbone").train.patience == 20


@pytest.mark.parametrize("name", ["ssdlite-mb3-small", "ssdlite-mb3-large"])
def test_the_basic_recipes_are_the_defaults_of_the_command_line(name: str) -> None:
    recipe, default = ssd(name), SsdRecipe()
    assert (recipe.train, recipe.data, recipe.augment) == (default.train, default.data, default.augment)
    assert recipe.model.net == name.removeprefix("ssdlite-")


@pytest.mark.parametrize("name", ["maskrcnn-mb3-small", "maskrcnn-mb3-large"])
def test_a_mobile_mask_rcnn_is_the_default_of_the_command_line(name: str) -> None:
    recipe, default = maskrcnn(name), MaskRcnnRecipe()
    assert (recipe.train, recipe.data, recipe.augment) == (default.train, default.data, default.augment)
    assert (recipe.model.net, recipe.model.heads) == (name.removeprefix("maskrcnn-"), "mobile")


def test_the_mobile_mask_rcnn_has_a_mobilenet_v1_backbone() -> None:
    assert maskrcnn("mobile-mask-rcnn").model.net == "mb1"


@pytest.mark.parametrize("name", ["maskrcnn-resnet50", "maskrcnn-resnet50-mlperf"])
def test_a_resnet_has_the_input_and_heads_of_torchvision(name: str) -> None:
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).transform
    recipe = maskrcnn(name)
    assert (theirs.min_size, theirs.max_size) == ((recipe.model.size,), recipe.model.longest)
    assert (recipe.model.net, recipe.model.heads, recipe.train.freeze_norm) == ("resnet50", "standard", True)
    assert recipe.train.freeze == 4  # torchvision trains three of five stages: the stem and the first stay


def test_the_mlperf_recipe_has_the_values_of_mlperf() -> None:
    recipe = maskrcnn("maskrcnn-resnet50-mlperf")
    train, augment = recipe.train, recipe.augment
    assert (train.optimizer, train.lr, train.base_batch, train.max_steps) == ("momentum", 0.02, 16, 90_000)
    assert (train.weight_decay, train.average, train.clip) == (1e-4, 0, 0)
    assert (train.stop_at_ap, train.stop_at_mask_ap) == (0.377, 0.339)
    assert (augment.flip, augment.whole, augment.scales) == (True, 1, (1, 1))
    assert not any((augment.rotate, augment.color, augment.mosaic, augment.copy_paste))


def test_recipes_are_found_inside_an_installed_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(TEMPLATES, tmp_path / "templates")
    (tmp_path / "templates" / "recipes" / "mine.toml").write_text('task = "ssd"\nmodel.net = "mb2"\n')
    monkeypatch.setattr(document, "files", lambda _: tmp_path)
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert "mine" in bundled_recipes()
    assert ssd("mine").model.net == "mb2"
