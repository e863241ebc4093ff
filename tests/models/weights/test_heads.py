"""Labels are one by their names, and rows follow them."""

from __future__ import annotations

import pytest
import torch

from vocdet.models.rcnn.anchors import PyramidAnchors
from vocdet.models.weights.heads import OTHER_ANCHORS, Heads, carried, matching_rows, same_label


@pytest.mark.parametrize(
    "names",
    [
        ("traffic light", "Traffic_Light", "traffic-light", "TRAFFIC  LIGHT", "trafficlight", " traffic light "),
        ("tv 1", "TV_1", "tv-1", "_tv_1"),
        ("Straße", "STRASSE"),
        ("red 猫", "Red_猫"),
    ],
)
def test_spellings_of_one_label(names: tuple[str, ...]) -> None:
    assert len({same_label(name) for name in names}) == 1


@pytest.mark.parametrize(
    "names", [("1-1", "11"), ("tv 1", "tv1"), ("cat", "cats"), ("hot dog", "dog"), ("-", "_"), ("Äpfel", "Apfel")]
)
def test_different_labels_stay_apart(names: tuple[str, ...]) -> None:
    assert len({same_label(name) for name in names}) == len(names)


def test_every_label_finds_its_row_or_none() -> None:
    assert matching_rows(("cat", "dog", "hot dog"), ("Dog", "owl", "hot-dog", "cat")) == [1, -1, 2, 0]


def test_the_same_spelling_goes_first() -> None:
    assert matching_rows(("Cat", "cat", "CAT"), ("cat", "CAT", "cAt")) == [1, 2, 0]


def test_a_row_without_label_is_unused() -> None:
    assert matching_rows(("", "cat", ""), ("", "n/a", "cat")) == [-1, -1, 1]


BOX = "roi_heads.box_predictor"
THEIRS, OURS = Heads(("person", "", "cat")), Heads(("Cat", "owl"))


def test_four_rows_of_every_label_move_together() -> None:
    given = torch.arange(4 * 4.0).view(16, 1).expand(16, 5)  # four of background, person, nobody and cat each
    fresh = torch.full((12, 5), -1.0)
    taken = carried(f"{BOX}.bbox_pred.weight", given, fresh, THEIRS, OURS)
    assert taken.tensor is not None
    assert taken.tensor[:, 0].tolist() == [0, 1, 2, 3, 12, 13, 14, 15, -1, -1, -1, -1]
    assert (taken.labels, taken.why) == (("Cat",), "1 of 2 labels by name")
    bias = carried(f"{BOX}.bbox_pred.bias", given[:, 0], fresh[:, 0], THEIRS, OURS).tensor
    assert bias is not None
    assert torch.equal(bias, taken.tensor[:, 0])


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (f"{BOX}.cls_score.weight", (7,)), (f"{BOX}.cls_score.bias", ()),
        ("roi_heads.mask_predictor.mask_fcn_logits.weight", (8, 1, 1)),
        ("roi_heads.mask_predictor.mask_fcn_logits.bias", ()),
    ],
)  # fmt: skip
def test_scores_and_masks_have_a_row_of_every_label(name: str, shape: tuple[int, ...]) -> None:
    given = torch.arange(4.0).view(4, *(1 for _ in shape)).expand(4, *shape)
    taken = carried(name, given, torch.full((3, *shape), -1.0), THEIRS, OURS).tensor
    assert taken is not None
    assert taken.flatten(1)[:, 0].tolist() == [0, 3, -1] if shape else taken.tolist() == [0, 3, -1]


def test_what_comes_before_the_last_layers_is_taken_whole() -> None:
    given = torch.rand(6, 3)
    for name in ("roi_heads.box_head.fc6.weight", "roi_heads.mask_head.0.0.weight", "rpn.head.conv.0.0.weight"):
        assert carried(name, given, torch.zeros(6, 3), THEIRS, OURS).tensor is given


def test_proposals_for_other_anchors_start_fresh() -> None:
    given, fresh = torch.rand(3, 4), torch.zeros(3, 4)
    other = PyramidAnchors(((16.0,), (32.0,), (64.0,), (128.0,), (256.0,)))
    for layer in ("cls_logits", "bbox_pred"):
        name = f"rpn.head.{layer}.weight"
        taken = carried(name, given, fresh, Heads(("a",), other), Heads(("a",), PyramidAnchors()))
        assert (taken.tensor, taken.why) == (None, OTHER_ANCHORS)
        for theirs in (PyramidAnchors(), None):
            assert carried(name, given, fresh, Heads(("a",), theirs), Heads(("a",), PyramidAnchors())).tensor is given
