"""Make a VOC dataset of large images with small objects: 24 of 3000x2250 pixels, each with 30 objects of 10 to 12.

python examples/make_specks.py specks
vocdet train-ssd specks --split trainval --size 320 --set model.neck=pan --set data.tile=320 --set train.max_steps=300
vocdet eval --data specks
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from vocdet.formats.voc.write import WrittenObject, annotation_text

WIDTH, HEIGHT, IMAGES, OBJECTS = 3000, 2250, 24, 30
SPLITS = {"train": (0, 14), "val": (14, 16), "trainval": (0, 16), "test": (16, IMAGES)}


def main(root: Path) -> None:
    """Write the dataset into a folder."""
    random = np.random.default_rng(0)
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    stems = [f"img{i:02}" for i in range(IMAGES)]
    for stem in stems:
        coarse = random.integers(60, 190, (18, 24, 3), dtype=np.uint8)
        large = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        image = np.clip(large + random.normal(0, 9, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)
        objects = []
        for _ in range(OBJECTS):
            side, x, y = (int(random.integers(*limits)) for limits in ((10, 13), (5, WIDTH - 20), (5, HEIGHT - 20)))
            if random.random() < 0.5:
                cv2.circle(image, (x + side // 2, y + side // 2), side // 2 - 1, (230, 230, 230), -1, cv2.LINE_AA)
                objects.append(WrittenObject("dot", (x, y, x + side, y + side)))
            else:
                cv2.rectangle(image, (x + 1, y + 1), (x + side - 2, y + side - 2), (25, 25, 25), 2)
                objects.append(WrittenObject("ring", (x, y, x + side, y + side)))
        cv2.imwrite(str(root / "JPEGImages" / f"{stem}.jpg"), image, (cv2.IMWRITE_JPEG_QUALITY, 88))
        (root / "Annotations" / f"{stem}.xml").write_text(annotation_text(f"{stem}.jpg", (WIDTH, HEIGHT), objects))
    for split, (first, last) in SPLITS.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{one}\n" for one in stems[first:last]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
