"""An image classifier on a MobileNet: the pretraining of a detector's backbone."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from vocdet.models.backbones.backbone import Backbone, BackboneSpec, initialize
from vocdet.models.backbones.mobilenets import rounded
from vocdet.models.limits import check_input
from vocdet.models.seeded import Seeded


class ClassifierSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="task", tag="backbone"):
    """Everything needed to build a classifier and to prepare its input."""

    backbone: BackboneSpec
    labels: tuple[str, ...]
    size: int = 128  # side of the square input, pixels
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of RGB in [0, 1]
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    context: float = 0.0  # margin around an object's box, as a share of its longer side

    def __post_init__(self) -> None:
        check_input(self.labels, self.input_size, self.std)

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.size, self.size


class Dropout(Seeded):
    """Dropout with a mask from the seed, if there is one."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Zero some values and scale the others in training; the identity in eval mode."""
        if not self.training:
            return x
        keep = torch.rand(x.shape, generator=self.generator(x.device), device=x.device) >= self.share
        return x * keep / (1 - self.share)


class Classifier(nn.Module):
    """A backbone with the classifier of its paper; parameter names below `backbone.` are torchvision's."""

    def __init__(self, spec: ClassifierSpec, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.spec = spec
        net, labels = spec.backbone, len(spec.labels)
        self.backbone = Backbone(net)
        channels = self.backbone.channels[1]
        if net.kind.startswith("mb3"):
            width = {"mb3-large": 1280, "mb3-small": 1024}[net.kind] * net.width
            hidden = rounded(width / 2 if net.reduced_tail else width)
            layers = [nn.Linear(channels, hidden), nn.Hardswish(), Dropout(dropout), nn.Linear(hidden, labels)]
        else:
            layers = [Dropout(dropout), nn.Linear(channels, labels)]
        self.classifier = nn.Sequential(*layers)
        initialize(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to logits (B, labels)."""
        if self.training and len(x) == 1:
            # at 32 pixels the last map is one pixel: batch norm needs two values for a variance
            return self(x.expand(2, -1, -1, -1))[:1]  # type: ignore[no-any-return]
        _, c5 = self.backbone(x)
        logits: Tensor = self.classifier(torch.mean(c5, dim=(2, 3)))
        return logits
