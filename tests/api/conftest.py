"""A tiny dataset in the working folder, and a detector trained on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vocdet
from vocdet.formats.voc.write import WrittenObject, annotation_text

STEMS = [f"img{i:02}" for i in range(12)]
SPLITS = {"train": STEMS[:8], "val": STEMS[8:10], "test": STEMS[10:]}
COLORS = {"circle": (220, 40, 40), "square": (40, 40, 220)}
SIZE = (96, 72)


def write_shelf(root: Path) -> Path:
    """A VOC folder of 12 images with a red and a blue rectangle each, split 8 to 2 to 2."""
    random = np.random.default_rng(0)
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem in STEMS:
        pixels = random.integers(90, 160, (SIZE[1], SIZE[0], 3), np.uint8)
        objects = []
        for label, x in (("circle", 6), ("square", 52)):
            x, y = x + int(random.integers(0, 8)), int(random.integers(4, 30))
            pixels[y : y + 34, x : x + 34] = COLORS[label]
            objects.append(WrittenObject(label, (x, y, x + 34, y + 34), pose="Left" if stem == "img10" else ""))
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{stem}.jpg")
        (root / "Annotations" / f"{stem}.xml").write_text(annotation_text(f"{stem}.jpg", SIZE, objects))
    for split, stems in SPLITS.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, vocdet.Run]:
    """A dataset, and the run of a tiny detector trained on it."""
    folder = tmp_path_factory.mktemp("api")
    root = write_shelf(folder / "shelf")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("vocdet.runs.journal.curves", lambda *_, **__: b"")
        run = vocdet.train_detector(
            root, net="mb1-0.25", size=64, batch=4, epochs=8, mosaic=0.0, runs=folder / "runs", device="cpu", seed=1
        )
    return root, run


@pytest.fixture(scope="session")
def detector(trained: tuple[Path, vocdet.Run]) -> vocdet.Detector:
    """A tiny detector on the CPU."""
    return vocdet.load(trained[1], device="cpu")


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A copy of the dataset that a test may change."""
    return write_shelf(tmp_path / "shelf")
