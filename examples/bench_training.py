"""Images per second of whole training steps: vocdet against torchvision's own SSD-lite and transforms, as shipped.

    python -m examples.bench_training [--net mb3-large mb3-small] [--mode full neck finetune finetune-last] [--rounds 3]

All sides train on the same JPEGs at 320 pixels, batch 16. torchvision runs as in its detection reference, with every
layer and batch norm trained, by SGD: a DataLoader decodes and transforms images, and the model resizes them. vocdet
trains by the optimizer of its recipe: everything as well, of the same SSD-lite (full) or of an SSD with a neck (neck,
the default for mb3-small), or it fine-tunes: the batch norms of the backbone are folded into its convolutions, and its
layers are frozen up to stride 8 (the recipe finetune) or up to stride 16 (finetune-last). Each side runs in a separate
process; the sides alternate, so that a noisy machine affects all, and what counts is the ratio. On a busy machine, CPU
milliseconds per image are more reliable; those of torchvision's workers, which decode, are not included. vocdet caches
decoded images in memory; its first epoch, which is slower, is not timed.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from vocdet.formats.scan import Source

Speed = tuple[float, float]  # images a second, milliseconds of the processor an image

BATCH, SIZE, IMAGES = 16, 320, 128
FREEZE = {"finetune": 8, "finetune-last": 16}  # the strides up to which the recipes keep the weights
NETS = ["mb3-large", "mb3-small"]
MEANING = {
    "full": "everything trained",
    "neck": "everything trained, with the neck pan",
} | {mode: f"the backbone's norms folded, its layers to stride {stride} frozen" for mode, stride in FREEZE.items()}
MODES = list(MEANING)
PICTURE = (640, 480)  # as microscope cameras and phones' previews have it


def time_vocdet(data: Path, net: str, steps: int, *, mode: str) -> Speed:
    """The speed of vocdet's training."""
    from vocdet.cpu import prepare_cpu

    prepare_cpu()
    import numpy as np
    import torch

    from vocdet.inputs.batches import EpochPlan, batches
    from vocdet.inputs.detection_samples import DetectionSamples
    from vocdet.inputs.prefetch import prefetch
    from vocdet.inputs.transforms import Augmentation
    from vocdet.models.backbones.backbone import parse_net
    from vocdet.models.folding import fold_norms
    from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
    from vocdet.models.ssd.model import SsdLite, SsdSpec
    from vocdet.models.ssd.pan import pan_channels
    from vocdet.recipes.load import load_recipe
    from vocdet.training.distributed import alone
    from vocdet.training.learner import Learner
    from vocdet.training.optim import MovingAverage, make_optimizer
    from vocdet.training.shards import Shards, shard_count
    from vocdet.training.tasks import DetectTask
    from vocdet.workflows.load import load_dataset

    dataset = load_dataset(Source(data)).dataset
    torch.manual_seed(0)
    size = (SIZE, SIZE)
    if mode == "neck":
        backbone = parse_net(net)
        channels = pan_channels({}, backbone)
        spec = SsdSpec(backbone, dataset.labels, size, Anchors(()), neck="pan", channels=channels)
    else:
        spec = SsdSpec(parse_net(net, reduced_tail=True), dataset.labels, size, torchvision_anchors())
    model = SsdLite(spec).to(memory_format=torch.channels_last)
    if mode in FREEZE:
        model.backbone.freeze(FREEZE[mode])
        fold_norms(model.backbone)
    train = load_recipe("ssd", mode if mode in FREEZE else f"ssdlite-{net}").recipe.train
    optimizer = make_optimizer(model, name=train.optimizer, lr=train.lr, weight_decay=train.weight_decay)
    average = MovingAverage(model, copy.deepcopy(model), decay=train.average)
    shards = Shards(DetectTask(model), shard_count(BATCH, torch.get_num_threads()), alone())
    learner = Learner(shards, optimizer, average, alone(), clip=train.clip)
    scenes = DetectionSamples(dataset, (SIZE, SIZE), Augmentation())
    for i in range(len(scenes)):
        scenes.draw(i, np.random.default_rng(0))  # the first epoch's decoding
    source = prefetch(
        lambda: chain.from_iterable(
            batches(scenes, EpochPlan(BATCH, seed=0, epoch=epoch, shuffle=True)) for epoch in count()
        )
    )
    numbers = count()
    return _timed(iter(source), lambda batch: learner.step([batch], 1.0, next(numbers)), steps)


def time_torchvision(data: Path, net: str, steps: int) -> Speed:
    """The speed of torchvision's training, with the parts of its reference script."""
    import torch

    from examples.torchvision_samples import torchvision_batches
    from vocdet.workflows.load import load_dataset

    dataset = load_dataset(Source(data)).dataset
    model = torchvision_model(net, len(dataset.labels) + 1).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=4e-5)

    def step(batch: Any) -> None:
        images, targets = batch
        losses = sum(model(list(images), list(targets)).values())
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()

    loader = torchvision_batches(dataset, batch=BATCH, workers=os.cpu_count() or 1)
    return _timed(chain.from_iterable(loader for _ in count()), step, steps)


def torchvision_model(net: str, classes: int) -> Any:
    """torchvision's detector for mb3-large, and one of the same parts for mb3-small."""
    from functools import partial

    from torch import nn
    from torchvision.models import mobilenet_v3_small
    from torchvision.models.detection import _utils, ssdlite, ssdlite320_mobilenet_v3_large

    if net == "mb3-large":
        return ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=classes)
    norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.03)
    features = ssdlite._mobilenet_extractor(
        mobilenet_v3_small(weights=None, norm_layer=norm, reduced_tail=True), 6, norm
    )
    anchors = ssdlite.DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    channels = _utils.retrieve_out_channels(features, (SIZE, SIZE))
    head = ssdlite.SSDLiteHead(channels, anchors.num_anchors_per_location(), classes, norm)
    return ssdlite.SSD(
        features, anchors, (SIZE, SIZE), classes, head=head, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )  # fmt: skip


def _timed(source: Iterator[Any], step: Any, steps: int) -> Speed:
    for batch in islice(source, 2):
        step(batch)
    start, busy = time.perf_counter(), time.process_time()
    for batch in islice(source, steps):
        step(batch)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    return steps * BATCH / seconds, 1000 * busy / (steps * BATCH)


def main() -> None:
    """Alternate the sides and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", nargs="+", choices=NETS, default=NETS)
    parser.add_argument("--mode", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--side", choices=["torchvision", *MODES], help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        (net,) = options.net
        if options.side == "torchvision":
            speed = time_torchvision(options.data, net, options.steps)
        else:
            speed = time_vocdet(options.data, net, options.steps, mode=options.side)
        print(json.dumps(speed))
        return
    from vocdet.workflows.demo_dataset import PictureOptions, compose

    with tempfile.TemporaryDirectory() as folder:
        data = compose(Path(folder) / "data", images=IMAGES, test_images=1, options=PictureOptions(PICTURE)).train
        for net in options.net:
            compare(data, net, options.mode, options.rounds, options.steps)


def compare(data: Path, net: str, modes: list[str], rounds: int, steps: int) -> None:
    """Print the speed of torchvision and of vocdet in these modes, and the ratios."""
    speeds: dict[str, list[Speed]] = {side: [] for side in ("torchvision", *modes)}
    for turn in range(rounds):
        for side, seen in speeds.items():
            command = [sys.executable, "-m", "examples.bench_training", "--side", side, "--data", str(data)]
            command += ["--net", net, "--steps", str(steps)]
            speed, busy = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            seen.append((speed, busy))
            print(f"{net} round {turn + 1}: {side:12} {speed:6.1f} images/s, {busy:6.1f} ms of processor", flush=True)
    theirs = speeds.pop("torchvision")
    print(f"{net}, {SIZE} pixels, batch {BATCH}, data included; medians:")
    print(f"  torchvision  {statistics.median(speed for speed, _ in theirs):6.1f} images/s, everything trained")
    for mode, seen in speeds.items():
        ratios = [ours / other for (ours, _), (other, _) in zip(seen, theirs, strict=True)]
        busy = statistics.median(other / ours for (_, ours), (_, other) in zip(seen, theirs, strict=True))
        spread = f"{statistics.median(ratios):.2f} times as many (from {min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {mode:12} {statistics.median(speed for speed, _ in seen):6.1f} images/s, {spread},", end=" ")
        print(f"by the processor's time {busy:.2f}; {MEANING[mode]}")


if __name__ == "__main__":
    main()
