"""Weights from elsewhere go where they belong, and what did not fit is told."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vocdet.errors import CheckpointError
from vocdet.models import transfer as module
from vocdet.models.anchors import torchvision_anchors
from vocdet.models.backbone import BackboneSpec, Classifier, parse_net
from vocdet.models.checkpoint import read_tensors
from vocdet.models.ssdlite import SsdLite, SsdSpec
from vocdet.models.transfer import imagenet_tensors, is_torchvision_name, our_names, transfer

SMALL = BackboneSpec("mb1", 0.25)


def detector(labels: int = 2, spec: BackboneSpec = SMALL) -> SsdLite:
    return SsdLite(SsdSpec(spec, tuple(map(str, range(labels))), (64, 64), torchvision_anchors()))


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("net", ["mb1-0.25", "mb2-0.35", "mb3-small", "mb3-large"])
def test_a_classifiers_backbone_goes_into_a_detector_key_for_key(net: str) -> None:
    spec = parse_net(net)
    classifier, model = Classifier(spec, 5), detector(spec=spec)
    moved = transfer(model, classifier.state_dict(), spec, source="classifier")
    for name, value in classifier.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value)
    fates = {(row.name.split(".")[0], row.fate) for row in moved.tensors}
    assert fates == {
        ("backbone", "loaded"), ("extras", "fresh"), ("box_head", "fresh"), ("class_head", "fresh"),
        ("classifier", "skipped"),
    }  # fmt: skip
    assert moved.count("loaded") == len(classifier.backbone.state_dict())


def test_a_head_for_other_labels_stays_fresh_and_says_why() -> None:
    three, two = detector(3), detector(2)
    before = copies(two)
    moved = transfer(two, three.state_dict(), SMALL, source="three")
    fresh = {row.name: row for row in moved.tensors if row.fate == "fresh"}
    assert len(fresh) == 12  # weight and bias of the last layer of six class heads
    assert all(name.startswith("class_head.") for name in fresh)
    assert (fresh["class_head.0.1.bias"].shape, fresh["class_head.0.1.bias"].why) == ((18,), "the file's is (24,)")
    for name, value in two.state_dict().items():
        assert torch.equal(value, before[name] if name in fresh else three.state_dict()[name])


def test_every_tensor_of_file_and_model_has_one_row() -> None:
    model = detector()
    given = copies(Classifier(SMALL, 2)) | {"optimizer.step": torch.zeros(1)}
    rows = transfer(model, given, SMALL, source="file").tensors
    assert {row.name for row in rows} == model.state_dict().keys() | given.keys()
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("other", ["mb1", "mb1-0.5", "mb2", "mb3-small"])
def test_weights_of_another_net_are_refused_and_leave_the_model_as_it_was(other: str) -> None:
    model = detector()
    before = copies(model)
    with pytest.raises(CheckpointError, match=r"only \d+ of 162 tensors of mb1-0.25 are in it") as caught:
        transfer(model, Classifier(parse_net(other), 2).state_dict(), SMALL, source="runs/other.pth")
    assert str(caught.value.place) == "runs/other.pth"
    assert caught.value.hint == "the weights are for another --net"
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_names_from_several_gpus_are_understood() -> None:
    spec = parse_net("mb3-small")
    names = ["module.features.0.0.weight", "module.classifier.0.weight"]
    assert our_names(names, spec) == {
        "module.features.0.0.weight": "backbone.features.0.0.weight",
        "module.classifier.0.weight": "classifier.0.weight",
    }


def test_our_own_names_stay() -> None:
    for spec in (SMALL, parse_net("mb2"), parse_net("mb3-large")):
        names = list(detector(spec=spec).state_dict()) + list(Classifier(spec, 2).state_dict())
        assert all(theirs == ours for theirs, ours in our_names(names, spec).items())


def test_halves_and_doubles_are_taken_as_single_precision() -> None:
    for dtype in (torch.float16, torch.float64):
        given = {name: value.to(dtype) for name, value in Classifier(SMALL, 2).state_dict().items()}
        model = Classifier(SMALL, 2)
        transfer(model, given, SMALL, source="file")
        assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "imagenet"),
    [
        ("mobilenet_v2-7ebf99e0.pth", True),
        ("mobilenet_v3_large-5c1a4163.pth", True),
        ("mobilenet_v3_small-047dcff4.pth", True),
        ("ssdlite320_mobilenet_v3_large_coco-a79551df.pth", False),  # torchvision trains it with .5 and .5
        ("mobilenet_v2.pth", False),
        ("my_mobilenet_v2-7ebf99e0.pth", False),
        ("best.pth", False),
    ],
)
def test_only_torchvisions_classifiers_want_imagenets_mean(name: str, imagenet: bool) -> None:
    assert is_torchvision_name(Path("somewhere", name)) is imagenet


def test_a_download_that_fails_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match="could not be downloaded: no route to host") as caught:
        imagenet_tensors(parse_net("mb3-large"))
    assert "https://download.pytorch.org/models/mobilenet_v3_large-" in caught.value.hint
    assert str(tmp_path / "checkpoints") in caught.value.hint


@pytest.mark.parametrize("spec", [SMALL, BackboneSpec("mb3-large", 0.5), BackboneSpec("mb3-large", reduced_tail=True)])
def test_nets_without_published_weights_are_told_at_once(spec: BackboneSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    with pytest.raises(CheckpointError, match="torchvision has no ImageNet weights for"):
        imagenet_tensors(spec)


def test_torchvisions_files_are_read(tmp_path: Path) -> None:
    tensors = Classifier(SMALL, 2).state_dict()
    torch.save(tensors, tmp_path / "plain.pth")
    torch.save({"model": OrderedDict(tensors), "epoch": 3}, tmp_path / "nested.pth")
    torch.save({"state_dict": tensors, "hyper": {"lr": 0.1}}, tmp_path / "lightning.ckpt")
    torch.save(tensors, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(dict(tensors), tmp_path / "other.safetensors")
    for path in tmp_path.iterdir():
        read = read_tensors(path)
        assert read.keys() == tensors.keys()
        assert all(torch.equal(read[name], tensors[name]) for name in tensors)


class Harmful:
    """Runs code when unpickled, as any pickle can."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.flag,))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    path, flag = tmp_path / "evil.pth", tmp_path / "flag"
    torch.save({"features.0.0.weight": torch.zeros(1), "extra": Harmful(flag)}, path)
    with pytest.raises(CheckpointError, match="cannot be read as weights: it holds Python objects") as caught:
        read_tensors(path)
    assert not flag.exists()
    assert caught.value.hint.startswith("it must be a .safetensors file, or a state dict")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "half", "folder", "missing"])
def test_a_file_that_holds_no_weights_is_one_error(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"weights{suffix}"
    tensors = dict(Classifier(SMALL, 2).state_dict())
    if damage == "half":
        torch.save(tensors, path) if suffix == ".pth" else save_file(tensors, path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_text("" if damage == "empty" else "not weights\n" * 100)
    with pytest.raises(CheckpointError) as caught:
        read_tensors(path)
    assert caught.value.place is not None
    assert caught.value.place.path == path
    expected = "there is no such file" if damage in ("missing", "folder") else "it is damaged or of another kind"
    assert expected in caught.value.problem


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}, {}])
def test_a_file_without_named_tensors_is_told_how_to_save_them(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="holds no named tensors") as caught:
        read_tensors(tmp_path / "x.pth")
    assert caught.value.hint == "save model.state_dict()"


def test_the_normalisations_are_the_published_ones() -> None:
    assert module.IMAGENET == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert module.HALF == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
