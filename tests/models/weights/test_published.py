"""Published weights: which there are for a net, and what a file holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import mobilenet_v2, mobilenet_v3_small
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights, ssdlite320_mobilenet_v3_large

from vocdet.models.backbones.backbone import BackboneSpec, parse_net
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.published import (
    HALF,
    IMAGENET,
    coco_heads,
    coco_weights,
    content_of,
    imagenet_weights,
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


@pytest.mark.parametrize(
    ("net", "names"),
    [
        ("mb1", ["mobilenetv1_100.ra4_e3600_r224_in1k.safetensors"]),
        ("mb2", ["mobilenet_v2-7ebf99e0.pth", "mobilenet_v2-b0353104.pth"]),
        ("mb3-small", ["mobilenet_v3_small-047dcff4.pth"]),
        ("mb3-large", ["mobilenet_v3_large-5c1a4163.pth", "mobilenet_v3_large-8738ca79.pth"]),
        ("resnet50", ["resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"]),
        ("mb1-0.25", []),
        ("mb3-large-0.5", []),
    ],
)
def test_the_imagenet_weights_of_a_net_are_those_that_are_published(net: str, names: list[str]) -> None:
    found = imagenet_weights(parse_net(net))
    assert [one.name for one in found] == names
    assert all(is_torchvision_name(Path(one.name)) for one in found if net != "mb1")
    assert imagenet_weights(replace(parse_net(net), reduced_tail=net.startswith("mb3"))) == (
        () if net.startswith("mb3") else found
    )


def test_torchvisions_files_state_their_size_and_the_start_of_their_digest() -> None:
    (small,) = imagenet_weights(parse_net("mb3-small"))
    assert small.url == "https://download.pytorch.org/models/mobilenet_v3_small-047dcff4.pth"
    assert small.sha256 == "047dcff4"
    parameters = 2_542_856 * 4  # bytes of MobileNetV3-small's float32 numbers, as torchvision counts them
    assert parameters < small.size < 1.03 * parameters


def test_a_verified_digest_agrees_with_the_name_of_its_file(shared: Path) -> None:
    _, known = imagenet_weights(parse_net("mb2"))
    assert (len(known.sha256), known.sha256[:8]) == (64, "b0353104")
    file = shared / "weights" / known.name
    if not file.exists():
        pytest.skip(f"no {known.name}")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == known.sha256
    assert file.stat().st_size == pytest.approx(known.size, rel=1e-4)


@pytest.mark.parametrize(
    ("net", "task", "names"),
    [
        ("mb3-large", "ssd", ["ssdlite320_mobilenet_v3_large_coco-a79551df.pth"]),
        ("resnet50", "maskrcnn", ["maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"]),
        ("mb3-large", "maskrcnn", []),
        ("mb3-large", "backbone", []),
        ("mb3-large-0.75", "ssd", []),
        ("mb3-small", "ssd", []),
    ],
)
def test_the_coco_weights_are_those_of_the_same_detector(net: str, task: str, names: list[str]) -> None:
    assert [one.name for one in coco_weights(parse_net(net), task)] == names
