"""Export detectors of every net in every format that is installed, and print how each compares with its model.

    python examples/export_table.py --results exports.jsonl
    python examples/export_table.py --results exports.jsonl --run runs/ssd-1 --data shelf   # with average precision

Without a run the weights are random, and the images square: a Mask R-CNN pads others to a square in its file, which
random weights notice. In 8 bits a format is calibrated on these images, or on the training images of the dataset.
Each result is appended to the file, and what is there is not measured again, so that several environments, which
`make exports` makes, can fill one table. `--print` prints it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from vocdet.cpu import prepare_cpu
from vocdet.errors import DependencyError, VocdetError
from vocdet.exporting.formats import EXPORTERS, TARGETS
from vocdet.exporting.parity import difference
from vocdet.formats.scan import Source
from vocdet.formats.voc.write import WrittenObject, annotation_text
from vocdet.inference.predictor import predictor_of
from vocdet.inputs.images import resize
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.build import ModelSpec, build
from vocdet.models.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from vocdet.models.folding import fused
from vocdet.models.rcnn.model import RcnnSpec
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.runtimes.predictor import Predictor
from vocdet.workflows.export import ExportOptions, export_run

NETS = ("mb3-small", "mb3-large", "mb2", "mb1")
LABELS = ("one", "two", "three")
SIDE = 320
CHANNELS = 96  # of the neck
SCORING = ("class_head", "class_out", "cls_score", "rpn")  # names of layers
BACKGROUND = 7.0  # logit
INT8 = "-int8"  # of a format
WAYS = (
    [(name, ExportOptions(name, tolerance=1.0)) for name in EXPORTERS if name != "web"]
    + [(name, ExportOptions(target=name, tolerance=1.0)) for name in TARGETS]
    + [
        (f"{name}{INT8}", ExportOptions(name, tolerance=1.0, int8=True))
        for name, one in EXPORTERS.items()
        if one.quantize
    ]
)


def specs() -> Iterator[tuple[str, ModelSpec]]:
    """The models by name."""
    for net in NETS:
        backbone = parse_net(net)
        yield f"SSD-lite {net}", SsdSpec(backbone, LABELS, (SIDE, SIDE), torchvision_anchors())
        yield (
            f"SSD-lite {net}, neck",
            SsdSpec(backbone, LABELS, (SIDE, SIDE), Anchors(()), neck="pan", channels=CHANNELS),
        )
    for net in NETS[:2]:
        yield f"Mask R-CNN {net}", RcnnSpec(parse_net(net), LABELS, size=SIDE, longest=SIDE)


def squares() -> list[NDArray[np.uint8]]:
    """Square images of blurred noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), np.uint8)
    return [resize(image, (SIDE, SIDE)) for image in coarse]


def random_run(spec: ModelSpec, folder: Path) -> Path:
    """A run of random weights: norms fit their inputs, scores are neither equal nor close to 1, and few are high."""
    torch.manual_seed(0)
    model = build(spec)
    for norm in (one for one in model.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.momentum = 1.0
    pixels = torch.from_numpy(np.stack(squares())).permute(0, 3, 1, 2).contiguous()
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and any(part in name for part in SCORING):
            nn.init.normal_(layer.weight, 0, 2.0 / layer.weight[0].numel() ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
                layer.bias.data[:: len(LABELS) + 1] = BACKGROUND * isinstance(spec, SsdSpec)
    with torch.no_grad():
        if isinstance(spec, RcnnSpec):
            boxes = torch.tensor([[[10.0, 10, 150, 150]]]).expand(len(pixels), 1, 4)
            model.train().losses(pixels, None, boxes, torch.ones(len(pixels), 1, dtype=torch.int64), None)  # type: ignore[operator]
        else:
            model.train()(pixels.float())
    save_checkpoint(folder / "best.safetensors", model.eval(), CheckpointInfo(vocdet="0", model=spec))
    return folder


def squares_on_disk(folder: Path) -> Source:
    """The squares as a dataset, with one box in each image."""
    for part in ("images", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    for k, image in enumerate(squares()):
        Image.fromarray(image).save(folder / "images" / f"{k}.png")
        box = WrittenObject(LABELS[0], (10, 10, 150, 150))
        (folder / "images" / f"{k}.xml").write_text(annotation_text(f"{k}.png", (SIDE, SIDE), [box]))
    for name, stems in (("train", "0123456"), ("val", "7")):
        (folder / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems))
    return Source(folder)


def measure(run: Path, options: ExportOptions, data: Source | None) -> dict[str, object]:
    """Export a run once, and compare: on the images of the dataset, or else on squares."""
    with tempfile.TemporaryDirectory() as folder:
        known = data or (squares_on_disk(Path(folder) / "data") if options.int8 else None)
        try:
            result = export_run(run, options, out=Path(folder) / "export", data=known)
        except DependencyError:
            raise
        except VocdetError as error:
            return {"problem": error.problem}
        row: dict[str, object] = {"mb": result.bytes / 1e6}
        check, load = result.check, (TARGETS.get(options.target) or EXPORTERS[options.format]).load
        if check and load:
            apart = check.difference
            model, info = load_checkpoint(run / "best.safetensors")
            both = (predictor_of(fused(model), info.thresholds), load(result.file, result.description))
            if data is None:
                apart = difference(*(one.detect(squares()) for one in both))
            model_ms, ms = cpu_milliseconds(both)
            row |= asdict(apart) | {"ms": ms, "model_ms": model_ms, "change": check.change if data else {}}
        return row


def cpu_milliseconds(predictors: Sequence[Predictor], rounds: int = 3) -> list[float]:
    """The median CPU time that each takes for an image of the input's size, alternating."""
    times: list[list[float]] = [[] for _ in predictors]
    for _ in range(rounds):
        for image in squares():
            for predictor, column in zip(predictors, times, strict=True):
                begin = time.process_time()
                predictor.detect([image])
                column.append(1000 * (time.process_time() - begin))
    return [float(np.median(column)) for column in times]


def line(row: dict[str, object]) -> str:
    """A row of the table."""
    if "problem" in row:
        return f"| {row['model']} | {row['format']} | no: {row['problem']} | | | | |"
    if "boxes" not in row:
        return f"| {row['model']} | {row['format']} | exported, not run here | | | | {row['mb']:.1f} |"
    change, columns = row["change"], [row["model"], row["format"], f"{row['boxes']:.2g} px, {row['scores']:.1g}"]
    columns += [f"{row['missing']} of {row['detections']}"]
    columns += [f"{change['ap']:+.3f}" if isinstance(change, dict) and "ap" in change else ""]
    columns += [f"{row['ms']:.1f} ({row['model_ms']:.1f})", f"{row['mb']:.1f}"]
    return f"| {' | '.join(map(str, columns))} |"


def main() -> None:
    """Fill the table, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument(
        "--formats", nargs="*", default=[*EXPORTERS, *TARGETS], help="a format is also measured in 8 bits"
    )
    parser.add_argument("--models", default="", help="only models whose names contain this text")
    parser.add_argument("--print", action="store_true")
    options = parser.parse_args()
    prepare_cpu()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = options.results.read_text().splitlines() if options.results.exists() else []
    rows = [json.loads(text) for text in known]
    have = {(row["model"], row["format"]) for row in rows}
    data = Source(options.data, skip_bad=True) if options.data else None
    models = {str(options.run.name): None} if options.run else dict(specs())
    missing: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in models.items() if not options.print else ():
            if options.models not in name:
                continue
            run = random_run(spec, Path(folder) / name) if spec else options.run
            for format, how in WAYS:
                if format.removesuffix(INT8) not in options.formats or (name, format) in have:
                    continue
                try:
                    row = {"model": name, "format": format, **measure(run, how, data)}
                except DependencyError as error:
                    missing.add(f"{format}: {error.problem}")
                    continue
                print(line(row), flush=True)
                with options.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print(*sorted(missing), sep="\n")
    if not options.print:
        return
    print("| model | format | largest difference | without a counterpart | ΔAP | CPU ms (model) | MB |")
    print("|---|---|---|---|---|---|---|")
    order = [name for name, _ in WAYS]
    for row in sorted(rows, key=lambda row: (row["model"], order.index(row["format"]))):
        print(line(row))


if __name__ == "__main__":
    main()
