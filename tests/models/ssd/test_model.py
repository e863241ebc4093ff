"""The detector: batches of one, post-processing against a slow loop, folded norms, what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import SSDLite320_MobileNet_V3_Large_Weights
from torchvision.ops import batched_nms, clip_boxes_to_image

from vocdet.models.backbones.backbone import BackboneSpec, parse_net
from vocdet.models.folding import fused
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.cells import BINS
from vocdet.models.ssd.detect import DetectionLimits, SsdDetections, detect
from vocdet.models.ssd.loss import decode
from vocdet.models.ssd.model import SsdLite, SsdSpec

SIZE = (96, 128)  # height, width
SMALL = BackboneSpec("mb1", 0.25)


def detector(spec: BackboneSpec = SMALL, labels: int = 4, size: tuple[int, int] = SIZE, **variant: Any) -> SsdLite:
    torch.manual_seed(0)
    anchors = Anchors(()) if variant.get("neck") == "pan" else torchvision_anchors()
    return SsdLite(SsdSpec(spec, tuple(map(str, range(labels))), size, anchors, **variant))


def slow(
    offsets: Tensor, logits: Tensor, grid: Tensor, score: float, top: int, overlap: float, most: int
) -> SsdDetections:
    """One image, label by label."""
    boxes = clip_boxes_to_image(decode(offsets, grid), SIZE)
    shares = logits.softmax(-1)
    rows, points, classes = [], [], []
    for label in range(1, logits.shape[-1]):
        above = [(float(shares[a, label]), a) for a in range(len(grid)) if shares[a, label] > score]
        for _, a in sorted(above, reverse=True)[:top]:
            rows.append(boxes[a])
            points.append(shares[a, label])
            classes.append(label)
    kept_boxes, kept, of = torch.stack(rows), torch.stack(points), torch.tensor(classes)
    keep = batched_nms(kept_boxes, kept, of, overlap)[:most]
    return SsdDetections(kept_boxes[keep], kept[keep], of[keep])


@pytest.mark.parametrize(
    ("score", "top", "overlap", "most"),
    [(0.001, 300, 0.55, 300), (0.3, 300, 0.55, 300), (0.001, 7, 0.3, 300), (0.001, 300, 0.9, 20)],
)
def test_post_processing_is_that_of_a_slow_loop(score: float, top: int, overlap: float, most: int) -> None:
    grid = detector().grid
    generator = torch.Generator().manual_seed(1)
    offsets = 2 * torch.randn(2, len(grid), 4, generator=generator)
    logits = 2 * torch.randn(2, len(grid), 5, generator=generator)
    found = detect(offsets, logits, grid, SIZE, DetectionLimits(score, overlap, top, most))
    for i, ours in enumerate(found):
        expected = slow(offsets[i], logits[i], grid, score, top, overlap, most)
        assert torch.equal(ours.classes, expected.classes)
        assert torch.equal(ours.scores, expected.scores)
        torch.testing.assert_close(ours.boxes, expected.boxes, rtol=1e-5, atol=1e-4)


def test_boxes_stay_inside_the_input_and_the_best_comes_first() -> None:
    grid = detector().grid
    (found,) = detect(torch.randn(1, len(grid), 4), torch.randn(1, len(grid), 5), grid, SIZE)
    assert found.boxes.min() >= 0
    assert (found.boxes[:, [0, 2]] <= 128).all()
    assert (found.boxes[:, [1, 3]] <= 96).all()
    assert (found.scores.diff() <= 0).all()


def test_where_nothing_scores_nothing_is_found() -> None:
    grid = detector().grid
    logits = torch.zeros(2, len(grid), 5)
    logits[..., 0] = 50.0  # all background
    for found in detect(torch.zeros(2, len(grid), 4), logits, grid, SIZE):
        assert (found.boxes.shape, found.scores.shape, found.classes.shape) == ((0, 4), (0,), (0,))


def test_boxes_of_different_labels_do_not_suppress_each_other() -> None:
    grid = detector().grid
    logits = torch.full((1, len(grid), 5), -20.0)
    logits[..., 0] = 20.0
    logits[0, 3] = torch.tensor([0.0, 5, 5, 0, 0])
    (found,) = detect(torch.zeros(1, len(grid), 4), logits, grid, SIZE, DetectionLimits(0.1))
    assert sorted(found.classes.tolist()) == [1, 2]
    assert torch.equal(found.boxes[0], found.boxes[1])


PAN: dict[str, Any] = {"neck": "pan", "channels": 16}


@pytest.mark.parametrize("variant", [{}, PAN], ids=["lite", "pan"])
@pytest.mark.parametrize("net", ["mb1-0.25", "mb2-0.35", "mb3-small"])
@pytest.mark.parametrize("images", [1, 2])
def test_a_batch_of_any_size_can_be_learned(net: str, images: int, variant: Any) -> None:
    model = detector(parse_net(net), size=(64, 64), **variant).train()
    offsets, logits = model(torch.randint(0, 256, (images, 3, 64, 64), dtype=torch.uint8))
    assert offsets.shape == (images, len(model.grid), 4 * BINS if variant else 4)
    assert logits.shape == (images, len(model.grid), 5)
    (offsets.square().sum() + logits.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(bool(b.isfinite().all()) for b in model.buffers())


def test_the_order_in_memory_does_not_matter() -> None:
    model = detector().eval()
    images = torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8)
    with torch.no_grad():
        plain = model(images)
        last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("net", ["mb1-0.25", "mb2-0.35", "mb3-small"])
def test_folded_norms_change_nothing(net: str) -> None:
    model = detector(parse_net(net)).train()
    images = torch.randint(0, 256, (4, 3, *SIZE), dtype=torch.uint8)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.2)
            norm.momentum = 0.5
    with torch.no_grad():
        for _ in range(3):
            model(images)
        folded = fused(model)
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
        assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
        assert model.training
        for one, other in zip(model.eval()(images), folded(images), strict=True):
            assert one.std() > 1e-3
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


VARIANTS = [{"extras": extras, "last_map": last} for extras in ("separable", "plain") for last in ("conv", "pool")]


def test_cells_cover_the_input_from_stride_8_on() -> None:
    model = detector(size=(96, 100), **PAN)
    assert model.spec.maps == ((12, 13), (6, 7), (3, 4), (2, 2))
    sides = (model.grid[:, 2:] - model.grid[:, :2]).tolist()
    counts = zip((8.0, 16.0, 32.0, 64.0), (12 * 13, 6 * 7, 3 * 4, 2 * 2), strict=True)
    assert sides == [[side, side] for side, count in counts for _ in range(count)]
    assert model.grid[13 + 1].tolist() == [8, 8, 16, 16]


def test_a_cell_states_the_distances_to_the_edges() -> None:
    grid = detector(**PAN).grid
    cell = grid.tolist().index([16, 8, 24, 16])  # with its center at 20, 12
    logits = torch.tensor([20.0, 0, 0, 0, 0]).repeat(1, len(grid), 1)
    logits[0, cell] = torch.tensor([0.5, -20, -20, 1.5, -20])
    distances = torch.full((1, len(grid), 4, BINS), -30.0)
    for edge, bin_ in enumerate((1, 0, 4, 6)):
        distances[0, cell, edge, bin_] = 30.0
    (found,) = detect(distances.flatten(2), logits, grid, SIZE, DetectionLimits(0.1), cells=True)
    torch.testing.assert_close(found.boxes, torch.tensor([[12.0, 12, 52, 60]]))
    assert found.classes.tolist() == [3]
    torch.testing.assert_close(found.scores, torch.tensor([1.0]).sigmoid())


@pytest.mark.parametrize(
    ("anchors", "neck", "channels"),
    [(torchvision_anchors(), "pan", 16), (Anchors(()), "none", 0), (Anchors(()), "pan", 0), (Anchors(()), "pan", 9000)],
)
def test_a_spec_with_a_neck_has_channels_and_no_anchors(anchors: Anchors, neck: Any, channels: int) -> None:
    with pytest.raises(ValueError, match=r"anchors for|a neck"):
        SsdSpec(SMALL, ("a",), SIZE, anchors, neck=neck, channels=channels)


def maps_of(model: SsdLite) -> list[tuple[int, ...]]:
    """(channels, height, width) of what the heads look at."""
    seen: list[tuple[int, ...]] = []
    hooks = [
        head.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[1:])))
        for head in model.box_head
    ]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, *model.spec.size, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    return seen


def test_maps_at_300_are_those_of_mobilenet_ssd() -> None:
    # chuanqi305/MobileNet-SSD: conv11, conv13, conv14_2, conv15_2, conv16_2, conv17_2
    published = [(512, 19, 19), (1024, 10, 10), (512, 5, 5), (256, 3, 3), (256, 2, 2), (128, 1, 1)]
    for extras in ("separable", "plain"):
        assert maps_of(detector(parse_net("mb1"), size=(300, 300), extras=extras)) == published
        pooled = detector(parse_net("mb1"), size=(300, 300), extras=extras, last_map="pool")
        assert maps_of(pooled) == [*published[:5], (256, 1, 1)]


def test_plain_ssd_costs_what_its_paper_states(cost: Any) -> None:
    # Howard et al. 2017, table 13: SSD300 on MobileNet for COCO has 6.8 million parameters, 1.2 billion mult-adds
    usual = torchvision_anchors().shapes
    anchors = Anchors((usual[0][:3], *usual[1:]))  # TensorFlow's: three at a cell of the first map
    spec = SsdSpec(parse_net("mb1"), tuple(map(str, range(90))), (300, 300), anchors, extras="plain")
    macs, parameters = cost(SsdLite(spec), (300, 300))
    assert round(parameters / 1e6, 1) == 6.8
    assert round(macs / 1e9, 1) == 1.2


def test_a_pooled_map_is_the_mean_of_the_one_before_it() -> None:
    model = detector(last_map="pool", size=(128, 640)).eval()
    assert maps_of(model)[-2:] == [(256, 1, 3), (256, 1, 1)]
    x = torch.rand(2, 256, 1, 3)
    torch.testing.assert_close(model.extras[-1](x), x.mean((2, 3), keepdim=True))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: " ".join(v.values()))
@pytest.mark.parametrize("size", [(64, 64), (75, 131), (301, 97)])
def test_every_variant_has_an_anchor_for_every_output_at_any_size(size: tuple[int, int], variant: Any) -> None:
    model = detector(size=size, **variant)
    assert [shape[1:] for shape in maps_of(model)] == list(model.spec.maps)
    offsets, logits = model.train()(torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8))
    assert offsets.shape == (1, len(model.grid), 4)
    assert logits.shape == (1, len(model.grid), 5)
    (offsets.square().sum() + logits.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("variant", [VARIANTS[0], VARIANTS[3], PAN], ids=lambda v: " ".join(map(str, v.values())))
def test_every_kind_of_layer_can_be_folded_and_traced(variant: Any) -> None:
    model = fused(detector(**variant))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    image = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(model, (image,)).module()
        for one, other in zip(model(image), program(image), strict=True):
            torch.testing.assert_close(one, other)


def test_ssdlite_costs_what_torchvision_publishes(cost: Any) -> None:
    published = SSDLite320_MobileNet_V3_Large_Weights.COCO_V1.meta
    spec = SsdSpec(
        parse_net("mb3-large", reduced_tail=True), tuple(map(str, range(90))), (320, 320), torchvision_anchors()
    )
    macs, parameters = cost(SsdLite(spec), (320, 320))
    assert parameters == published["num_params"]
    assert round(macs / 1e9, 3) == published["_ops"]
