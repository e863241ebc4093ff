"""A checkpoint rebuilds its model from itself alone, and says so when it cannot."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn

from vocdet.errors import CheckpointError, OutputError
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.build import FAMILIES, build
from vocdet.models.checkpoint import (
    CHECKPOINT_FORMAT,
    CheckpointInfo,
    info_if_ours,
    load_checkpoint,
    packed,
    read_info,
    read_tensors,
    save_checkpoint,
)
from vocdet.models.classifier import ClassifierSpec
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec
from vocdet.models.ssd.anchors import Anchors, Shape
from vocdet.models.ssd.model import SsdSpec
from vocdet.recipes.schema import TASKS

ANCHORS = Anchors(((Shape(0.1, 0.2, 2), Shape(0.3, 0.3)), *(((Shape(0.5, 0.5),),) * 5)))
SPECS = {
    "mb1": BackboneSpec("mb1", 0.25),
    "mb2": BackboneSpec("mb2", 0.35),
    "mb3-small": BackboneSpec("mb3-small"),
    "mb3-large, reduced": BackboneSpec("mb3-large", 0.75, reduced_tail=True),
}


def about(task: str = "ssd", backbone: BackboneSpec = SPECS["mb1"]) -> CheckpointInfo:
    labels, normalization = ("ein Hund", "猫"), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    classifier = ClassifierSpec(backbone, labels, 64, *normalization, context=0.15)
    ssd = SsdSpec(backbone, labels, (64, 96), ANCHORS, *normalization)
    return CheckpointInfo(
        vocdet="0.1", model=ssd if task == "ssd" else classifier, dataset="abc", recipe={"lr": 0.002},
        scores={"ap50": 0.25}, thresholds=(0.25, 0.5) if task == "ssd" else None,
    )  # fmt: skip


def saved(path: Path, task: str = "ssd") -> Path:
    save_checkpoint(path, build(about(task).model), about(task))
    return path


def test_a_file_is_what_safetensors_writes_for_torch() -> None:
    tensors = {
        "weight": torch.randn(4, 3, 5, 5), "count": torch.tensor(7), "none": torch.zeros(0, 4), "flags": torch.ones(3) > 0,
        "bytes": torch.arange(9, dtype=torch.uint8), "half": torch.randn(5).half(), "double": torch.rand(2).double(),
    }  # fmt: skip
    assert packed(tensors, {"a": "ü"}) == save(tensors, metadata={"a": "ü"})
    last = {"weight": tensors["weight"].contiguous(memory_format=torch.channels_last)}
    assert packed(last, {}) == save({"weight": tensors["weight"]}, metadata={})


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A checkpoint whose description of itself was changed."""
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["vocdet"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(content)
    save_file(tensors, path, metadata={"vocdet": json.dumps(content)})
    return path


@pytest.mark.parametrize("task", ["ssd", "backbone"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_model_comes_back_whole(tmp_path: Path, spec: BackboneSpec, task: str) -> None:
    torch.manual_seed(0)
    model = build(about(task, spec).model).to(memory_format=torch.channels_last)
    for _ in range(2):  # statistics of the norms that no fresh model has
        model.train()(torch.rand(2, 3, 64, 96))
    path = tmp_path / "deep" / "best.safetensors"
    save_checkpoint(path, model, about(task, spec))
    loaded, found = load_checkpoint(path)
    assert found == read_info(path) == about(task, spec)
    assert not loaded.training
    image = torch.randint(0, 256, (1, 3, 64, 96)).float()
    loaded = loaded.to(memory_format=torch.channels_last)  # the order of sums depends on it
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), model.eval()(image), rtol=0, atol=0)


@pytest.mark.parametrize("extras", ["separable", "plain"])
@pytest.mark.parametrize("last_map", ["conv", "pool"])
def test_a_variant_comes_back_as_it_was(tmp_path: Path, extras: Any, last_map: Any) -> None:
    spec = msgspec.structs.replace(about().model, extras=extras, last_map=last_map)
    said = msgspec.structs.replace(about(), model=spec)
    model = build(said.model).eval()
    save_checkpoint(tmp_path / "best.safetensors", model, said)
    loaded, found = load_checkpoint(tmp_path / "best.safetensors")
    assert found == said
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.no_grad():
        for one, other in zip(loaded(image), model(image), strict=True):
            assert one.std() > 0
            torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_older_format_is_refused(tmp_path: Path, number: int) -> None:
    path = rewritten(saved(tmp_path / "best.safetensors"), lambda it: it.update(format=number))
    with pytest.raises(CheckpointError, match=f"has format {number}, which this vocdet no longer reads") as caught:
        load_checkpoint(path)
    assert caught.value.hint == "train it again, or use the vocdet that wrote it"
    assert CHECKPOINT_FORMAT == 4


def test_every_task_with_a_recipe_is_a_family() -> None:
    assert {name: family.recipe for name, family in FAMILIES.items()} == TASKS


def test_only_our_checkpoints_say_something_of_themselves(tmp_path: Path) -> None:
    assert info_if_ours(saved(tmp_path / "ours.safetensors")) == about()
    save_file({"a": torch.zeros(1)}, tmp_path / "timm.safetensors", metadata={"format": "pt"})
    assert info_if_ours(tmp_path / "timm.safetensors") is None
    assert info_if_ours(tmp_path / "torchvision.pth") is None
    newer = rewritten(saved(tmp_path / "new.safetensors"), lambda it: it.update(format=99))
    with pytest.raises(CheckpointError, match="has format 99"):  # its normalization must not be guessed
        info_if_ours(newer)


def test_it_holds_no_pickle_and_other_programs_read_its_weights(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.safetensors")
    header = int.from_bytes(path.read_bytes()[:8], "little")
    names = json.loads(path.read_bytes()[8 : 8 + header])  # the format's own: a length, JSON, and raw numbers
    assert names.keys() - {"__metadata__"} == read_tensors(path).keys()
    assert json.loads(names["__metadata__"]["vocdet"])["model"]["labels"] == ["ein Hund", "猫"]


def test_a_new_validation_changes_thresholds_and_scores_only() -> None:
    later = about().with_(thresholds=(0.5, 0.75), scores={})
    assert (later.thresholds, later.scores) == ((0.5, 0.75), {})
    assert later.with_(thresholds=about().thresholds, scores=about().scores) == about()


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, -1])
@pytest.mark.parametrize("read", [load_checkpoint, read_info])
def test_a_truncated_file_is_one_error(tmp_path: Path, keep: float, read: Callable[[Path], object]) -> None:
    path = saved(tmp_path / "best.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        read(path)
    assert caught.value.hint == "the file is damaged or not a checkpoint"


def test_a_file_that_is_something_else_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path)


def test_weights_of_another_program_are_pointed_to_where_they_can_go(tmp_path: Path) -> None:
    path = tmp_path / "timm.safetensors"
    save_file({"conv_stem.weight": torch.zeros(3)}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="is not a checkpoint of vocdet") as caught:
        load_checkpoint(path)
    assert "`weights=" in caught.value.hint


def test_a_newer_format_requires_an_update_whatever_its_content(tmp_path: Path) -> None:
    path = rewritten(saved(tmp_path / "x.safetensors"), lambda it: it.update(format=5, scales=[1, 2], backbone="mb7"))
    with pytest.raises(CheckpointError, match="has format 5, newer than this vocdet") as caught:
        load_checkpoint(path)
    assert caught.value.hint == "update vocdet"


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "no format": lambda it: it.pop("format"),
    "no labels": lambda it: it["model"].update(labels=[]),
    "a label twice": lambda it: it["model"].update(labels=["a", "a"]),
    "an unknown field": lambda it: it.update(color="red"),
    "an unknown field of the model": lambda it: it["model"].update(color="red"),
    "no model": lambda it: it.pop("model"),
    "no task": lambda it: it["model"].pop("task"),
    "a spec of another family": lambda it: it["model"].update(task="maskrcnn"),
    "an unknown task": lambda it: it["model"].update(task="segment"),
    "an unknown net": lambda it: it["model"]["backbone"].update(kind="mb9"),
    "unknown extras": lambda it: it["model"].update(extras="fancy"),
    "an unknown last map": lambda it: it["model"].update(last_map="max"),
    "an absurd width": lambda it: it["model"]["backbone"].update(width=1e6),
    "a tail that is not there": lambda it: it["model"]["backbone"].update(reduced_tail=True),
    "no anchors": lambda it: it["model"].update(anchors=None),
    "anchors of five maps": lambda it: it["model"]["anchors"].update(shapes=it["model"]["anchors"]["shapes"][:5]),
    "a map without anchors": lambda it: it["model"]["anchors"]["shapes"].__setitem__(3, []),
    "anchors without size": lambda it: it["model"]["anchors"]["shapes"].__setitem__(3, [[0.0, 0.5, 1]]),
    "an absurd density": lambda it: it["model"]["anchors"]["shapes"].__setitem__(3, [[0.5, 0.5, 10**6]]),
    "an absurd size": lambda it: it["model"].update(size=[10**9, 10**9]),
    "no size": lambda it: it["model"].update(size=[0, 0]),
    "text for a size": lambda it: it["model"].update(size="320"),
    "thresholds of other labels": lambda it: it.update(thresholds=[0.5]),
    "a spread of nothing": lambda it: it["model"].update(std=[0, 0, 0]),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_checkpoint_that_describes_itself_wrongly_is_one_error(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    path = rewritten(saved(tmp_path / "best.safetensors"), change)
    with pytest.raises(CheckpointError, match="has an invalid description"):
        load_checkpoint(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"format": 4}'])
def test_what_is_no_description_is_one_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"vocdet": text})
    with pytest.raises(CheckpointError, match="has an invalid description"):
        load_checkpoint(path)


DAMAGE: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "one missing": lambda it: it.pop("box_head.0.1.bias"),
    "one too many": lambda it: it.update({"head.weight": torch.zeros(1)}),
    "one of another shape": lambda it: it.update({"box_head.0.1.bias": torch.zeros(5)}),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_weights_that_do_not_fit_their_description_are_one_error(
    tmp_path: Path, damage: Callable[[dict[str, Tensor]], object]
) -> None:
    path = saved(tmp_path / "best.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    damage(tensors)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"do not fit the model in its description \('(box_)?head"):
        load_checkpoint(path)


def test_a_full_disk_leaves_the_previous_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "best.safetensors")
    before = path.read_bytes()
    other = build(about().model)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="no space left on device") as caught:
        save_checkpoint(path, other, about())
    assert "free some space" in caught.value.hint
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, name: str) -> None:
    model = build(about().model)
    next(model.parameters()).data.view(-1)[0] = float("nan")
    if name.endswith(".pth"):
        torch.save(model.state_dict(), tmp_path / name)
    else:
        save_checkpoint(tmp_path / name, model, about())
        with pytest.raises(CheckpointError, match="holds weights that are not finite"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(CheckpointError, match="holds weights that are not finite"):
        read_tensors(tmp_path / name)


def test_a_tensor_without_content_is_refused(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.empty(2, device="meta")}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="is no plain tensor of floats"):
        read_tensors(tmp_path / "a.pth")


def test_only_tensors_with_names_are_read(tmp_path: Path) -> None:
    torch.save({0: torch.ones(1), ("a", 1): torch.ones(1), "b.weight": torch.ones(1)}, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth").keys() == {"b.weight"}


def rcnn(**changed: Any) -> RcnnSpec:
    anchors = PyramidAnchors(((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)), (0.5, 1.0))
    usual: dict[str, Any] = {"size": 64, "longest": 96, "anchors": anchors, "channels": 16, "hidden": 32}
    return RcnnSpec(SPECS["mb1"], ("ein Hund", "猫"), **(usual | changed))


def about_rcnn(spec: RcnnSpec) -> CheckpointInfo:
    return msgspec.structs.replace(about(), model=spec, thresholds=(0.2, 0.3))


@pytest.mark.parametrize("heads", ["mobile", "standard"])
@pytest.mark.parametrize("masks", [True, False])
def test_a_mask_rcnn_comes_back_whole(tmp_path: Path, heads: Any, masks: bool) -> None:
    torch.manual_seed(0)
    said = about_rcnn(rcnn(heads=heads, masks=masks))
    model = build(said.model).eval()
    assert isinstance(model, MaskRcnn)
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, model, said)
    loaded, found = load_checkpoint(path)
    assert isinstance(loaded, MaskRcnn)
    assert (found, loaded.spec) == (said, said.model)
    assert not loaded.training
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    (mine,), (theirs,) = loaded.detect(image, score=0.0), model.detect(image, score=0.0)
    assert len(mine.scores) > 0
    assert (mine.masks is not None) == masks
    for one, other in ((mine.boxes, theirs.boxes), (mine.scores, theirs.scores), (mine.masks, theirs.masks)):
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0)


WRONG_RCNN: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown heads": lambda it: it["model"].update(heads="fancy"),
    "absurdly many channels": lambda it: it["model"].update(channels=60_000),
    "an absurd hidden layer": lambda it: it["model"].update(hidden=60_000),
    "absurdly many proposals": lambda it: it["model"].update(proposals=60_000),
    "fewer channels than one": lambda it: it["model"].update(channels=-1),
    "a single channel": lambda it: it["model"].update(channels=1),
    "a longest below its size": lambda it: it["model"].update(longest=32),
    "an absurd size": lambda it: it["model"].update(size=10**6, longest=10**6),
    "a net of absurd width": lambda it: it["model"]["backbone"].update(width=1e6),
    "anchors of four levels": lambda it: it["model"]["anchors"].update(sides=it["model"]["anchors"]["sides"][:4]),
    "absurdly many anchors": lambda it: it["model"]["anchors"].update(ratios=[1.0] * 1000),
    "an anchor without size": lambda it: it["model"]["anchors"]["sides"].__setitem__(0, [0.0]),
    "text for masks": lambda it: it["model"].update(masks="yes"),
    "thresholds of other labels": lambda it: it.update(thresholds=[0.5]),
}


@pytest.fixture(scope="module")
def saved_rcnn(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("rcnn") / "best.safetensors"
    save_checkpoint(path, build(about_rcnn(rcnn()).model), about_rcnn(rcnn()))
    return path.read_bytes()


@pytest.mark.parametrize("change", WRONG_RCNN.values(), ids=WRONG_RCNN.keys())
def test_a_mask_rcnn_that_describes_itself_wrongly_is_one_error(
    tmp_path: Path, saved_rcnn: bytes, change: Callable[[dict[str, Any]], object]
) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(saved_rcnn)
    with pytest.raises(CheckpointError, match="has an invalid description"):
        load_checkpoint(rewritten(path, change))
