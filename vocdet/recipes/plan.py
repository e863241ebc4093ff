"""The plan of a whole training: which commands, with which settings, and why. It depends on nothing but its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

from vocdet.errors import ArgumentError
from vocdet.recipes.nets import RESNET
from vocdet.recipes.schema import MaskRcnnRecipe, accepts
from vocdet.wording import counted, listed

Target = Literal["phone", "pi", "cpu", "gpu"]
CommandName = Literal["split", "train-backbone", "train-ssd", "train-maskrcnn", "eval"]
Values = Mapping[str, object]  # settings of a recipe by their names

REFERENCE = 320  # pixels of the input at which the speed is measured, with mb3-small
COST = {"mb3-small": 1.0, "mb3-large": 2.5}  # seconds of a step, relative; docs/measurements.md
NECK_COST = 1.2  # of an SSD with a neck, relative to an SSD-lite; docs/tried.md
MASK_COST = 4.0  # of a Mask R-CNN, relative to an SSD-lite on the same net and input
BASE_SIZE = {"phone": 320, "pi": 320, "cpu": 320, "gpu": 512}  # pixels of the input, unless the objects need more
LARGEST_SIZE = {"phone": 512, "pi": 320, "cpu": 640, "gpu": 640}
SMALLEST_INPUT = 256
FEW_SMALL = 0.05  # share of objects under a cell of the finest map that an input may have
SMALLER_LOSES = 0.05  # of the objects, at most, when a smaller input makes room for more passes
TILED_FROM = 0.25  # share of objects under a cell, at the largest input, from which tiles pay
TILED_SIDE = 2  # images must be larger than the input by this factor
TILED_OBJECT = 24  # pixels that a typical object should have in the input
FEW_PASSES, MANY_PASSES = 20, 30  # in which a larger input or net is not learned, and in which it is
FEWEST_PASSES = 3  # in which images that grow are learned no better at a smaller input; docs/tried.md
ENOUGH_PASSES, ENOUGH_SAMPLES = 150, 24_000  # of a detector that starts from a pretrained backbone
CLASSIFIER_SHARE = 0.15  # of the minutes
CLASSIFIER_LABELS = 4  # from which a classifier first pays
SHORTEST_CLASSIFIER = 0.5  # minutes
CROP, SMALL_CROP = 128, 96  # pixels of the classifier's input
OF_DETECTORS = ("coco", "last")  # weights
OF_BOTH = ("net", "weights", "reduced_tail", "flip", "rotate", "cache", "workers", "precision", "seed")  # settings
REQUESTED = "as requested"
CHOICE_NAMES = {"split": "images", "backbone_lr": "backbone"}  # of choices, where they differ from their settings
MIRRORED_ALIKE, ROTATED_ALIKE = 0.9, 0.8  # accuracy relative to that on upright objects, from which they look alike


@dataclass(frozen=True, slots=True)
class Looks:
    """Whether objects look alike when they are mirrored or rotated, as a quick classifier sees it.

    Ratios of its accuracy on changed and on unchanged objects of val; None where too few objects or
    labels, or the features, cannot tell.
    """

    mirrored: float | None = None
    rotated: float | None = None
    has_up: bool = True  # whole images can be distinguished from rotated ones, and boxes are wide or tall


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """All that a plan depends on."""

    images: int  # to train and to validate on
    validation: int  # of these
    test: int  # images of the test split
    objects: int  # to train and to validate on
    labels: int  # that have objects
    divided: bool  # whether the dataset has splits
    below_cell: Mapping[int, float]  # for inputs in pixels, the share of objects smaller than a cell of the finest map
    image_side: float  # longer side of a typical image, pixels
    object_side: float  # of a typical object, pixels of its image
    masks: float = 0.0  # share of the objects that have a mask
    looks: Looks = Looks()
    speed: float = 0.0  # images per second of an SSD-lite training on mb3-small at `REFERENCE` pixels; 0: unknown
    starts: tuple[str, ...] = ()  # nets of which a detector to start from is part of vocdet


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What the user decides."""

    target: Target = "phone"
    minutes: float = 30.0  # of training, classifier and detector together
    classifier: float | None = None  # minutes of it; 0: none; None: as the plan says
    masks: bool | None = None  # whether to predict masks; None: as the plan says
    seed: int = 0  # of all commands; a seed among the values replaces it
    values: Values = field(default_factory=dict)  # settings of the detector's recipe, which the plan does not change

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", self.values.get("seed", self.seed))


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision of a plan, and what it is based on."""

    name: str
    value: str  # for people
    reason: str
    command: CommandName  # that it is an argument of
    settings: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedCommand:
    """A command with its recipe and the settings that differ from it."""

    name: CommandName
    recipe: str = ""  # the name of a bundled one
    settings: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Choices with their reasons, and the commands that carry them out, in order."""

    request: PlanRequest
    choices: tuple[Choice, ...]
    commands: tuple[PlannedCommand, ...]

    def reasons(self, command: CommandName) -> dict[str, str]:
        """Why each setting of a command has its value."""
        return {name: one.reason for one in self.choices if one.command == command for name in one.settings}


def plan_training(facts: TrainingFacts, request: PlanRequest = PlanRequest()) -> Plan:
    """The plan for a dataset, a machine and a request: the same facts give the same plan.

    A setting in `request.values` is kept, and the other choices follow it. `ArgumentError` for a request that
    contradicts itself.
    """
    _check_masks(request)
    _check_classifier(request)
    task, split = _task(facts, request), _split(facts)
    net = _net(facts, request, task.command, request.minutes - _classifier_minutes(facts, request))
    started = _starts_from_detector(facts, request, task, net)
    minutes = _classifier_minutes(facts, request, started=started)
    left = request.minutes - minutes
    if left <= 0:
        raise ArgumentError(
            f"the classifier takes all {counted(request.minutes, 'minute')}", hint="leave some for the detector"
        )
    classifier = _classifier(facts, request, minutes, started=started)
    tile = _tile(facts, request)
    size = _tile_input(request) if tile else _size(facts, request, task.command, net, left)
    looks = (_flip(facts, request), _rotate(facts, request))
    speed = _speed(facts, task.command, net.settings["net"], size.settings["size"])
    length = _length(facts, request, left, speed, *tile)
    detector = (net, *tile, size, *looks, _train_on(facts, request), *_backbone(request, minutes), length)
    detector = tuple(replace(choice, command=task.command) for choice in detector)
    settings = {**_all_settings(detector), **request.values, "seed": request.seed}
    commands = [] if facts.divided else [PlannedCommand("split", settings={"seed": request.seed})]
    if minutes:
        shared = {name: settings[name] for name in OF_BOTH if name in settings}
        settings["weights"] = "auto"  # the classifier; it starts from the weights that were requested
        commands.append(PlannedCommand("train-backbone", "backbone", shared | _all_settings((classifier,))))
    commands.append(PlannedCommand(task.command, _recipe(task.command, net.settings["net"]), settings))
    if evaluated := _evaluated(facts):
        commands.append(PlannedCommand("eval", settings={"split": evaluated}))
    return Plan(request, (split, task, classifier, *detector, *_no_evaluation(facts)), tuple(commands))


def _all_settings(choices: Sequence[Choice]) -> dict[str, object]:
    return {name: value for choice in choices for name, value in choice.settings.items()}


def _choice(request: PlanRequest, name: str, value: object, reason: str) -> Choice:
    """A choice of a setting of the detector, unless the user gave its value."""
    if name in request.values:
        value, reason = request.values[name], REQUESTED
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    return Choice(CHOICE_NAMES.get(name, name), text, reason, "train-ssd", {name: value})


def _split(facts: TrainingFacts) -> Choice:
    train = facts.images - facts.validation
    sizes = f"{train} train, {facts.validation} val, {facts.test} test"
    if facts.divided:
        return Choice("split", sizes, "the splits of the dataset", "split")
    return Choice("split", sizes, "it has no splits: near-duplicates stay together, labels keep their shares", "split")


def _task(facts: TrainingFacts, request: PlanRequest) -> Choice:
    """SSD-lite, or Mask R-CNN where every object has a mask, the target can predict them, and the settings allow it."""
    name, ssd, rcnn = "detector", "SSD-lite", "Mask R-CNN"
    if request.masks is not None:
        value = rcnn if request.masks else ssd
        command: CommandName = "train-maskrcnn" if request.masks else "train-ssd"
        return Choice(name, value, REQUESTED, command)
    if not facts.masks:
        return Choice(name, ssd, "objects have boxes and no masks", "train-ssd")
    if facts.masks < 1 or request.target not in ("cpu", "gpu"):
        reason = f"a Mask R-CNN is slow on a {request.target}" if facts.masks == 1 else "not all objects have masks"
        return Choice(name, ssd, f"it predicts boxes alone: {reason}; `masks=True` trains one", "train-ssd")
    if others := _not_of_maskrcnn(request.values):
        return Choice(
            name, ssd, f"it predicts boxes alone: no Mask R-CNN has {listed(others)} as requested", "train-ssd"
        )
    return Choice(name, rcnn, f"all objects have masks, and a {request.target} can predict them", "train-maskrcnn")


def _not_of_maskrcnn(values: Values) -> list[str]:
    """The settings that a Mask R-CNN does not have, or not with these values."""
    return [name for name, value in values.items() if not accepts(MaskRcnnRecipe(), name, value)]


def _check_masks(request: PlanRequest) -> None:
    """Raise if masks are requested with settings that exclude them."""
    if request.masks and (others := _not_of_maskrcnn(request.values)):
        them = "it" if len(others) == 1 else "them"
        hint = f"leave {them} out, or train without masks: `masks=False`"
        raise ArgumentError(f"no Mask R-CNN has {listed(others)} as requested", hint=hint)


def _net(facts: TrainingFacts, request: PlanRequest, command: CommandName, minutes: float) -> Choice:
    small = "fast on every device"
    if request.target == "gpu":
        speed = _speed(facts, command, "mb3-large", BASE_SIZE["gpu"])
        passes = _passes_in(facts, speed, minutes)
        if passes >= MANY_PASSES:
            return _choice(request, "net", "mb3-large", f"for a gpu; about {_about(passes)} in the time")
        small = f"mb3-large would have only {_about(passes)} in the time"
    return _choice(request, "net", "mb3-small", small)


def _size(facts: TrainingFacts, request: PlanRequest, command: CommandName, net: Choice, minutes: float) -> Choice:
    """The smallest input with few objects under a cell, within what the target, the images and the time allow."""
    shares, base = facts.below_cell, BASE_SIZE[request.target]
    beyond = [side for side in shares if side >= facts.image_side]
    sides = [
        side for side in shares if base <= side <= LARGEST_SIZE[request.target] and side <= min(beyond, default=side)
    ]

    def passes(side: int) -> float:
        return _passes_in(facts, _speed(facts, command, net.settings["net"], side), minutes)

    wanted = next((side for side in sides if shares[side] <= FEW_SMALL), max(sides, default=base))
    affordable = [side for side in sides if side <= wanted and (side <= REFERENCE or passes(side) >= FEW_PASSES)]
    size = max(affordable, default=base)
    small = shares.get(size, 0.0)
    reason = f"{small:.0%} of objects are smaller than 16 pixels"
    few = FEWEST_PASSES if net.settings["net"] in facts.starts and command == "train-ssd" else FEW_PASSES
    smaller = [s for s in shares if SMALLEST_INPUT <= s < size and shares[s] <= small + SMALLER_LOSES]
    if size < wanted:
        reason += f"; {wanted} would have only {_about(passes(wanted))} in the time"
    elif smaller and passes(size) < few:
        short, size = f"{size} would have only {_about(passes(size))} in the time", max(smaller)
        reason = f"{short}, {size} has {_about(passes(size))}"
    return _choice(request, "size", size, reason)


def _tile(facts: TrainingFacts, request: PlanRequest) -> tuple[Choice, ...]:
    """Tiles where the largest input leaves many objects under a cell, because images are large; else no choice."""
    base, most = BASE_SIZE[request.target], LARGEST_SIZE[request.target]
    small = facts.below_cell.get(most, 0.0)
    if "tile" not in request.values and (small <= TILED_FROM or facts.image_side < TILED_SIDE * base):
        return ()
    tile = max(base, int(base * facts.object_side / TILED_OBJECT) // 32 * 32)
    reason = f"in whole images, {small:.0%} of objects are smaller than 16 pixels at {most}"
    chosen = _choice(request, "tile", tile, reason)
    return (chosen,) if chosen.settings["tile"] else ()


def _tile_input(request: PlanRequest) -> Choice:
    return _choice(request, "size", BASE_SIZE[request.target], "of a tile")


def _flip(facts: TrainingFacts, request: PlanRequest) -> Choice:
    ratio = facts.looks.mirrored
    if ratio is None:
        return _choice(request, "flip", True, "it cannot be determined: mirrored objects are usually alike")
    text = f"{ratio:.0%} as many mirrored objects are recognized"
    return _choice(request, "flip", ratio >= MIRRORED_ALIKE, text)


def _rotate(facts: TrainingFacts, request: PlanRequest) -> Choice:
    ratio = facts.looks.rotated
    if ratio is None:
        return _choice(request, "rotate", False, "it cannot be determined: most images have an up")
    text = f"{ratio:.0%} as many rotated objects are recognized"
    if ratio >= ROTATED_ALIKE and facts.looks.has_up:
        return _choice(request, "rotate", False, f"{text}, but the images have an up")
    return _choice(request, "rotate", ratio >= ROTATED_ALIKE, text)


def _starts_from_detector(facts: TrainingFacts, request: PlanRequest, task: Choice, net: Choice) -> bool:
    usual = request.values.get("weights", "auto") == "auto" and request.values.get("neck", "auto") != "none"
    return usual and task.command == "train-ssd" and net.value in facts.starts


def no_classifier(values: Values) -> str:
    """Why no classifier can be trained with these settings; "" if one can."""
    if values.get("net") == RESNET:
        return f"no classifier is trained on {RESNET}"
    if (weights := values.get("weights")) in OF_DETECTORS:
        return f"the weights {weights} are those of a detector, which starts from them itself"
    return ""


def _check_classifier(request: PlanRequest) -> None:
    """Raise if a classifier is requested with settings that exclude it."""
    if request.classifier and (none := no_classifier(request.values)):
        hint = "train without one: `classifier=0`"
        raise ArgumentError(f"a classifier of {counted(request.classifier, 'minute')} is impossible: {none}", hint=hint)


def _classifier_minutes(facts: TrainingFacts, request: PlanRequest, *, started: bool = False) -> float:
    if request.classifier is not None:
        return request.classifier
    if started or no_classifier(request.values):
        return 0.0
    if facts.labels < CLASSIFIER_LABELS or request.minutes * CLASSIFIER_SHARE < SHORTEST_CLASSIFIER:
        return 0.0
    crops = facts.speed * (REFERENCE / CROP) ** 2  # per second
    enough = ENOUGH_PASSES * facts.objects / crops / 60 if crops else request.minutes
    return round(max(SHORTEST_CLASSIFIER, min(request.minutes * CLASSIFIER_SHARE, enough)), 2)


def _classifier(facts: TrainingFacts, request: PlanRequest, minutes: float, *, started: bool) -> Choice:
    if request.classifier is not None:
        reason = REQUESTED
    elif started:
        reason = "the detector starts from one that is part of vocdet, and learns more in the time without it"
    elif none := no_classifier(request.values):
        reason = none
    elif facts.labels < CLASSIFIER_LABELS:
        reason = f"{counted(facts.labels, 'label')}: the detector learns to distinguish so few by itself"
    elif not minutes:
        reason = f"in {counted(request.minutes, 'minute')} there is no time for it"
    else:
        reason = f"{counted(facts.labels, 'label')}: it learns to distinguish them faster than a detector"
    if not minutes:
        return Choice("classifier", "none", reason, "train-backbone")
    size = SMALL_CROP if facts.object_side < SMALL_CROP else CROP
    return Choice("classifier", f"{counted(minutes, 'minute')}, {size} pixels", reason, "train-backbone",
                  {"minutes": minutes, "size": size})  # fmt: skip


def _train_on(facts: TrainingFacts, request: PlanRequest) -> Choice:
    if not facts.validation:
        return _choice(request, "split", "train", "there are no images to validate on")
    if not facts.test:
        return _choice(request, "split", "train", "without test images, those of val are evaluated")
    more = counted(facts.validation, "image")
    return _choice(request, "split", "trainval", f"a schedule of fixed length needs no val, so {more} more to train on")


def _evaluated(facts: TrainingFacts) -> str:
    """The split to evaluate on; "" where all images are trained on."""
    return "test" if facts.test else "val" if facts.validation else ""


def _no_evaluation(facts: TrainingFacts) -> tuple[Choice, ...]:
    """The choice to evaluate nothing, where no images are left for it."""
    if _evaluated(facts):
        return ()
    again = "`vocdet.write_splits(vocdet.split(dataset), force=True)`"
    reason = f"all images are trained on, and none of val or test are left: {again} divides them again"
    return (Choice("evaluation", "none", reason, "eval"),)


def _backbone(request: PlanRequest, minutes: float) -> list[Choice]:
    if not minutes:
        return []
    return [_choice(request, "backbone_lr", 0.4, "the classifier has trained the backbone on these objects")]


def _length(
    facts: TrainingFacts, request: PlanRequest, left: float, speed: float, tile: Choice | None = None
) -> Choice:
    """The rest of the minutes, or fewer if that is enough for so few images."""
    if "epochs" in request.values:
        return _choice(request, "epochs", 0, "")
    if tile:
        reason = "an epoch depends on the number of tiles with objects"
        return Choice("length", counted(left, "minute"), reason, "train-ssd", {"minutes": round(left, 2)})
    enough = max(ENOUGH_PASSES * facts.images, ENOUGH_SAMPLES) / speed / 60 if speed else left
    minutes = round(max(min(left, enough), 0.01), 2)
    passes = _passes_in(facts, speed, minutes)
    reason = f"about {_about(passes)} over {counted(facts.images, 'image')}"
    if enough < left:
        reason += f" are enough; {counted(left, 'minute')} would be there"
    elif speed and passes < FEW_PASSES:
        reason += f", which is little: {FEW_PASSES} take about {ceil(left * FEW_PASSES / passes)} minutes"
    return Choice("length", counted(minutes, "minute"), reason, "train-ssd", {"minutes": minutes})


def _speed(facts: TrainingFacts, command: CommandName, net: object, size: object) -> float:
    """Images per second in a training, from the one that was measured."""
    more = MASK_COST if command == "train-maskrcnn" else NECK_COST if net in facts.starts else 1.0
    cost = COST.get(str(net), 1.0) * more
    return facts.speed / cost * (REFERENCE / float(str(size))) ** 2


def _passes_in(facts: TrainingFacts, speed: float, minutes: float) -> float:
    return 60 * minutes * speed / max(1, facts.images)


def _about(passes: float) -> str:
    """A number of passes over the images, rounded."""
    return counted(round(passes, 1) if passes < 10 else round(passes), "pass", "passes")


def _recipe(command: CommandName, net: object) -> str:
    """The bundled recipe for a net; nets without one use that of mb3-small."""
    family = "maskrcnn" if command == "train-maskrcnn" else "ssdlite"
    return f"{family}-{net if net in COST else 'mb3-small'}"
