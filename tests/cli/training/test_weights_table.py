"""The tables at the start of a training: of its weights, and of its anchors."""

from __future__ import annotations

import pytest
from vocdet_cli.training.summary import label_lines, print_recall, print_transfer

from vocdet.models.anchor_recall import AnchorRecall
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import Anchors, Shape, torchvision_anchors
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.models.weights.heads import Heads
from vocdet.models.weights.transfer import Transfer, transfer

SMALL = BackboneSpec("mb1", 0.25)
USUAL = torchvision_anchors()


def detector(*labels: str, anchors: Anchors = USUAL) -> SsdLite:
    return SsdLite(SsdSpec(SMALL, labels, (64, 64), anchors))


def moved(theirs: SsdLite, ours: SsdLite) -> Transfer:
    heads = Heads(theirs.spec.labels, theirs.spec.anchors)
    return transfer(ours, theirs.state_dict(), SMALL, source="run", heads=heads)


def shown(report: Transfer, capsys: pytest.CaptureFixture[str], *, every: bool = False) -> list[list[str]]:
    """The words of every line on standard output."""
    print_transfer(report, every=every)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_tensors_are_counted_by_module_and_fate(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(moved(detector("cat", "[red]dog"), detector("[red]dog", "owl", "cow")), capsys)
    # 27 convolutions with five tensors of a norm each; extras of three; heads of a depthwise one and one with a bias
    assert lines == [
        ["tensors", "of", "the", "weights", "by", "module"],
        ["loaded", "some", "rows", "why"],
        ["backbone", "162", "·"],
        ["extras", "72", "·"],
        ["class_head", "36", "12", "1", "of", "3", "labels", "by", "name"],
        ["box_head", "48", "·"],
        ["the", "weights", "cover", "1", "of", "3", "labels:", "[red]dog"],
        ["trained", "from", "scratch:", "owl,", "cow"],
    ]


def test_the_weights_of_a_classifier_leave_the_heads_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    report = transfer(detector("cat"), Classifier(ClassifierSpec(SMALL, ("a", "b"))).state_dict(), SMALL, source="run")
    lines = shown(report, capsys)
    assert lines[1] == ["loaded", "fresh", "not", "used", "why"]
    assert ["extras", "·", "72", "·", "not", "in", "the", "file"] in lines
    assert ["classifier", "·", "·", "2", "no", "place", "for", "it"] in lines


def test_heads_for_other_anchors_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    other = Anchors(((Shape(0.1, 0.1),), *USUAL.shapes[1:]))
    print_transfer(moved(detector("cat"), detector("cat", anchors=other)))
    printed = capsys.readouterr()
    assert "made for other anchors" in printed.out
    assert printed.err == "heads for other anchors start fresh; --anchors auto uses the anchors of the weights\n"


def test_every_tensor_is_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    report = moved(detector("cat", "dog"), detector("dog", "owl"))
    lines = shown(report, capsys, every=True)
    assert ["backbone.features.0.0.weight", "8×3×3×3", "loaded"] in lines
    assert ["class_head.0.1.bias", "18", "some", "rows", "1", "of", "2", "labels", "by", "name"] in lines
    assert len([line for line in lines if "." in line[0]]) == len(report.tensors)


def test_many_labels_are_counted() -> None:
    names = tuple(f"label {i}" for i in range(30))
    known, fresh = label_lines(Transfer("x", (), names, names[:14]))
    assert known.startswith("the weights cover 14 of 30 labels: label 0, label 1, ")
    assert known.endswith("label 11 and 2 more")
    assert fresh.endswith("label 25 and 4 more")
    assert label_lines(Transfer("x", (), names, ())) == []
    assert len(label_lines(Transfer("x", (), names, names))) == 1


def test_anchors_are_listed_where_they_fit_few_objects(capsys: pytest.CaptureFixture[str]) -> None:
    fitting = AnchorRecall("cat", "large", 30, 0.9, 0.99)
    print_recall((fitting,), 0)
    whole = capsys.readouterr().out.splitlines()
    print_recall((fitting, AnchorRecall("[red]dog", "small", 10, 0.4, 0.2)), 6)
    rest = capsys.readouterr().out.splitlines()
    every = "an IoU of .5 or more with 99.0% of 30 objects, and with 95% or more of every label and size"
    assert whole == [f"no anchors: the cells of the finest map have {every}"]
    assert rest[0] == "6 anchor shapes: the best one has an IoU of .5 or more with 79.2% of 40 objects"
    assert rest[-1].split() == ["[red]dog", "small", "10", "0.40", "20.0%"]
    assert not any("cat" in line for line in rest)
