"""Mask R-CNN, mobile and standard: speed of training and of inference, size on disk, memory.

    python examples/bench_maskrcnn.py [--net mb3-large] [--rounds 3] [--steps 4] [--only training inference memory]

Training: steps of vocdet's mobile Mask R-CNN against torchvision's MaskRCNN on `mobilenet_backbone(fpn=True)`, both at
320 pixels, batch 4, eight objects per image, all weights trained (vocdet also trains the batch norms that torchvision
freezes), with data in memory. Inference: the mobile model against ResNet-50 with standard heads (torchvision's
`maskrcnn_resnet50_fpn`) at 512 pixels, batch norms folded in both; all weights are random, so that both predict the
maximum of 100 masks per image. Memory: the peak of a process after some training steps with 375 masks in one image of
1,024 pixels. Each side runs in a separate process; the sides alternate, so that a noisy machine affects all; what
counts is the ratio, of wall time and of CPU time.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Speed = tuple[float, float]  # milliseconds an image: of the clock, of the processor

BATCH, TRAINED, SHOWN, LARGE = 4, 320, 512, 1024
LABELS, OBJECTS, MANY = 10, 8, 375
SIDES = {
    "training": ("torchvision", "vocdet"),
    "inference": ("standard resnet50", "mobile"),
    "memory": ("mobile",),
}


def scenes(images: int, objects: int, size: int) -> tuple[Any, Any, Any, list[Any]]:
    """Noise (B, 3, size, size), boxes (B, M, 4), classes (B, M), and ellipses (B, M) as masks of their boxes."""
    import numpy as np
    import torch

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, 3, size, size), np.uint8)
    sides = np.exp(rng.uniform(np.log(24), np.log(size / 4), (images, objects, 2))).astype(int)
    corners = (rng.random((images, objects, 2)) * (size - sides)).astype(int)
    boxes = np.concatenate([corners, corners + sides], axis=2)
    masks = []
    for x0, y0, x1, y1 in boxes.reshape(-1, 4).tolist():
        y, x = np.mgrid[0 : y1 - y0, 0 : x1 - x0] + 0.5
        masks.append((((x / (x1 - x0) - 0.5) ** 2 + (y / (y1 - y0) - 0.5) ** 2) < 0.25).astype(np.uint8))
    classes = rng.integers(1, 1 + LABELS, (images, objects))
    return torch.from_numpy(pixels), torch.from_numpy(boxes).float(), torch.from_numpy(classes), masks


def vocdet_model(net: str, heads: Any, size: int) -> Any:
    """Ours, with fresh weights."""
    import torch

    from vocdet.models.backbones.backbone import parse_net
    from vocdet.models.rcnn.model import MaskRcnn, RcnnSpec

    torch.manual_seed(0)
    labels = tuple(f"label {i}" for i in range(LABELS))
    model = MaskRcnn(RcnnSpec(parse_net(net), labels, size=size, longest=size, heads=heads))
    return model.to(memory_format=torch.channels_last)


def vocdet_step(net: str, images: int, objects: int, size: int) -> Callable[[], None]:
    """One step of training of our mobile model."""
    import torch

    from vocdet.mask_crops import MaskCrops

    model = vocdet_model(net, "mobile", size).train()
    pixels, boxes, classes, masks = scenes(images, objects, size)
    corners = boxes.reshape(-1, 4).int().tolist()
    crops = MaskCrops.of([(x0, y0, mask) for (x0, y0, _, _), mask in zip(corners, masks, strict=True)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        losses = model.losses(pixels, None, boxes, classes, crops)
        optimizer.zero_grad()
        sum(total / count.clamp(min=1) for total, count in losses.values()).backward()
        optimizer.step()

    return step


def torchvision_step(net: str) -> Callable[[], None]:
    """One step of training of torchvision's model."""
    import numpy as np
    import torch
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.backbone_utils import mobilenet_backbone

    torch.manual_seed(0)
    name = {"mb3-large": "mobilenet_v3_large", "mb3-small": "mobilenet_v3_small", "mb2": "mobilenet_v2"}[net]
    backbone = mobilenet_backbone(backbone_name=name, weights=None, fpn=True, trainable_layers=6)
    # its pyramid has three levels; the anchors are those of its own Faster R-CNN on this backbone
    anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
    model = MaskRCNN(
        backbone, num_classes=1 + LABELS, rpn_anchor_generator=anchors, min_size=TRAINED, max_size=TRAINED
    ).train()
    pixels, boxes, classes, masks = scenes(BATCH, OBJECTS, TRAINED)
    whole = np.zeros((BATCH * OBJECTS, TRAINED, TRAINED), np.uint8)
    for mask, image, (x0, y0, x1, y1) in zip(masks, whole, boxes.reshape(-1, 4).int().tolist(), strict=True):
        image[y0:y1, x0:x1] = mask
    of = torch.from_numpy(whole).view(BATCH, OBJECTS, TRAINED, TRAINED)
    targets = [{"boxes": b, "labels": c, "masks": m} for b, c, m in zip(boxes, classes, of, strict=True)]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        losses = model(list(pixels.float() / 255), targets)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    return step


def detection(net: str, heads: str) -> tuple[Callable[[], None], int]:
    """Detection in one image, and the bytes of the model's file."""
    import torch
    from safetensors.torch import save_file

    from vocdet.models.folding import fused

    model = vocdet_model(net, heads, SHOWN)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
        size = path.stat().st_size
    model = fused(model)
    pixels = scenes(1, OBJECTS, SHOWN)[0]

    def step() -> None:
        with torch.inference_mode():
            (found,) = model.detect(pixels, score=0.0)
        assert len(found.boxes) == len(found.masks) > 50

    return step, size


def measure(what: str, side: str, net: str, steps: int) -> dict[str, float]:
    """The cost of one side of one comparison, in this process."""
    from vocdet.cpu import prepare_cpu

    prepare_cpu()
    size = 0
    if what == "inference":
        step, size = detection("resnet50" if side.startswith("standard") else net, side.split()[0])
    elif what == "memory":
        step = vocdet_step(net, 1, MANY, LARGE)
    else:
        step = torchvision_step(net) if side == "torchvision" else vocdet_step(net, BATCH, OBJECTS, TRAINED)
    images = BATCH if what == "training" else 1
    step()
    start, busy = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    each = 1000 / (steps * images)
    return {"ms": seconds * each, "busy": busy * each, "bytes": size, "peak": peak}


def main() -> None:
    """Alternate the sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", choices=["mb3-large", "mb3-small", "mb2"], default="mb3-large")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.only[0], options.side, options.net, options.steps)))
        return
    for what in options.only:
        compare(what, options.net, 1 if what == "memory" else options.rounds, options.steps)


def compare(what: str, net: str, rounds: int, steps: int) -> None:
    """Print the cost of both sides of one comparison, and their ratio."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES[what]}
    for turn in range(rounds):
        for side, seen in found.items():
            command = [sys.executable, __file__, "--only", what, "--side", side, "--net", net, "--steps", str(steps)]
            seen.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
            print(f"{what} round {turn + 1}: {side:18} {seen[-1]['ms']:7.0f} ms an image,", end=" ")
            print(f"{seen[-1]['busy']:7.0f} ms of processor", flush=True)
    if what == "memory":
        peak = found["mobile"][0]["peak"] / 2**30
        print(f"memory, {net}, {MANY} objects in {LARGE} x {LARGE} pixels: {peak:.2f} GiB at most")
        return
    theirs, ours = found.values()
    for key, name in (("ms", "clock"), ("busy", "processor")):
        ratios = [a[key] / b[key] for a, b in zip(theirs, ours, strict=True)]
        spread = f"{statistics.median(ratios):.1f} times as fast (from {min(ratios):.1f} to {max(ratios):.1f})"
        print(f"{what}, {net}: {SIDES[what][1]} is {spread} as {SIDES[what][0]}, by the {name}")
    if what == "inference":
        large, small = theirs[0]["bytes"], ours[0]["bytes"]
        print(f"on disk: {small / 1e6:.1f} MB against {large / 1e6:.1f} MB, {small / large:.3f} of it")


if __name__ == "__main__":
    main()
