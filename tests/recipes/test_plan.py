"""The plan of a whole training, on made-up facts."""

from __future__ import annotations

from typing import Any

import pytest

from vocdet.errors import ArgumentError
from vocdet.recipes.load import load_recipe
from vocdet.recipes.plan import Choice, Looks, Plan, PlannedCommand, PlanRequest, TrainingFacts, plan_training

LARGE = {160: 0.0, 224: 0.0, 256: 0.0, 320: 0.0, 416: 0.0, 512: 0.0, 640: 0.0}
TINY = {160: 0.9, 224: 0.7, 256: 0.6, 320: 0.4, 416: 0.1, 512: 0.04, 640: 0.01}


def facts(**changes: Any) -> TrainingFacts:
    """A microscope's images of three kinds of cells."""
    usual: dict[str, Any] = {
        "images": 292, "validation": 87, "test": 72, "objects": 3900, "labels": 3, "divided": True,
        "below_cell": LARGE, "image_side": 640.0, "object_side": 102.0, "looks": Looks(1.0, 1.0, has_up=False),
        "speed": 40.0,
    }  # fmt: skip
    return TrainingFacts(**(usual | changes))


def plan(changes: dict[str, Any] | None = None, **request: Any) -> Plan:
    return plan_training(facts(**(changes or {})), PlanRequest(**({"minutes": 10.0} | request)))


def choice(made: Plan, name: str) -> Choice:
    (one,) = (one for one in made.choices if one.name == name)
    return one


def command(made: Plan, name: str) -> PlannedCommand:
    (one,) = (one for one in made.commands if one.name == name)
    return one


def test_few_labels_need_a_detector_alone_which_trains_on_all_images_but_test() -> None:
    made = plan()
    assert [one.name for one in made.commands] == ["train-ssd", "eval"]
    assert command(made, "train-ssd") == PlannedCommand(
        "train-ssd",
        "ssdlite-mb3-small",
        {
            "net": "mb3-small",
            "size": 320,
            "flip": True,
            "rotate": True,
            "split": "trainval",
            "minutes": 10.0,
            "seed": 0,
        },
    )
    assert command(made, "eval").settings == {"split": "test"}
    assert choice(made, "classifier").reason == "3 labels: the detector learns to distinguish so few by itself"


def test_many_labels_get_a_classifier_first_with_small_crops_for_small_objects() -> None:
    made = plan({"labels": 31, "object_side": 65.0})
    assert [one.name for one in made.commands] == ["train-backbone", "train-ssd", "eval"]
    classifier, detector = command(made, "train-backbone").settings, command(made, "train-ssd").settings
    assert classifier == {"net": "mb3-small", "flip": True, "rotate": True, "seed": 0, "minutes": 1.5, "size": 96}
    assert detector == {
        "net": "mb3-small", "size": 320, "flip": True, "rotate": True, "split": "trainval", "backbone_lr": 0.4,
        "minutes": 8.5, "weights": "auto", "seed": 0,
    }  # fmt: skip
    assert "96 pixels" in choice(made, "classifier").value


def test_a_net_with_a_detector_to_start_from_needs_no_classifier() -> None:
    many = {"labels": 31, "starts": ("mb3-small",)}
    made = plan(many)
    assert [one.name for one in made.commands] == ["train-ssd", "eval"]
    assert command(made, "train-ssd").settings["minutes"] == 10.0
    assert choice(made, "classifier").reason.startswith("the detector starts from one that is part of vocdet")
    others = (
        {"values": {"net": "mb2"}}, {"values": {"neck": "none"}}, {"values": {"weights": "w.pth"}}, {"classifier": 2.0},
        {"masks": True},
    )  # fmt: skip
    for other in others:
        assert "train-backbone" in [one.name for one in plan(many, **other).commands]


@pytest.mark.parametrize(
    ("values", "masks", "reason"),
    [
        ({"weights": "coco"}, None, "the weights coco are those of a detector, which starts from them itself"),
        ({"weights": "last"}, None, "the weights last are those of a detector, which starts from them itself"),
        ({"net": "resnet50"}, True, "no classifier is trained on resnet50"),
    ],
)
def test_weights_of_detectors_and_a_resnet_have_no_classifier_first(
    values: dict[str, Any], masks: bool | None, reason: str
) -> None:
    made = plan({"labels": 31}, values=values, masks=masks)
    assert [one.name for one in made.commands] == ["train-maskrcnn" if masks else "train-ssd", "eval"]
    assert made.commands[0].settings.items() >= values.items()
    assert (choice(made, "classifier").value, choice(made, "classifier").reason) == ("none", reason)
    assert len(plan({"labels": 31}, values=values, masks=masks, classifier=0.0).commands) == 2
    with pytest.raises(ArgumentError, match=f"^a classifier of 2 minutes is impossible: {reason} ") as caught:
        plan({"labels": 31}, values=values, masks=masks, classifier=2.0)
    assert caught.value.hint == "train without one: `classifier=0`"


def test_in_a_minute_there_is_no_time_for_a_classifier() -> None:
    made = plan({"labels": 31}, minutes=1.0)
    assert [one.name for one in made.commands] == ["train-ssd", "eval"]
    assert choice(made, "classifier").reason == "in 1 minute there is no time for it"


def test_a_dataset_without_splits_is_split_first() -> None:
    made = plan({"divided": False}, seed=3)
    assert made.commands[0] == PlannedCommand("split", settings={"seed": 3})
    assert choice(made, "split").value == "205 train, 87 val, 72 test"


def test_a_seed_among_the_settings_is_that_of_every_command() -> None:
    made = plan({"divided": False, "labels": 31}, values={"seed": 7})
    assert [(one.name, one.settings.get("seed")) for one in made.commands] == [
        ("split", 7), ("train-backbone", 7), ("train-ssd", 7), ("eval", None),
    ]  # fmt: skip
    assert made.request.seed == 7


def test_without_test_images_training_leaves_val_to_the_evaluation() -> None:
    made = plan({"test": 0})
    assert command(made, "train-ssd").settings["split"] == "train"
    assert command(made, "eval").settings == {"split": "val"}


def test_without_val_images_it_trains_on_train() -> None:
    assert command(plan({"validation": 0}), "train-ssd").settings["split"] == "train"


def test_without_images_of_val_and_test_nothing_is_evaluated_and_the_plan_says_why() -> None:
    made = plan({"test": 0, "validation": 0})
    assert [one.name for one in made.commands] == ["train-ssd"]
    assert choice(made, "evaluation").value == "none"
    assert "all images are trained on, and none of val or test are left: " in choice(made, "evaluation").reason
    for other in ({"test": 0}, {"validation": 0}):
        assert "evaluation" not in [one.name for one in plan(other).choices]
    assert command(plan({"validation": 0}), "eval").settings == {"split": "test"}


def test_small_objects_get_a_larger_input_where_the_time_and_the_target_allow_it() -> None:
    small = {"below_cell": TINY, "image_side": 1000.0}
    assert choice(plan(small, minutes=30.0), "size").value == "512"
    assert choice(plan(small, minutes=30.0, target="pi"), "size").value == "320"
    hurried = choice(plan(small, minutes=5.0), "size")  # 512: 15.625 images a second for 300 seconds, 16 passes
    assert (hurried.value, hurried.reason) == (
        "416", "10% of objects are smaller than 16 pixels; 512 would have only 16 passes in the time"
    )  # fmt: skip


def test_an_input_is_not_larger_than_the_images() -> None:
    assert choice(plan({"below_cell": TINY, "image_side": 300.0}, minutes=30.0), "size").value == "320"


def test_many_images_in_a_short_time_get_a_smaller_input_unless_it_loses_objects() -> None:
    many = {"images": 2000}
    assert choice(plan(many), "size").value == "256"
    assert choice(plan(many | {"below_cell": TINY}), "size").value == "320"
    growing = {"starts": ("mb3-small",)}  # 10 passes over images that grow are enough, and 2 are not
    assert choice(plan(many | growing), "size").value == "320"
    assert choice(plan({"images": 10_000} | growing), "size").value == "256"


@pytest.mark.parametrize(
    ("looks", "flip", "rotate"),
    [
        (Looks(0.99, 0.97, has_up=False), "yes", "yes"),
        (Looks(0.99, 0.97, has_up=True), "yes", "no"),  # easily recognized, but photos that have an up
        (Looks(0.98, 0.79, has_up=False), "yes", "no"),
        (Looks(0.60, 0.40, has_up=False), "no", "no"),  # digits
        (Looks(), "yes", "no"),
    ],
)
def test_objects_that_look_alike_are_mirrored_and_rotated(looks: Looks, flip: str, rotate: str) -> None:
    made = plan({"looks": looks})
    assert (choice(made, "flip").value, choice(made, "rotate").value) == (flip, rotate)


def test_few_images_train_for_less_than_the_time() -> None:
    made = plan({"images": 20, "validation": 2}, minutes=30.0)
    assert command(made, "train-ssd").settings["minutes"] == 10.0  # 24,000 images at 40 a second
    assert choice(made, "length").reason == "about 1200 passes over 20 images are enough; 30 minutes would be there"


def test_too_little_time_names_the_time_for_a_sensible_length() -> None:
    hurried = {"images": 30_000, "speed": 80.0}
    made = plan(hurried, minutes=5.0)
    assert choice(made, "size").reason == "320 would have only 0.8 passes in the time, 256 has 1.2 passes"
    assert choice(made, "length").reason == (  # 20 passes: 600,000 images at 80 × (320 / 256)² = 125 a second
        "about 1.2 passes over 30000 images, which is little: 20 take about 80 minutes"
    )
    assert choice(plan(hurried, minutes=4.0), "length").reason.startswith("about 1 pass over 30000 images, ")


def test_masks_are_for_computers_and_their_absence_on_a_phone_is_explained() -> None:
    masks = {"masks": 1.0}
    assert command(plan(masks, target="cpu"), "train-maskrcnn").recipe == "maskrcnn-mb3-small"
    on_phone = choice(plan(masks), "detector")
    assert on_phone.value == "SSD-lite"
    assert "`masks=True` trains one" in on_phone.reason
    assert command(plan(masks, masks=True), "train-maskrcnn").settings["size"] == 320
    assert command(plan(masks, target="cpu", masks=False), "train-ssd")
    assert command(plan({"masks": 0.5}, target="cpu"), "train-ssd")


@pytest.mark.parametrize(
    "values",
    [{"grow": "never"}, {"balance": 0.0}, {"neck": "none"}, {"mixup": 0.2}, {"min_negatives": 4}, {"best": "loss"}],
)
def test_a_setting_that_no_mask_rcnn_has_keeps_the_ssd(values: dict[str, Any]) -> None:
    made = plan({"masks": 1.0}, target="gpu", values=values)
    one = command(made, "train-ssd")
    assert load_recipe("ssd", one.recipe, values=one.settings).values().items() >= values.items()
    (name,) = values
    assert choice(made, "detector").reason == f"it predicts boxes alone: no Mask R-CNN has {name} as requested"
    with pytest.raises(ArgumentError, match=f"^no Mask R-CNN has {name} as requested") as caught:
        plan({"masks": 1.0}, masks=True, values=values)
    assert caught.value.hint == "leave it out, or train without masks: `masks=False`"


def test_settings_of_both_detectors_leave_the_choice_to_the_masks() -> None:
    values = {"net": "mb2", "lr": 0.01, "tile": 640, "split": "train", "best": "ap"}
    assert command(plan({"masks": 1.0}, target="cpu", values=values), "train-maskrcnn")


def test_a_gpu_gets_the_larger_net_where_the_time_suffices() -> None:
    assert choice(plan({"speed": 400.0}, target="gpu"), "net").value == "mb3-large"
    assert choice(plan(target="gpu"), "net").value == "mb3-small"


def test_requested_settings_are_taken_over_and_the_rest_follows_them() -> None:
    values = {"size": 256, "net": "mb2", "rotate": False, "weights": "w.pth", "lr": 0.01}
    made = plan({"labels": 31}, values=values, classifier=2.0)
    detector, classifier = command(made, "train-ssd"), command(made, "train-backbone").settings
    assert detector.settings == {
        "net": "mb2", "size": 256, "flip": True, "rotate": False, "split": "trainval", "backbone_lr": 0.4,
        "minutes": 8.0, "weights": "auto", "lr": 0.01, "seed": 0,
    }  # fmt: skip
    assert (classifier["weights"], classifier["minutes"], classifier["net"]) == ("w.pth", 2.0, "mb2")
    assert choice(made, "size").reason == "as requested"
    assert "weights" not in command(plan(values={"net": "mb2"}), "train-ssd").settings


def test_requested_epochs_replace_the_minutes_of_the_detector() -> None:
    settings = command(plan(values={"epochs": 7}), "train-ssd").settings
    assert settings["epochs"] == 7
    assert "minutes" not in settings


def test_a_classifier_that_takes_all_the_time_is_an_error() -> None:
    with pytest.raises(ArgumentError, match="takes all 10 minutes"):
        plan(classifier=10.0)


@pytest.mark.parametrize("changes", [{}, {"labels": 9}, {"masks": 1.0}, {"test": 0, "divided": False}])
def test_every_command_has_a_recipe_that_loads_with_its_settings(changes: dict[str, Any]) -> None:
    made = plan(changes, target="cpu")
    trainings = [one for one in made.commands if one.name.startswith("train-")]
    assert trainings
    for one in trainings:
        task: Any = one.name.removeprefix("train-")
        recipe: Any = load_recipe(task, one.recipe, values=one.settings).recipe
        assert recipe.train.minutes == one.settings["minutes"]


def test_the_reasons_of_a_command_are_those_of_its_settings() -> None:
    made = plan()
    assert made.reasons("train-ssd")["size"] == "0% of objects are smaller than 16 pixels"
    assert made.reasons("train-ssd").keys() == {"net", "size", "flip", "rotate", "split", "minutes"}


SPECKS = {160: 1.0, 224: 1.0, 256: 1.0, 320: 1.0, 416: 1.0, 512: 0.98, 640: 0.97}


def test_small_objects_in_large_images_are_trained_on_tiles() -> None:
    made = plan({"below_cell": SPECKS, "image_side": 4000.0, "object_side": 12.0})
    settings = command(made, "train-ssd").settings
    assert (settings["tile"], settings["size"], settings["minutes"]) == (320, 320, 10.0)
    assert choice(made, "tile").reason == "in whole images, 98% of objects are smaller than 16 pixels at 512"
    larger = plan({"below_cell": SPECKS, "image_side": 4000.0, "object_side": 40.0})
    assert command(larger, "train-ssd").settings["tile"] == 512  # 40 pixels become 25 of the input


def test_a_tile_that_the_user_gave_is_kept_and_so_is_none() -> None:
    tiny = {"below_cell": SPECKS, "image_side": 4000.0, "object_side": 12.0}
    assert command(plan(tiny, values={"tile": 640}), "train-ssd").settings["tile"] == 640
    whole = command(plan(tiny, values={"tile": 0}), "train-ssd").settings
    assert (whole["tile"], whole["size"]) == (0, 512)
    assert "tile" not in command(plan({"below_cell": SPECKS, "image_side": 600.0}), "train-ssd").settings
