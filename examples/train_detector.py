"""Train a detector on a split VOC folder from Python, and print its average precision.

python examples/train_detector.py FOLDER [MINUTES]
"""

from __future__ import annotations

import sys
from pathlib import Path

from vocdet.cpu import prepare_cpu
from vocdet.formats.source import Source

prepare_cpu()  # before torch is loaded

from vocdet.recipes.schema import SsdRecipe, changed  # noqa: E402
from vocdet.training.loop import Epoch  # noqa: E402
from vocdet.workflows.evaluate import evaluate_run  # noqa: E402
from vocdet.workflows.train_detector import DetectorFinished  # noqa: E402
from vocdet.workflows.train_ssd import train_ssd  # noqa: E402


def main(folder: Path, minutes: float) -> None:
    """Train, then evaluate on the part test."""
    for event in train_ssd(Source(folder), changed(SsdRecipe(), net="mb3-small", minutes=minutes, weights="none")):
        if isinstance(event, Epoch):
            print(event.epoch, event.losses, event.metrics)
        elif isinstance(event, DetectorFinished):
            report = evaluate_run(event.run, Source(folder), split="test").report
            for row in report.labels:
                print(f"{row.label}: AP50 {row.ap50}, found {row.correct} of {row.objects}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 5.0)
