"""Export detectors of every net in every format that is installed, and print how each compares with its model.

    python examples/export_table.py --results exports.jsonl
    python examples/export_table.py --results exports.jsonl --run runs/ssd-1 --data shelf   # with average precision

Without a run the weights are random. Each result is appended to the file, and what is there is not measured again, so
that several environments, which `make exports` makes, can fill one table. `--print` prints it alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from vocdet.cpu import prepare_cpu
from vocdet.errors import DependencyError, VocdetError
from vocdet.exporting.formats import EXPORTERS, TARGETS
from vocdet.formats.scan import Source
from vocdet.models.backbones.backbone import parse_net
from vocdet.models.build import ModelSpec, build
from vocdet.models.checkpoint import CheckpointInfo, save_checkpoint
from vocdet.models.rcnn.model import RcnnSpec
from vocdet.models.ssd.anchors import Anchors, torchvision_anchors
from vocdet.models.ssd.model import SsdSpec
from vocdet.workflows.export import ExportOptions, export_run

NETS = ("mb3-small", "mb3-large", "mb2", "mb1")
LABELS = ("one", "two", "three")
SIDE = 320
CHANNELS = 96  # of the neck
WAYS = [(name, ExportOptions(name, tolerance=1.0)) for name in EXPORTERS if name != "web"] + [
    (name, ExportOptions(target=name, tolerance=1.0)) for name in TARGETS
]


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


def random_run(spec: ModelSpec, folder: Path) -> Path:
    """A run of random weights, with norms that fit their inputs, so that detections differ from place to place."""
    torch.manual_seed(0)
    model = build(spec)
    for norm in (one for one in model.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.momentum = 1.0
    if isinstance(spec, SsdSpec):
        for name, layer in model.named_modules():
            if isinstance(layer, nn.Conv2d) and ("class_head" in name or "class_out" in name):
                nn.init.normal_(layer.weight, 0, 0.3)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        pixels = np.random.default_rng(0).integers(0, 256, (4, 3, SIDE, SIDE)).astype(np.float32)
        with torch.no_grad():
            model.train()(torch.from_numpy(pixels))
    save_checkpoint(folder / "best.safetensors", model.eval(), CheckpointInfo(vocdet="0", model=spec))
    return folder


def measure(run: Path, options: ExportOptions, data: Source | None) -> dict[str, object]:
    """Export a run once, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = export_run(run, options, out=Path(folder) / "export", data=data)
        except DependencyError:
            raise
        except VocdetError as error:
            return {"problem": error.problem}
    check = result.check
    row: dict[str, object] = {"mb": result.bytes / 1e6}
    if check:
        row |= {
            "boxes": check.difference.boxes, "scores": check.difference.scores, "missing": check.difference.missing,
            "detections": check.difference.detections, "ms": check.exported_ms, "model_ms": check.model_ms,
            "change": check.change,
        }  # fmt: skip
    return row


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
    parser.add_argument("--formats", nargs="*", default=[name for name, _ in WAYS])
    parser.add_argument("--models", default="", help="only models whose names contain this text")
    parser.add_argument("--print", action="store_true", dest="only_print")
    options = parser.parse_args()
    prepare_cpu()
    options.results.parent.mkdir(parents=True, exist_ok=True)
    known = options.results.read_text().splitlines() if options.results.exists() else []
    rows = [json.loads(text) for text in known]
    have = {(row["model"], row["format"]) for row in rows}
    data = Source(options.data, skip_bad=True) if options.data else None
    models = {str(options.run.name): None} if options.run else dict(specs())
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in models.items() if not options.only_print else ():
            if options.models not in name:
                continue
            run = random_run(spec, Path(folder) / name) if spec else options.run
            for format, how in WAYS:
                if format not in options.formats or (name, format) in have:
                    continue
                try:
                    row = {"model": name, "format": format, **measure(run, how, data)}
                except DependencyError as error:
                    print(f"{format}: {error.problem}")
                    continue
                rows.append(row)
                with options.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    print("| model | format | largest difference | without a counterpart | ΔAP | ms (model) | MB |")
    print("|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row["model"]):
        print(line(row))


if __name__ == "__main__":
    main()
