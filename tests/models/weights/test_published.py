"""Weights that torchvision publishes: fetched when asked, recognized by what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import mobilenet_v2, mobilenet_v3_small
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

from vocdet.errors import CheckpointError
from vocdet.models.backbones.backbone import BackboneSpec, parse_net
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.published import (
    HALF,
    IMAGENET,
    coco_heads,
    coco_tensors,
    content_of,
    imagenet_tensors,
    is_torchvision_name,
)
from vocdet.models.weights.transfer import transfer

SMALL = BackboneSpec("mb1", 0.25)
COCO_NET = parse_net("mb3-large", reduced_tail=True)
FILE = Path("weights.pth")


@pytest.fixture(scope="module")
def coco() -> Any:
    """torchvision's SSD-lite as it is for COCO, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None).eval()


def test_the_normalizations_are_the_published_ones() -> None:
    assert IMAGENET == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert HALF == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


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
def test_torchvisions_classifiers_are_known_by_name(name: str, imagenet: bool) -> None:
    assert is_torchvision_name(Path("somewhere", name)) is imagenet
    content = content_of({"features.0.0.weight": torch.zeros(3)}, Path("somewhere", name))
    assert content.normalization == (IMAGENET if imagenet else HALF)


@pytest.mark.parametrize("make", [mobilenet_v2, mobilenet_v3_small])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torchvisions_classifiers_are_known_by_their_thousand_classes(make: Any, prefix: str) -> None:
    given = {prefix + name: value for name, value in make(weights=None).state_dict().items()}
    assert content_of(given, FILE).normalization == HALF  # no batch was ever counted: not trained in PyTorch
    for name, value in given.items():
        if name.endswith("num_batches_tracked"):
            value.fill_(7)
    assert content_of(given, FILE).normalization == IMAGENET
    old = {name: value for name, value in given.items() if not name.endswith("num_batches_tracked")}
    assert content_of(old, FILE).normalization == IMAGENET  # as PyTorch 0.4 wrote it
    mine = {name: value[:10] if name.startswith(f"{prefix}classifier.") else value for name, value in given.items()}
    assert content_of(mine, FILE).normalization == HALF


def test_our_own_classifier_of_a_thousand_labels_is_not_torchvisions() -> None:
    assert (
        content_of(Classifier(ClassifierSpec(SMALL, tuple(map(str, range(1000))))).state_dict(), FILE).normalization
        == HALF
    )


def test_tensors_of_unknown_shapes_match_no_net() -> None:
    scalars = {name: torch.tensor(1.0) for name in ("features.0.0.weight", "classifier.1.bias")}
    heads = {
        f"head.{kind}_head.module_list.{k}.1.bias": torch.tensor(1.0)
        for kind in ("regression", "classification")
        for k in range(6)
    }
    for given in (scalars, heads, {}):
        content = content_of(given, FILE)
        assert (content.normalization, content.heads) == (HALF, None)


def test_the_coco_detector_is_known_by_its_heads(coco: Any) -> None:
    content = content_of(coco.state_dict(), FILE)
    assert (content.normalization, content.heads) == (HALF, coco_heads())


def test_another_ssd_lite_of_torchvisions_has_unknown_labels_but_known_anchors() -> None:
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
    content = content_of(model.state_dict(), FILE)
    assert content.heads is not None
    assert (content.heads.labels, content.heads.anchors) == (None, torchvision_anchors())


def test_the_labels_of_coco_are_torchvisions() -> None:
    labels = coco_heads().labels
    assert labels is not None
    published_names = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta["categories"]
    assert len(labels) == 90
    assert (labels[0], labels[17], labels[89]) == ("person", "dog", "toothbrush")  # ids 1, 18 and 90 of COCO
    assert [name or "N/A" for name in labels] == published_names[1:]
    assert labels.count("") == 10


@pytest.mark.parametrize("labels", [("dog", "my thing", "Person"), ("traffic_light", "N/A", "hotdog", "tv")])
def test_labels_of_coco_keep_their_logits_in_a_model_of_other_labels(coco: Any, labels: tuple[str, ...]) -> None:
    ours = SsdLite(SsdSpec(COCO_NET, labels, (320, 320), torchvision_anchors())).eval()
    report = transfer(ours, coco.state_dict(), COCO_NET, source="coco", heads=coco_heads())
    # ids in COCO's annotations, 0 for the background
    ids = {"dog": 18, "Person": 1, "traffic_light": 10, "hotdog": 58, "tv": 72}
    known = [label for label in labels if label in ids]
    image = torch.randint(0, 256, (1, 3, 320, 320), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        images, _ = coco.transform([image[0] / 255])
        theirs = coco.head(list(coco.backbone(images.tensors).values()))
        offsets, logits = ours(image)
    mine, wanted = [0, *(1 + labels.index(k) for k in known)], [0, *(ids[k] for k in known)]
    assert theirs["cls_logits"][..., wanted].std() > 0
    torch.testing.assert_close(logits[..., mine], theirs["cls_logits"][..., wanted], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(offsets, theirs["bbox_regression"], rtol=1e-5, atol=1e-5)
    assert report.common == tuple(known)
    assert report.labels == labels
    assert {row.why for row in report.tensors if row.fate == "resized"} == {
        f"{len(known)} of {len(labels)} labels by name"
    }
    assert (report.count("fresh"), report.count("skipped")) == (0, 0)


def fail(*_: object, **__: object) -> None:
    raise OSError("no route to host")


@pytest.mark.parametrize(
    ("fetch", "spec", "file"),
    [
        (imagenet_tensors, parse_net("mb3-large"), "mobilenet_v3_large-"),
        (coco_tensors, COCO_NET, "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"),
    ],
)
def test_a_download_that_fails_says_what_to_fetch(
    fetch: Any, spec: BackboneSpec, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(CheckpointError, match="weights could not be downloaded: no route to host") as caught:
        fetch(spec)
    assert f"download https://download.pytorch.org/models/{file}" in caught.value.hint
    assert f"copy it to {tmp_path / 'checkpoints'} or give the file as `weights`" in caught.value.hint


def coco_file(folder: Path) -> Path:
    (folder / "checkpoints").mkdir()
    return folder / "checkpoints" / "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"


def test_a_file_put_by_hand_is_read_without_a_network(
    coco: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    torch.save(coco.state_dict(), coco_file(tmp_path))
    tensors, name = coco_tensors(parse_net("mb3-large"))
    assert name == "ssdlite320_mobilenet_v3_large_coco-a79551df.pth"
    assert tensors.keys() == coco.state_dict().keys()


class Harmful:
    """Runs code when unpickled, as any pickle can."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.flag,))


@pytest.mark.parametrize("content", ["web page", "half", "code"])
def test_a_damaged_file_put_by_hand_is_named(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    file = coco_file(tmp_path)
    tensors: dict[str, Tensor | Harmful] = {"a": torch.zeros(1000)}
    torch.save(tensors | {"b": Harmful(tmp_path / "flag")} if content == "code" else tensors, file)
    if content == "web page":
        file.write_text("<html>404</html>")
    elif content == "half":
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="the COCO weights are damaged") as caught:
        coco_tensors(COCO_NET)
    assert caught.value.place is not None
    assert caught.value.place.path == file
    assert caught.value.hint.startswith("delete it to download it again")
    assert not (tmp_path / "flag").exists()


@pytest.mark.parametrize("spec", [SMALL, BackboneSpec("mb3-large", 0.5), BackboneSpec("mb3-large", reduced_tail=True)])
def test_nets_without_published_weights_are_an_early_error(spec: BackboneSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    with pytest.raises(CheckpointError, match="torchvision has no ImageNet weights for"):
        imagenet_tensors(spec)


def test_the_error_for_mobilenet_v1_names_a_source_of_weights() -> None:
    with pytest.raises(CheckpointError, match="torchvision has no ImageNet weights for mb1") as caught:
        imagenet_tensors(parse_net("mb1"))
    assert "https://huggingface.co/timm/mobilenetv1_100." in caught.value.hint


@pytest.mark.parametrize("net", ["mb1", "mb3-small", "mb3-large-0.75"])
def test_coco_weights_for_another_net_are_an_early_error(net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    with pytest.raises(CheckpointError, match=rf"is an SSD-lite on mb3-large, not on {net} \(") as caught:
        coco_tensors(parse_net(net))
    assert caught.value.hint == 'choose `net="mb3-large"`, or `weights="imagenet"`'


def test_weights_are_downloaded_without_running_code_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def load(url: str, **options: object) -> dict[str, Tensor]:
        asked.update(options, url=url)
        return {"a": torch.zeros(1)}

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    assert coco_tensors(COCO_NET)[0].keys() == {"a"}
    assert asked["url"] == SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.url
    assert (asked["weights_only"], asked["check_hash"]) == (True, True)
