"""Labels count from 0, a detector's classes from 1; only here do they meet."""

from __future__ import annotations

import numpy as np
import torch

from vocdet.inputs.bridge import to_classes, to_detections


def test_labels_become_classes_and_padding_becomes_background() -> None:
    assert to_classes(torch.tensor([[0, 4, -1]])).tolist() == [[1, 5, 0]]


def test_detections_are_in_the_pixels_of_the_image() -> None:
    boxes, scores, classes = torch.tensor([[10.0, 20, 30, 40]]), torch.tensor([0.5]), torch.tensor([3])
    found = to_detections(boxes, scores, classes, scale=(2.0, 0.5))
    assert found.boxes.tolist() == [[20, 10, 60, 20]]
    assert found.scores.tolist() == [0.5]
    assert found.labels.tolist() == [2]


def test_no_detections_are_no_detections() -> None:
    found = to_detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), scale=(2.0, 2.0))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)
    assert found.boxes.dtype == np.float64
