"""timm's MobileNetV1 goes into ours, and says the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from vocdet.errors import CheckpointError
from vocdet.models.backbones.backbone import BackboneSpec, parse_net
from vocdet.models.classifier import Classifier, ClassifierSpec
from vocdet.models.weights.timm import from_timm
from vocdet.models.weights.transfer import net_of, transfer
from vocdet.runs.weights_choice import find_weights

# timm's create_model("mobilenetv1_100"): (stage, block) of every separable convolution, its stride
BLOCKS = [
    (0, 0, 1), (1, 0, 2), (1, 1, 1), (2, 0, 2), (2, 1, 1), (3, 0, 2), (3, 1, 1), (3, 2, 1), (3, 3, 1), (3, 4, 1),
    (3, 5, 1), (4, 0, 2), (4, 1, 1),
]  # fmt: skip
SPEC = BackboneSpec("mb1", 0.25)
CHANNELS = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]


@pytest.fixture
def timm() -> dict[str, Tensor]:
    """A state dict with timm's names, as narrow as mb1-0.25."""
    generator = torch.Generator().manual_seed(0)
    made: dict[str, Tensor] = {}

    def norm(name: str, channels: int) -> None:
        made[f"{name}.weight"] = torch.rand(channels, generator=generator) + 0.5
        made[f"{name}.bias"] = torch.randn(channels, generator=generator) * 0.2
        made[f"{name}.running_mean"] = torch.randn(channels, generator=generator) * 0.1
        made[f"{name}.running_var"] = 10 ** (-2 * torch.rand(channels, generator=generator))
        made[f"{name}.num_batches_tracked"] = torch.tensor(7)

    made["conv_stem.weight"] = torch.randn(8, 3, 3, 3, generator=generator) * 0.3
    norm("bn1", 8)
    for (stage, block, _), inputs, out in zip(BLOCKS, CHANNELS[:-1], CHANNELS[1:], strict=True):
        name = f"blocks.{stage}.{block}"
        made[f"{name}.conv_dw.weight"] = torch.randn(inputs, 1, 3, 3, generator=generator) * 0.1
        norm(f"{name}.bn1", inputs)
        made[f"{name}.conv_pw.weight"] = torch.randn(out, inputs, 1, 1, generator=generator) * 0.1
        norm(f"{name}.bn2", out)
    made["classifier.weight"], made["classifier.bias"] = torch.zeros(1000, 256), torch.zeros(1000)
    return made


def features(timm: dict[str, Tensor], x: Tensor) -> Tensor:
    """timm's features, layer by layer: norms with an eps of 1e-5, ReLU6 after each."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = timm[f"{name}.running_mean"], timm[f"{name}.running_var"]
        return F.relu6(F.batch_norm(x, mean, var, timm[f"{name}.weight"], timm[f"{name}.bias"], eps=1e-5))

    x = norm(F.conv2d(x, timm["conv_stem.weight"], stride=2, padding=1), "bn1")
    for stage, block, stride in BLOCKS:
        name = f"blocks.{stage}.{block}"
        kernel = timm[f"{name}.conv_dw.weight"]
        x = norm(F.conv2d(x, kernel, stride=stride, padding=1, groups=len(kernel)), f"{name}.bn1")
        x = norm(F.conv2d(x, timm[f"{name}.conv_pw.weight"]), f"{name}.bn2")
    return x


def test_our_backbone_gives_timms_features(timm: dict[str, Tensor]) -> None:
    timm = {name: value.double() for name, value in timm.items()}  # rounding grows through 27 random layers
    model = Classifier(ClassifierSpec(SPEC, ("a", "b"))).double().eval()
    report = transfer(model, from_timm(timm), SPEC, source="timm")
    assert {row.fate for row in report.tensors if row.name.startswith("backbone.")} == {"loaded"}
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        expected = features(timm, image)
        _, found = model.backbone(image)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_a_file_of_it_is_a_starting_point_with_its_normalization(timm: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(timm, tmp_path / "model.safetensors", metadata={"format": "pt"})
    start = find_weights(str(tmp_path / "model.safetensors"), SPEC, tmp_path)
    assert start.normalization == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # timm's default_cfg of mobilenetv1_100
    assert "features.13.1.1.running_var" in start.tensors


def test_its_net_is_known_by_its_tensors(timm: dict[str, Tensor]) -> None:
    assert net_of(from_timm(timm)) == SPEC
    counted = {name: value for name, value in timm.items() if not name.endswith("num_batches_tracked")}
    assert net_of(from_timm(counted)) == SPEC


def test_other_weights_are_unchanged() -> None:
    given = dict(Classifier(ClassifierSpec(SPEC, ("a", "b"))).state_dict())
    assert all(a is b for a, b in zip(from_timm(given).values(), given.values(), strict=True))
    assert from_timm(given).keys() == given.keys()


def test_unknown_shapes_are_left_to_the_loader(timm: dict[str, Tensor]) -> None:
    timm["bn1.running_var"] = torch.zeros(3)
    timm["bn1.weight"] = torch.tensor(1.0)
    found = from_timm(timm)
    assert (found["features.0.1.running_var"].shape, found["features.0.1.weight"].shape) == ((3,), ())


def test_other_timm_networks_are_recognized() -> None:
    given = {"conv_stem.weight": nn.Conv2d(3, 16, 3).weight.detach(), "blocks.1.0.conv_pwl.weight": torch.zeros(1)}
    assert from_timm(given).keys() == given.keys()
    spec = parse_net("mb3-small-0.35")
    with pytest.raises(CheckpointError, match="only 0 of") as caught:
        transfer(Classifier(ClassifierSpec(spec, ("a", "b"))), from_timm(given), spec, source="x")
    assert caught.value.hint.startswith("timm weights are supported for MobileNetV1 only")
