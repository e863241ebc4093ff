"""ResNet-50 for Mask R-CNN, with frozen batch norms and four feature maps. He et al. 2016, table 1."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

from vocdet.models.backbones.backbone import Backbone, BackboneSpec
from vocdet.recipes.nets import RESNET

EPS = 1e-5  # of its norms
BLOCKS = 16  # with a shortcut each


class ResNet(nn.Module):
    """ResNet-50 without its classifier; names below `body` are torchvision's in `maskrcnn_resnet50_fpn`."""

    pyramid_channels = (256, 512, 1024, 2048)

    def __init__(self) -> None:
        super().__init__()
        whole = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
        self.body = nn.ModuleDict({name: getattr(whole, name) for name in names})
        self.frozen = 0  # number of frozen modules
        for block in self.body.modules():
            if isinstance(block, Bottleneck):
                # frozen norms do not limit the sum of fresh blocks: scale each by the number of blocks
                block.bn3.weight.fill_(BLOCKS**-0.5)

    def freeze(self, stride: int) -> None:
        """Freeze the modules up to this stride, at most 16; torchvision freezes up to 4 by default."""
        ends = {2: "bn1", 4: "layer1", 8: "layer2", 16: "layer3"}
        names = list(self.body)
        within = [names.index(end) + 1 for at, end in ends.items() if at <= stride]
        self.frozen = max([self.frozen, *within])
        for name in names[: self.frozen]:
            self.body[name].requires_grad_(False)

    def pyramid(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) to four maps (B, pyramid_channels[i], H/s, W/s) of strides 4, 8, 16 and 32."""
        maps = []
        for i, (name, module) in enumerate(self.body.items()):
            with torch.set_grad_enabled(torch.is_grad_enabled() and i >= self.frozen):
                x = module(x)
            if name.startswith("layer"):
                maps.append(x)
        return tuple(maps)


def make_backbone(spec: BackboneSpec) -> Backbone | ResNet:
    """The backbone of a Mask R-CNN: ResNet-50 or a MobileNet."""
    return ResNet() if spec.kind == RESNET else Backbone(spec)


def with_eps(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of torchvision's `MaskRCNN_ResNet50_FPN_Weights.COCO_V1`, for norms with an eps of 1e-5.

    They were trained with an eps of 0, which torchvision restores on loading; here the variances are reduced by 1e-5
    instead.
    """
    needed = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    return {name: value - EPS if name.endswith("running_var") else value for name, value in needed.items()}
