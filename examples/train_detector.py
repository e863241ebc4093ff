"""Train a detector on a dataset, and print its average precision on the test split.

python examples/train_detector.py FOLDER [MINUTES]
"""

from __future__ import annotations

import sys

import vocdet

vocdet.prepare_cpu()  # before torch is loaded: training on a CPU is faster


def main(folder: str, minutes: float) -> None:
    """Split the dataset where it is not split yet, train, evaluate."""
    dataset = vocdet.read(folder)
    if not dataset.splits:
        dataset = vocdet.split(dataset, seed=0)
    run = vocdet.train_detector(dataset, recipe="ssdlite-mb3-small", minutes=minutes, weights="none")
    report = vocdet.evaluate(dataset, run, split="test")
    print(run)
    print(report)
    for row in report.labels:
        print(f"{row.label}: AP50 {row.ap50}, {row.correct} of {row.objects} objects correct")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 5.0)
