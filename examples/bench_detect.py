"""Milliseconds from an SSD-lite's outputs to boxes: vocdet against torchvision's post-processing.

    python examples/bench_detect.py [--images 64] [--labels 31] [--score 0.01] [--rounds 9]

The outputs resemble those of a trained detector: nearly all of the 3,234 anchors at 320 pixels are background, those
around an object score for its label, and some for another. Both sides alternate on the same outputs and must find the
same boxes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from vocdet.cpu import prepare_cpu

SIZE = 320
OVERLAP, MOST = 0.55, 300  # torchvision's, as is the number of candidates


def outputs(images: int, labels: int, *, seed: int = 0) -> tuple[Any, Any, Any]:
    """Offsets (B, A, 4), logits (B, A, 1 + labels) and anchors (A, 4) for pictures with one to seven objects."""
    import torch

    from vocdet.models.ssd.anchors import map_sizes, torchvision_anchors
    from vocdet.models.ssd.loss import encode, pairwise_iou

    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Any:
        return torch.randn(*shape, generator=draw)

    anchors = torch.from_numpy(torchvision_anchors().grid(map_sizes((SIZE, SIZE)))) * SIZE
    offsets, logits = 0.5 * normal(images, len(anchors), 4), 1.5 * normal(images, len(anchors), 1 + labels) - 4
    logits[..., 0] = 6 + normal(images, len(anchors))
    for i in range(images):
        count = int(torch.randint(1, 8, (), generator=draw))
        sides = 20 + 200 * torch.rand(count, 2, generator=draw) ** 2
        corners = torch.rand(count, 2, generator=draw) * (SIZE - sides)
        boxes = torch.cat([corners, corners + sides], 1)
        classes = torch.randint(1, 1 + labels, (count,), generator=draw)
        iou, nearest = pairwise_iou(boxes, anchors).max(0)
        rows = (iou > 0.35).nonzero().squeeze(1)
        near, close = nearest[rows], (iou[rows] - 0.35) / 0.65  # from 0 to 1
        offsets[i, rows] = encode(boxes[near], anchors[rows]) + 0.8 * normal(len(rows), 4)
        logits[i, rows, classes[near]] = 12 * close + normal(len(rows))
        logits[i, rows, 0] = 5 - 8 * close + normal(len(rows))
    return offsets, logits, anchors


def main() -> None:
    """Time both sides alternately and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--labels", type=int, default=31)
    parser.add_argument("--score", type=float, default=0.01)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    prepare_cpu()
    import torch
    from torchvision.models.detection._utils import BoxCoder
    from torchvision.models.detection.ssd import SSD

    from vocdet.models.ssd.detect import DetectionLimits, detect

    offsets, logits, anchors = outputs(options.images, options.labels)
    settings: Any = SimpleNamespace(
        box_coder=BoxCoder((10.0, 10.0, 5.0, 5.0)), score_thresh=options.score, topk_candidates=MOST,
        nms_thresh=OVERLAP, detections_per_img=MOST,
    )  # fmt: skip

    def torchvision() -> int:
        heads = {"bbox_regression": offsets, "cls_logits": logits}
        each, sizes = [anchors] * len(logits), [(SIZE, SIZE)] * len(logits)
        return sum(len(f["boxes"]) for f in SSD.postprocess_detections(settings, heads, each, sizes))

    def vocdet() -> int:
        return sum(len(f.boxes) for f in detect(offsets, logits, anchors, (SIZE, SIZE), DetectionLimits(options.score)))

    times: dict[Callable[[], int], list[float]] = {torchvision: [], vocdet: []}
    found = set()
    with torch.inference_mode():
        for _ in range(options.rounds + 1):
            for side, seen in times.items():
                start = time.perf_counter()
                found.add(side())
                seen.append(1000 * (time.perf_counter() - start))
    if len(found) > 1:
        raise SystemExit(f"they find different numbers of boxes: {found}")
    theirs, ours = times[torchvision][1:], times[vocdet][1:]  # the first is for warming up
    ratios = [a / b for a, b in zip(theirs, ours, strict=True)]
    print(f"{options.images} images, {options.labels} labels, score {options.score}: {found.pop()} boxes")
    print(
        f"torchvision {statistics.median(theirs):.0f} ms, vocdet {statistics.median(ours):.0f} ms (medians);", end=" "
    )
    print(f"{statistics.median(ratios):.1f} times as fast (from {min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
