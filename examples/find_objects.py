"""Print what a trained detector finds in some pictures.

python examples/find_objects.py runs/ssd-mb3-small-1 shelf.jpg counter.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from vocdet.inference.predictor import detect_all, load_predictor
from vocdet.inputs.images import decode


def main(run: Path, pictures: list[Path]) -> None:
    """One line an object: picture, label, score, box in pixels."""
    predictor = load_predictor(run)
    images = (decode(picture, oriented=True) for picture in pictures)
    for picture, found in zip(pictures, detect_all(predictor, images), strict=True):
        good = found.above(predictor.thresholds)
        for box, score, label in zip(good.boxes.tolist(), good.scores, good.labels, strict=True):
            print(picture, predictor.labels[label], f"{score:.2f}", [round(side, 1) for side in box])


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
