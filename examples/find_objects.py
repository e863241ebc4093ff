"""Print the objects that a trained detector finds in some pictures.

python examples/find_objects.py runs/ssd-mb3-small-1 shelf.jpg counter.jpg
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import vocdet


def main(run: str, pictures: Sequence[str]) -> None:
    """One line an object: picture, label, score, box in pixels."""
    detector = vocdet.load(run)
    for picture, detections in zip(pictures, detector.stream(pictures), strict=True):
        for found in detections:
            print(picture, found.label_name, f"{found.score:.2f}", found.box.round(1).tolist())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
