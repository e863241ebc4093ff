"""What a classifier and a detector are taught with a batch."""

from __future__ import annotations

import math

import pytest
import torch

from vocdet.inputs.batches import Batch
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.ssd.anchors import torchvision_anchors
from vocdet.models.ssd.loss import ssd_sums
from vocdet.models.ssd.model import SsdLite, SsdSpec
from vocdet.training.tasks import ClassifyTask, DetectTask

SMALL = BackboneSpec("mb1", 0.25)
HALF = (0.5, 0.5, 0.5)


def test_a_detector_learns_labels_as_classes_after_background() -> None:
    torch.manual_seed(0)
    model = SsdLite(SsdSpec(SMALL, ("a", "b"), (64, 64), torchvision_anchors())).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    boxes = torch.tensor([[[4.0, 4, 40, 40], [0, 0, 0, 0]], [[10.0, 10, 60, 60], [1, 1, 20, 30]]])
    batch = Batch(images, boxes, torch.tensor([[1, -1], [0, 1]]))
    losses = DetectTask(model, min_negatives=0).losses(model, batch)
    offsets, logits = model(images)
    expected, count = ssd_sums(offsets, logits, model.grid, boxes, torch.tensor([[2, 0], [1, 2]]), min_negatives=0)
    assert losses.keys() == {"box", "class"}
    for name, value in losses.items():
        assert float(value.total.detach() / value.count) == pytest.approx(
            float(expected[name].detach() / count), rel=1e-6
        )


def test_a_fresh_classifier_knows_nothing() -> None:
    torch.manual_seed(0)
    model = Classifier(ClassifierSpec(SMALL, ("a", "b", "c", "d"))).train()
    task = ClassifyTask(model, HALF, HALF, smoothing=0.0)
    batch = Batch(
        torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8), torch.zeros(8, 0, 4), torch.arange(8)[:, None] % 4
    )
    loss = task.losses(model, batch)["class"]
    assert loss.count == 8
    assert loss.total.item() / 8 == pytest.approx(math.log(4), abs=0.1)


def test_a_classifier_sees_normalized_images() -> None:
    model = Classifier(ClassifierSpec(SMALL, ("a", "b", "c", "d"))).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    shares = (images.float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(
        ClassifyTask(model, mean, std, smoothing=0).logits(model, images), model(shares), rtol=1e-4, atol=1e-6
    )
