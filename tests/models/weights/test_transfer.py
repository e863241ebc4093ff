"""Weights from elsewhere go where they belong, and what did not fit is told."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vocdet.errors import CheckpointError
from vocdet.models.backbones.backbone import BackboneSpec, parse_net
from vocdet.models.checkpoint import read_tensors
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import Anchors, Shape, torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.heads import Heads
from vocdet.models.weights.transfer import Transfer, our_names, transfer, with_its_tail

SMALL = BackboneSpec("mb1", 0.25)


def detector(labels: int = 2, spec: BackboneSpec = SMALL) -> SsdLite:
    return SsdLite(SsdSpec(spec, tuple(map(str, range(labels))), (64, 64), torchvision_anchors()))


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("net", ["mb1-0.25", "mb2-0.35", "mb3-small", "mb3-large"])
def test_a_classifiers_backbone_goes_into_a_detector_key_for_key(net: str) -> None:
    spec = parse_net(net)
    classifier, model = Classifier(ClassifierSpec(spec, ("a", "b", "c", "d", "e"))), detector(spec=spec)
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
    assert (fresh["class_head.0.1.bias"].shape, fresh["class_head.0.1.bias"].why) == (
        (18,),
        "of another shape: (24,) in the file",
    )
    for name, value in two.state_dict().items():
        assert torch.equal(value, before[name] if name in fresh else three.state_dict()[name])


def test_every_tensor_of_file_and_model_has_one_row() -> None:
    model = detector()
    given = copies(Classifier(ClassifierSpec(SMALL, ("a", "b")))) | {"optimizer.step": torch.zeros(1)}
    rows = transfer(model, given, SMALL, source="file").tensors
    assert {row.name for row in rows} == model.state_dict().keys() | given.keys()
    assert len({row.name for row in rows}) == len(rows)


@pytest.mark.parametrize("other", ["mb1", "mb1-0.5", "mb2", "mb3-small"])
def test_weights_of_another_net_are_refused_and_leave_the_model_as_it_was(other: str) -> None:
    model = detector()
    before = copies(model)
    with pytest.raises(CheckpointError, match=r"contains only \d+ of 162 tensors of mb1-0.25") as caught:
        transfer(
            model, Classifier(ClassifierSpec(parse_net(other), ("a", "b"))).state_dict(), SMALL, source="runs/other.pth"
        )
    assert str(caught.value.place) == "runs/other.pth"
    assert caught.value.hint == f'they fit `net="{other}"`'
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("features.0.0.weight", "the weights are for another net: choose it with `net`"),
        ("layer1.0.conv1.weight", "the weights are for another net: choose it with `net`"),  # a smaller ResNet
        ("model.0.conv.weight", "another program may have written them"),  # Ultralytics
        ("base_net.0.0.weight", "another program may have written them"),  # pytorch-ssd
        ("backbone.layers.0.blocks.0.norm1.weight", "another program may have written them"),  # mmdetection
    ],
)
def test_weights_of_no_known_net_are_those_of_another_net_or_program(name: str, hint: str) -> None:
    with pytest.raises(CheckpointError, match="only 0 of 162 tensors") as caught:
        transfer(detector(), {name: torch.zeros(7, 3, 3, 3)}, SMALL, source="x.pth")
    assert hint in caught.value.hint


def test_a_reduced_tail_is_seen_in_the_weights() -> None:
    plain, reduced = parse_net("mb3-small-0.35"), parse_net("mb3-small-0.35", reduced_tail=True)
    for given, asked, expected in (
        (plain, plain, plain), (reduced, plain, reduced), (reduced, reduced, reduced), (plain, reduced, reduced),
        (SMALL, SMALL, SMALL),
    ):  # fmt: skip
        assert with_its_tail(asked, Classifier(ClassifierSpec(given, ("a", "b"))).state_dict()) == expected


def test_looking_for_the_net_draws_no_random_numbers() -> None:
    spec = parse_net("mb3-small-0.75", reduced_tail=True)
    given, model = Classifier(ClassifierSpec(spec, ("a", "b"))).state_dict(), detector()
    torch.manual_seed(3)
    with_its_tail(parse_net("mb3-small-0.75"), given)
    with pytest.raises(CheckpointError) as caught:
        transfer(model, given, SMALL, source="x")
    assert caught.value.hint == 'they fit `net="mb3-small-0.75"` with `reduced_tail=True`'
    drawn = torch.rand(1)
    assert drawn == torch.rand(1, generator=torch.Generator().manual_seed(3))


def moved(source: SsdLite, target: SsdLite) -> Transfer:
    heads = Heads(source.spec.labels, source.spec.anchors)
    return transfer(target, source.state_dict(), SMALL, source="run", heads=heads)


def named(*labels: str, anchors: Anchors = torchvision_anchors()) -> SsdLite:  # noqa: B008
    model = SsdLite(SsdSpec(SMALL, labels, (64, 64), anchors))
    for heads in (model.class_head, model.box_head):
        for parameter in heads.parameters():
            nn.init.normal_(parameter)
    return model.eval()


IMAGE = torch.randint(0, 256, (1, 3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@torch.no_grad()
def outputs(model: SsdLite) -> tuple[Tensor, Tensor]:
    offsets, logits = model(IMAGE)
    return offsets, logits


def test_labels_keep_their_scores_wherever_they_stand() -> None:
    theirs, ours = named("cat", "dog", "Traffic Light"), named("traffic_light", "owl", "cat")
    fresh = copies(ours)
    report = moved(theirs, ours)
    (_, before), (_, after) = outputs(theirs), outputs(ours)
    torch.testing.assert_close(after[..., [0, 1, 3]], before[..., [0, 3, 1]])  # background, traffic light, cat
    own = ours.state_dict()["class_head.0.1.weight"].reshape(6, 4, -1)[:, 2]
    assert torch.equal(own, fresh["class_head.0.1.weight"].reshape(6, 4, -1)[:, 2])  # an owl was never seen
    assert (report.labels, report.common) == (("traffic_light", "owl", "cat"), ("traffic_light", "cat"))
    resized = [row for row in report.tensors if row.fate == "resized"]
    assert len(resized) == 12
    assert {row.why for row in resized} == {"2 of 3 labels by name"}
    assert report.count("fresh") == 0


def with_neck(*labels: str) -> SsdLite:
    model = SsdLite(SsdSpec(SMALL, labels, (64, 64), Anchors(()), neck="pan", channels=16))
    for parameter in model.head.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    return model.eval()


def test_a_detector_with_a_neck_keeps_all_but_the_scores_of_new_labels() -> None:
    theirs, ours = with_neck("cat", "dog", "Traffic Light"), with_neck("traffic_light", "owl", "cat")
    report = moved(theirs, ours)
    (boxes_before, before), (boxes_after, after) = outputs(theirs), outputs(ours)
    torch.testing.assert_close(boxes_after, boxes_before)
    torch.testing.assert_close(after[..., [0, 1, 3]], before[..., [0, 3, 1]])
    assert not torch.equal(after[..., 2], before[..., 2])
    assert {row.name for row in report.tensors if row.fate == "resized"} == {
        f"head.class_out.{level}.{kind}" for level in range(4) for kind in ("weight", "bias")
    }
    assert (report.common, report.count("fresh")) == (("traffic_light", "cat"), 0)


def test_detectors_with_and_without_a_neck_share_their_backbone_alone() -> None:
    for theirs, ours in ((with_neck("a"), named("a")), (named("a"), with_neck("a"))):
        loaded = {row.name.split(".")[0] for row in moved(theirs, ours).tensors if row.fate == "loaded"}
        assert loaded == {"backbone"}


def test_as_many_labels_of_other_names_are_not_taken_for_the_same() -> None:
    theirs, ours = named("cat", "dog"), named("dog", "owl")
    moved(theirs, ours)
    (_, before), (_, after) = outputs(theirs), outputs(ours)
    torch.testing.assert_close(after[..., 1], before[..., 2])
    assert not torch.equal(after[..., 2], before[..., 2])


def test_where_no_label_is_the_same_the_background_is_kept() -> None:
    theirs, ours = named("cat", "dog"), named("owl")
    report = moved(theirs, ours)
    (_, before), (_, after) = outputs(theirs), outputs(ours)
    torch.testing.assert_close(after[..., 0], before[..., 0])
    assert {row.why for row in report.tensors if row.fate == "resized"} == {"background only, no label by name"}
    assert (report.labels, report.common) == (("owl",), ())


def test_the_same_labels_are_loaded_whole() -> None:
    theirs, ours = named("cat", "dog"), named("cat", "dog")
    report = moved(theirs, ours)
    assert {row.fate for row in report.tensors} == {"loaded"}
    assert report.common == ("cat", "dog")
    assert all(torch.equal(a, b) for a, b in zip(outputs(theirs), outputs(ours), strict=True))


def test_heads_for_other_anchors_stay_fresh_on_the_maps_that_have_them() -> None:
    usual = torchvision_anchors()
    changed = Anchors((tuple(Shape(0.1, 0.1) for _ in usual.shapes[0]), *usual.shapes[1:]))
    theirs, ours = named("cat", "dog"), named("cat", "dog", anchors=changed)
    report = moved(theirs, ours)
    fresh = {row.name: row.why for row in report.tensors if row.fate == "fresh"}
    assert fresh == dict.fromkeys(
        ("class_head.0.1.weight", "class_head.0.1.bias", "box_head.0.1.weight", "box_head.0.1.bias"),
        "made for other anchors",
    )


def test_heads_of_unknown_labels_are_taken_in_their_order() -> None:
    theirs, ours = named("cat", "dog"), named("owl", "dog")
    report = transfer(ours, theirs.state_dict(), SMALL, source="x.pth", heads=Heads(None, torchvision_anchors()))
    torch.testing.assert_close(outputs(ours)[1], outputs(theirs)[1])
    (why,) = {row.why for row in report.tensors if row.name.startswith("class_head") and row.why}
    assert why == "its labels are unknown, and taken in their order"
    assert (report.labels, report.common) == ((), ())


@pytest.mark.parametrize("net", ["mb1-0.25", "mb3-small-0.35"])
def test_a_classifiers_labels_keep_their_scores_too(net: str) -> None:
    spec = parse_net(net)
    theirs = Classifier(ClassifierSpec(spec, ("a", "b", "c"))).eval()
    ours = Classifier(ClassifierSpec(spec, ("new", "B"))).eval()
    for model in (theirs, ours):
        for parameter in model.classifier.parameters():
            nn.init.normal_(parameter)
    report = transfer(ours, theirs.state_dict(), spec, source="run", heads=Heads(("a", "b", "c")))
    with torch.no_grad():
        torch.testing.assert_close(ours(IMAGE.float())[:, 1], theirs(IMAGE.float())[:, 1])
    assert (report.labels, report.common) == (("new", "B"), ("B",))
    assert report.count("resized") == 2  # weight and bias of the last layer, and none of a hidden one


def test_a_classifier_of_other_labels_starts_its_last_layer_fresh() -> None:
    ours, theirs = (Classifier(ClassifierSpec(SMALL, labels)) for labels in (("c", "d"), ("a", "b")))
    before = copies(ours)
    report = transfer(ours, theirs.state_dict(), SMALL, source="run", heads=Heads(("a", "b")))
    assert {row.name: row.why for row in report.tensors if row.fate == "fresh"} == {
        "classifier.1.weight": "no label of its 2 is here", "classifier.1.bias": "no label of its 2 is here",
    }  # fmt: skip
    assert torch.equal(ours.state_dict()["classifier.1.weight"], before["classifier.1.weight"])


def test_a_plain_ssd_and_an_ssd_lite_share_their_backbone_alone() -> None:
    plain = SsdLite(SsdSpec(SMALL, ("a", "b"), (64, 64), torchvision_anchors(), extras="plain", last_map="pool"))
    lite = detector()
    for theirs, ours in ((plain, lite), (lite, plain)):
        report = moved(theirs, ours)
        taken = {row.name.split(".")[0] for row in report.tensors if row.fate in ("loaded", "resized")}
        assert "backbone" in taken
        assert not any(row.name.endswith("head.0.weight") and row.fate == "loaded" for row in report.tensors)


def test_names_from_several_gpus_are_understood() -> None:
    spec = parse_net("mb3-small")
    names = ["module.features.0.0.weight", "module.classifier.0.weight"]
    assert our_names(names, spec) == {
        "module.features.0.0.weight": "backbone.features.0.0.weight",
        "module.classifier.0.weight": "classifier.0.weight",
    }


def test_our_own_names_stay() -> None:
    for spec in (SMALL, parse_net("mb2"), parse_net("mb3-large")):
        names = list(detector(spec=spec).state_dict()) + list(Classifier(ClassifierSpec(spec, ("a", "b"))).state_dict())
        assert all(theirs == ours for theirs, ours in our_names(names, spec).items())


def test_halves_and_doubles_are_taken_as_single_precision() -> None:
    for dtype in (torch.float16, torch.float64):
        given = {
            name: value.to(dtype) for name, value in Classifier(ClassifierSpec(SMALL, ("a", "b"))).state_dict().items()
        }
        model = Classifier(ClassifierSpec(SMALL, ("a", "b")))
        transfer(model, given, SMALL, source="file")
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_torchvisions_files_are_read(tmp_path: Path) -> None:
    tensors = Classifier(ClassifierSpec(SMALL, ("a", "b"))).state_dict()
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
    assert caught.value.hint.startswith("give a complete .safetensors file, or a state dict")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["empty", "text", "half", "folder", "missing"])
def test_a_file_that_holds_no_weights_is_one_error(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"weights{suffix}"
    tensors = dict(Classifier(ClassifierSpec(SMALL, ("a", "b"))).state_dict())
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
    named = {"missing": "no such weights file", "folder": "no such weights file", "empty": "is empty"}
    expected = named.get(damage, "it is damaged or not a weights file")
    assert expected in caught.value.problem


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page, not weights"),
        ("<html>", "is a web page, not weights"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "is only a Git LFS pointer"),
    ],
)
def test_a_download_that_went_wrong_is_named(tmp_path: Path, name: str, content: str, problem: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=problem) as caught:
        read_tensors(tmp_path / name)
    assert caught.value.hint


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2], {"epoch": 3}, {}])
def test_the_error_for_unnamed_tensors_says_how_to_save_them(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="holds no named tensors") as caught:
        read_tensors(tmp_path / "x.pth")
    assert caught.value.hint == "save model.state_dict()"
