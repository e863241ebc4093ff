"""The pictures of a training with masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vocdet.data.detections import Detections
from vocdet.data.texts import Texts
from vocdet.formats import cache
from vocdet.formats.scan import Source
from vocdet.inference.draw import color
from vocdet.inputs.batches import Batch
from vocdet.mask_crops import MaskCrops
from vocdet.runs.pictures import SHEET, batch_sheet, example_sheet

LABELS = ("cat", "dog")


def test_masks_of_a_batch_are_drawn_in_place() -> None:
    square = (20, 20, np.ones((24, 24), np.uint8))  # the middle of what is 64 wide
    batch = Batch(
        torch.full((2, 3, 64, 64), 120, dtype=torch.uint8),
        torch.tensor([[[8.0, 8, 56, 56], [0, 0, 0, 0]], [[8.0, 8, 56, 56], [2.0, 2, 9, 9]]]),
        torch.tensor([[0, -1], [0, 1]]),
        masks=MaskCrops.of([None, square, None]),  # one of the first sample, two of the second
    )
    sheet = batch_sheet([batch], LABELS)
    half = SHEET // 2
    tinted = [round(0.6 * 120 + 0.4 * value) for value in color(0)]
    assert sheet[half // 2, half // 2].tolist() == [120] * 3
    assert sheet[half // 2, half + half // 2].tolist() == tinted
    inside = (sheet[:half, half:] == tinted).all(axis=2).nonzero()
    assert [axis.min() / half for axis in inside] == pytest.approx([20 / 64] * 2, abs=0.02)
    assert [axis.max() / half for axis in inside] == pytest.approx([44 / 64] * 2, abs=0.02)


def test_the_padding_of_a_canvas_is_not_shown() -> None:
    images = torch.zeros((1, 3, 64, 64), dtype=torch.uint8)
    images[0, :, :32, :48] = 200
    masks = MaskCrops.of([(24, 16, np.ones((16, 24), np.uint8))])  # its lower right quarter
    box = torch.tensor([[[24.0, 16, 48, 32]]])
    batch = Batch(images, box, torch.tensor([[1]]), masks=masks, sizes=torch.tensor([[32, 48]]))
    sheet = batch_sheet([batch], LABELS)
    height = round(SHEET * 32 / 48)
    assert sheet.shape[0] == pytest.approx(height, abs=8)
    tinted = [round(0.6 * 200 + 0.4 * value) for value in color(1)]
    assert sheet[round(0.75 * height), round(0.75 * SHEET)].tolist() == tinted
    assert sheet[round(0.75 * height), round(0.25 * SHEET)].tolist() == [200] * 3
    assert not (sheet == 0).all(axis=2)[: round(0.4 * height)].any()


def test_examples_show_annotated_masks(shared: Path) -> None:
    dataset = cache.read(Source(shared / "data/fruits_nuts/trainval.json")).dataset.subset(np.arange(2))
    nothing = [Detections(np.empty((0, 4)), np.empty(0, np.float32), np.empty(0, np.int64))] * 2
    limits = np.full(len(dataset.labels), 0.5, np.float32)
    boxes = dataset.objects
    with_masks = example_sheet(dataset, nothing, limits)
    without_images = replace(dataset, objects=replace(boxes, segmentation=Texts.empty(len(boxes))))
    changed = (with_masks != example_sheet(without_images, nothing, limits)).any(axis=2)
    for i, (least, most) in enumerate([(0.1, 1), (0, 0)] * 2):  # annotated, found, and so for the second image
        quarter = changed[:, i * SHEET // 4 + 4 : (i + 1) * SHEET // 4 - 4]
        assert least <= quarter.mean() <= most
