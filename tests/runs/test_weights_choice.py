"""The weights that a recipe names."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v3_small
from torchvision.models.detection import maskrcnn_resnet50_fpn, ssdlite320_mobilenet_v3_large

from vocdet.errors import CheckpointError, RunError
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.build import build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.rcnn.model import RcnnSpec
from vocdet.models.ssd.anchors import Anchors, Shape, torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.models.weights.heads import Heads
from vocdet.models.weights.published import PublishedWeights, coco_heads, coco_rcnn_heads
from vocdet.runs.weights_choice import find_weights

SMALL = parse_net("mb1-0.25")
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OWN = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def save(run: Path, *, age: int = 0, net: str = "mb1-0.25") -> Path:
    spec = parse_net(net)
    about = CheckpointInfo(vocdet="0", model=ClassifierSpec(spec, ("a", "b"), 64, *OWN))
    save_checkpoint(run / "best.safetensors", Classifier(ClassifierSpec(spec, ("a", "b"))), about)
    os.utime(run / "best.safetensors", (10_000_000 - age,) * 2)
    return run


ANCHORS = Anchors((((Shape(0.2, 0.3),)),) * 6)


def save_detector(run: Path, *, age: int = 0, net: str = "mb1-0.25", tail: bool = False) -> Path:
    spec = parse_net(net, reduced_tail=tail)
    about = CheckpointInfo(vocdet="0", model=SsdSpec(spec, ("a", "b"), (64, 64), ANCHORS, *OWN))
    save_checkpoint(run / "best.safetensors", build(about.model), about)
    os.utime(run / "best.safetensors", (10_000_000 - age,) * 2)
    return run


def test_none_is_from_scratch(tmp_path: Path) -> None:
    start = find_weights("none", SMALL, tmp_path)
    assert (start.text, start.tensors, start.normalization) == ("from scratch", {}, HALF)


def test_auto_is_the_newest_backbone_of_the_same_net(tmp_path: Path) -> None:
    save(tmp_path / "old", age=9)
    new = save(tmp_path / "new", age=5)
    save(tmp_path / "other-net", net="mb1-0.5")
    start = find_weights("auto", SMALL, tmp_path)
    assert start.text == f"the newest backbone run, {new}"
    assert start.source == str(new / "best.safetensors")
    assert start.normalization == OWN
    assert any(name.startswith("backbone.features.") for name in start.tensors)


def test_a_run_and_its_checkpoint_supply_their_normalization(tmp_path: Path) -> None:
    run = save(tmp_path / "run")
    for given, text in ((run, f"the run {run}"), (run / "best.safetensors", str(run / "best.safetensors"))):
        start = find_weights(str(given), SMALL, tmp_path)
        assert (start.text, start.normalization) == (text, OWN)


@pytest.mark.parametrize(
    ("name", "normalization"),
    [
        ("mobilenet_v2-7ebf99e0.pth", IMAGENET),
        ("ssdlite320_mobilenet_v3_large_coco-a79551df.pth", HALF),  # as torchvision trained it
        ("mine.pth", HALF),
        ("other.safetensors", HALF),
    ],
)
def test_other_files_have_the_normalization_of_their_training(
    tmp_path: Path, name: str, normalization: tuple[tuple[float, ...], ...]
) -> None:
    tensors = {"features.0.0.weight": torch.zeros(3)}
    save_file(tensors, tmp_path / name) if name.endswith(".safetensors") else torch.save(tensors, tmp_path / name)
    start = find_weights(str(tmp_path / name), SMALL, tmp_path)
    assert start.normalization == normalization
    assert start.tensors.keys() == tensors.keys()


def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch hub's folder of weights."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    return folder / "hub" / "checkpoints"


def publish(file: Path, monkeypatch: pytest.MonkeyPatch, *, coco: bool = False) -> None:
    """Let a file have the digest that is published for its name."""
    made = PublishedWeights(file.name, "http://127.0.0.1/x", "made weights", 1, sha256(file.read_bytes()).hexdigest())
    name = "coco_weights" if coco else "imagenet_weights"
    monkeypatch.setattr(f"vocdet.runs.weights_choice.{name}", lambda *_: (made,))


def test_imagenet_is_the_file_in_the_folder_of_torch_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub(tmp_path, monkeypatch) / "mobilenet_v3_small-047dcff4.pth"
    torch.save(mobilenet_v3_small(weights=None).state_dict(), file)
    publish(file, monkeypatch)
    start = find_weights("imagenet", parse_net("mb3-small"), tmp_path)
    assert start.text == f"made weights, {file}"
    assert (start.normalization, start.heads, start.warning) == (IMAGENET, None, "")
    assert (start.name, start.sha256) == (file.name, sha256(file.read_bytes()).hexdigest())


@pytest.mark.parametrize(
    ("weights", "net", "task", "file"),
    [
        ("imagenet", "mb1", "ssd", "timm/mobilenetv1_100.ra4_e3600_r224_in1k/resolve/"),
        ("imagenet", "mb3-large", "backbone", "download.pytorch.org/models/mobilenet_v3_large-5c1a4163.pth (22.1 MB)"),
        ("imagenet", "resnet50", "maskrcnn", "download.pytorch.org/models/resnet50-0676ba61.pth (102.5 MB)"),
        ("coco", "mb3-large", "ssd", "models/ssdlite320_mobilenet_v3_large_coco-a79551df.pth (14.1 MB)"),
        ("coco", "resnet50", "maskrcnn", "models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth (178.1 MB)"),
    ],
)
def test_without_a_network_a_request_names_the_file_its_size_and_its_place(
    weights: str, net: str, task: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = hub(tmp_path, monkeypatch)
    with pytest.raises(CheckpointError, match="could not be downloaded: downloads are switched off") as caught:
        find_weights(weights, parse_net(net), tmp_path, task=task)
    assert file in caught.value.hint
    assert f" to {folder}{os.sep}" in caught.value.hint
    assert re.search(r", or name the file: `weights=\"[\w.]+-?\w+\.(pth|safetensors)\"`$", caught.value.hint)


def test_a_published_file_that_the_environment_names_is_that_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(tmp_path / "empty", monkeypatch)
    file = tmp_path / "mobilenet_v3_small-047dcff4.pth"
    torch.save(mobilenet_v3_small(weights=None).state_dict(), file)
    publish(file, monkeypatch)
    monkeypatch.setenv("VOCDET_WEIGHTS", str(file))
    assert find_weights("imagenet", parse_net("mb3-small"), tmp_path).text == f"made weights, {file}"


class Harmful:
    """Runs code when unpickled, as any pickle can."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.flag,))


@pytest.mark.parametrize("content", ["web page", "half", "code"])
def test_a_damaged_file_put_by_hand_is_named(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub(tmp_path, monkeypatch) / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    tensors: dict[str, torch.Tensor | Harmful] = {"a": torch.zeros(1000)}
    torch.save(tensors | {"b": Harmful(tmp_path / "flag")} if content == "code" else tensors, file)
    if content == "web page":
        file.write_text("<html>404</html>")
    elif content == "half":
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="damaged or incomplete: its SHA-256 begins with") as caught:
        find_weights("coco", parse_net("mb3-large"), tmp_path)
    assert caught.value.place is not None
    assert caught.value.place.path == file
    assert caught.value.hint.startswith("delete it; then download https://download.pytorch.org/models/ssdlite320")
    assert not (tmp_path / "flag").exists()


def test_a_file_with_the_right_digest_and_other_tensors_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = hub(tmp_path, monkeypatch) / "net.pth"
    torch.save({"a": torch.zeros(3)}, file)
    publish(file, monkeypatch)
    with pytest.raises(CheckpointError, match=r"its tensors are not those of mb1-0\.25"):
        find_weights("imagenet", SMALL, tmp_path)


@pytest.mark.parametrize(("net", "tail"), [("mb1-0.25", False), ("mb3-large-0.5", False), ("mb3-large", True)])
def test_imagenet_weights_that_nobody_publishes_are_an_early_error(net: str, tail: bool, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"no ImageNet weights are published for {net}") as caught:
        find_weights("imagenet", parse_net(net, reduced_tail=tail), tmp_path)
    assert caught.value.hint.startswith('choose `net="mb1"`, `net="mb2"`, ')


def test_a_detector_supplies_its_labels_and_anchors(tmp_path: Path) -> None:
    start = find_weights(str(save_detector(tmp_path / "run")), SMALL, tmp_path)
    assert start.heads == Heads(("a", "b"), ANCHORS)
    assert (start.anchors, start.normalization, start.backbone) == (ANCHORS, OWN, SMALL)
    backbone = find_weights(str(save(tmp_path / "other")), SMALL, tmp_path)
    assert (backbone.heads, backbone.anchors) == (Heads(("a", "b")), None)


def test_last_is_the_newest_run_of_the_task(tmp_path: Path) -> None:
    save(tmp_path / "backbone", age=1)
    save_detector(tmp_path / "old", age=9)
    new = save_detector(tmp_path / "new", age=5)
    start = find_weights("last", SMALL, tmp_path)
    assert start.text == f"the newest ssd run, {new}"
    assert start.anchors == ANCHORS
    start = find_weights("last", SMALL, tmp_path, task="backbone")
    assert start.text == f"the newest backbone run, {tmp_path / 'backbone'}"


def test_last_without_a_matching_run_names_the_existing_one(tmp_path: Path) -> None:
    save(tmp_path / "backbone")
    with pytest.raises(RunError, match="no ssd run in this folder"):
        find_weights("last", SMALL, tmp_path)
    save_detector(tmp_path / "fits", age=5)
    other = save_detector(tmp_path / "other", net="mb1-0.5")
    with pytest.raises(CheckpointError, match=r"the last run has the net mb1-0\.5, not mb1-0\.25") as caught:
        find_weights("last", SMALL, tmp_path)
    assert caught.value.place is not None
    assert caught.value.place.path == other
    assert caught.value.hint == 'use `net="mb1-0.5"`, or name another run'


def test_weights_with_a_reduced_tail_reduce_the_tail_and_say_so(tmp_path: Path) -> None:
    plain, reduced = parse_net("mb3-small-0.35"), parse_net("mb3-small-0.35", reduced_tail=True)
    run = save_detector(tmp_path / "run", net="mb3-small-0.35", tail=True)
    start = find_weights(str(run), plain, tmp_path)
    assert (start.backbone, start.text) == (reduced, f"the run {run}, which have a reduced tail")
    assert find_weights("last", reduced, tmp_path).text == f"the newest ssd run, {run}"


def save_coco(path: Path) -> Path:
    torch.save(ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).state_dict(), path)
    return path


def test_coco_is_torchvisions_detector_with_its_tail_labels_and_anchors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save_coco(hub(tmp_path, monkeypatch) / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth")
    publish(file, monkeypatch, coco=True)
    start = find_weights("coco", parse_net("mb3-large"), tmp_path)
    assert start.text == f"made weights, {file}, which have a reduced tail"
    assert start.backbone == parse_net("mb3-large", reduced_tail=True)
    assert (start.normalization, start.heads, start.anchors) == (HALF, coco_heads(), torchvision_anchors())


def test_a_coco_file_of_any_name_is_recognized(tmp_path: Path) -> None:
    save_coco(tmp_path / "downloaded.pth")
    start = find_weights(str(tmp_path / "downloaded.pth"), parse_net("mb3-large"), tmp_path)
    assert start.text.endswith("downloaded.pth, torchvision's SSD-lite for COCO, which have a reduced tail")
    assert start.backbone.reduced_tail
    assert (start.normalization, start.heads) == (HALF, coco_heads())


def test_coco_is_for_detectors_of_one_net(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the COCO weights are those of a detector") as caught:
        find_weights("coco", parse_net("mb3-large"), tmp_path, task="backbone")
    assert caught.value.hint == 'use `weights="imagenet"`; `weights="coco"` is for detectors'
    with pytest.raises(CheckpointError, match=r"is an SSD-lite on mb3-large, not on mb1-0\.25"):
        find_weights("coco", SMALL, tmp_path)
    with pytest.raises(CheckpointError, match="is on resnet50, not on mb3-large"):
        find_weights("coco", parse_net("mb3-large"), tmp_path, task="maskrcnn")


def test_imagenet_weights_of_torchvision_are_recognized_by_their_tensors(tmp_path: Path) -> None:
    given = mobilenet_v3_small(weights=None).state_dict()
    for name, value in given.items():
        if name.endswith("num_batches_tracked"):
            value.fill_(7)
    torch.save(given, tmp_path / "mine.pth")
    start = find_weights(str(tmp_path / "mine.pth"), parse_net("mb3-small"), tmp_path)
    assert (start.normalization, start.heads) == (IMAGENET, None)
    assert start.text == f"{tmp_path / 'mine.pth'}, torchvision's for ImageNet"


def test_the_shared_weights_have_the_normalization_of_their_training(shared: Path) -> None:
    for name, net, normalization in (
        ("mobilenet_v3_small_imagenet.pth", "mb3-small", HALF),  # from TensorFlow
        ("mobilenet_v2-b0353104.pth", "mb2", IMAGENET),
    ):
        file = shared / "weights" / name
        if not file.exists():
            pytest.skip(f"no {name}")
        assert find_weights(str(file), parse_net(net), shared).normalization == normalization


def test_a_missing_file_is_an_error_that_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file of weights") as caught:
        find_weights(str(tmp_path / "x.pth"), SMALL, tmp_path)
    assert caught.value.hint == "give a file, a run folder, imagenet, coco, last, none or auto"
    with pytest.raises(CheckpointError, match="no such file of weights"):
        find_weights(str(tmp_path), SMALL, tmp_path)  # a folder without a checkpoint


@pytest.mark.parametrize("name", ["state.safetensors", "final-state.safetensors"])
def test_the_state_of_a_training_is_not_a_weights_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    save_file({"model.a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(CheckpointError, match="holds the state of a training to resume, not its weights") as caught:
        find_weights(str(tmp_path / name), SMALL, tmp_path)
    assert caught.value.hint == "give the run's folder, or its best.safetensors"
    monkeypatch.setenv("VOCDET_WEIGHTS", str(tmp_path / name))
    monkeypatch.setenv("VOCDET_OFFLINE", "1")
    notes = " ".join(find_weights("auto", SMALL, tmp_path).notes)
    assert "but it holds the state of a training to resume, not its weights" in notes


def save_mask_rcnn(run: Path) -> RcnnSpec:
    spec = RcnnSpec(SMALL, ("a", "b"), 64, 96, PyramidAnchors(ratios=(1.0,)), *OWN, channels=16, hidden=16)
    about = CheckpointInfo(vocdet="0", model=spec)
    save_checkpoint(run / "best.safetensors", build(about.model), about)
    return spec


def test_a_mask_rcnn_supplies_its_labels_and_anchors(tmp_path: Path) -> None:
    spec = save_mask_rcnn(tmp_path / "maskrcnn-mb1-0.25-1")
    for weights_ in ("last", str(tmp_path / "maskrcnn-mb1-0.25-1")):
        start = find_weights(weights_, SMALL, tmp_path, task="maskrcnn")
        assert (start.heads, start.anchors, start.normalization) == (Heads(("a", "b"), spec.anchors), spec.anchors, OWN)
    with pytest.raises(RunError, match="no ssd run in this folder"):
        find_weights("last", SMALL, tmp_path, task="ssd")


def test_coco_is_torchvisions_mask_rcnn_for_mask_rcnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub(tmp_path, monkeypatch) / "maskrcnn.pth"
    with torch.device("meta"):
        shapes = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    one = torch.ones(())  # expanded, it takes no place in a file
    old = {
        re.sub(r"(_blocks\.\d)\.0\.", r"\1.", name): one.expand(value.shape)  # names of torchvision 0.13 and before
        for name, value in shapes.items() if name.startswith("backbone.") or name.endswith("cls_score.bias")
    }  # fmt: skip
    torch.save(old, file)
    publish(file, monkeypatch, coco=True)
    start = find_weights("coco", parse_net("resnet50"), tmp_path, task="maskrcnn")
    assert (start.heads, start.normalization) == (coco_rcnn_heads(), IMAGENET)
    variance = start.tensors["backbone.body.bn1.running_var"]
    assert float(variance[0]) == pytest.approx(1 - 1e-5, abs=1e-7)  # it was trained without eps
