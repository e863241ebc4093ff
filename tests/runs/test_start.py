"""The weights that a training starts from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import mobilenet_v3_small
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

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
from vocdet.models.weights.published import coco_heads, coco_rcnn_heads, is_torchvision_name
from vocdet.runs import start as weights
from vocdet.runs.start import find_weights

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


def test_auto_without_a_backbone_is_from_scratch_and_says_why(tmp_path: Path) -> None:
    for runs in (tmp_path, tmp_path / "missing"):
        start = find_weights("auto", SMALL, runs)
        assert start.text == f"from scratch: no backbone run of mb1-0.25 in {runs}"
        assert start.tensors == {}


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


def test_imagenet_is_the_file_that_torchvision_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    def load(url: str, **_: object) -> dict[str, torch.Tensor]:
        requested.append(url)
        return {"features.0.0.weight": torch.zeros(3)}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    start = find_weights("imagenet", parse_net("mb3-small"), tmp_path)
    assert start.text.startswith("ImageNet weights of torchvision (mobilenet_v3_small-")
    assert start.normalization == IMAGENET
    assert requested[0].startswith("https://download.pytorch.org/models/mobilenet_v3_small-")
    assert is_torchvision_name(Path(start.source))


def no_network(*_: object, **__: object) -> None:
    raise OSError("no route to host")


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


def coco(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).state_dict()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: tensors)
    return tensors


def test_coco_is_torchvisions_detector_with_its_tail_labels_and_anchors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco(monkeypatch)
    start = find_weights("coco", parse_net("mb3-large"), tmp_path)
    assert start.text == (
        "COCO weights of torchvision (ssdlite320_mobilenet_v3_large_coco-a79551df.pth), which have a reduced tail"
    )
    assert start.backbone == parse_net("mb3-large", reduced_tail=True)
    assert (start.normalization, start.heads, start.anchors) == (HALF, coco_heads(), torchvision_anchors())


def test_a_coco_file_of_any_name_is_recognized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(coco(monkeypatch), tmp_path / "downloaded.pth")
    start = find_weights(str(tmp_path / "downloaded.pth"), parse_net("mb3-large"), tmp_path)
    assert start.text.endswith("downloaded.pth, torchvision's SSD-lite for COCO, which have a reduced tail")
    assert start.backbone.reduced_tail
    assert (start.normalization, start.heads) == (HALF, coco_heads())


def test_coco_without_a_network_names_the_file_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(CheckpointError, match="the COCO weights could not be downloaded: no route to host") as caught:
        find_weights("coco", parse_net("mb3-large"), tmp_path)
    file = "https://download.pytorch.org/models/ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    assert caught.value.hint == (
        f"download {file} on another machine, and copy it to {tmp_path / 'checkpoints'} or give the file as `weights`"
    )


def test_coco_is_for_detectors_of_one_net(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="the COCO weights are those of a detector") as caught:
        find_weights("coco", parse_net("mb3-large"), tmp_path, task="backbone")
    assert caught.value.hint == 'use `weights="imagenet"`; `weights="coco"` is for detectors'
    with pytest.raises(CheckpointError, match=r"is an SSD-lite on mb3-large, not on mb1-0\.25"):
        find_weights("coco", SMALL, tmp_path)


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


def test_nothing_is_downloaded_without_a_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "imagenet_tensors", None)
    monkeypatch.setattr(weights, "coco_tensors", None)
    for given in ("auto", "none"):
        assert find_weights(given, SMALL, tmp_path).tensors == {}


def test_a_missing_file_is_an_error_that_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file of weights") as caught:
        find_weights(str(tmp_path / "x.pth"), SMALL, tmp_path)
    assert caught.value.hint == "give a file, a run folder, imagenet, coco, last, none or auto"
    with pytest.raises(CheckpointError, match="no such file of weights"):
        find_weights(str(tmp_path), SMALL, tmp_path)  # a folder without a checkpoint


def test_the_state_of_a_training_is_not_a_weights_file(tmp_path: Path) -> None:
    save_file({"model.a": torch.zeros(1)}, tmp_path / "state.safetensors")
    with pytest.raises(CheckpointError, match="holds the state of a training to resume, not its weights") as caught:
        find_weights(str(tmp_path / "state.safetensors"), SMALL, tmp_path)
    assert caught.value.hint == "give the run's folder, or its best.safetensors"


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
    requested = []

    def download(url: str, **_: object) -> dict[str, torch.Tensor]:
        requested.append(url)
        return {
            "backbone.body.bn1.running_var": torch.ones(64),
            "backbone.body.bn1.num_batches_tracked": torch.ones(()),
        }

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    start = find_weights("coco", parse_net("resnet50"), tmp_path, task="maskrcnn")
    assert requested == ["https://download.pytorch.org/models/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"]
    assert (start.heads, start.normalization) == (coco_rcnn_heads(), IMAGENET)
    assert start.tensors.keys() == {"backbone.body.bn1.running_var"}
    assert float(start.tensors["backbone.body.bn1.running_var"][0]) == pytest.approx(1 - 1e-5, abs=1e-7)
