"""The program in an export: the detections of the file, without vocdet and torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.exporting.conftest import LABELS, Exported, picture
from vocdet.data.detections import Detections
from vocdet.data.levels import Levels
from vocdet.data.tiles import Tiles
from vocdet.inference.tiled import TiledPredictor
from vocdet.inputs.images import Image, decode
from vocdet.resources import bundled
from vocdet.runtimes.onnx import load_onnx
from vocdet.workflows.export import tile_modules

BLOCKED = "import sys, runpy; sys.modules.update(torch=None, vocdet=None, torchvision=None); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.mark.parametrize("kind", ["ssd", "rcnn"])
def test_it_needs_neither_vocdet_nor_torch(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    exported: Exported = request.getfixturevalue(kind)
    detector = load_onnx(exported[1])
    compare(tmp_path, exported[1], lambda image: detector.candidates(image, image.shape[:2]))


def test_images_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    shutil.copy(bundled("export/detect.py"), tmp_path)
    (tmp_path / "labels.txt").write_text("cat")
    (tmp_path / "empty.jpg").touch()
    for name, problem in (
        ("no.jpg", "no.jpg cannot be read: No such file or directory"),
        ("empty.jpg", "is not an image"),
    ):
        code = f"import detect; detect.read({name!r})"
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert problem in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("bits", [8, 16])
def test_images_with_16_bits_are_scaled_as_for_the_training(tmp_path: Path, bits: int) -> None:
    shutil.copy(bundled("export/detect.py"), tmp_path)
    (tmp_path / "labels.txt").write_text("cat")
    levels = Levels(100, 4000)
    (tmp_path / "export.json").write_text(json.dumps({"description": {"levels": asdict(levels)}}))
    for name, shape in (("gray.png", (40, 60)), ("color.png", (40, 60, 3))):
        pixels = np.random.default_rng(0).integers(0, 2**bits // 10, shape, np.uint16)
        cv2.imwrite(str(tmp_path / name), pixels if bits > 8 else pixels.astype(np.uint8))
        code = f"import detect, numpy; numpy.save('read.npy', detect.read({name!r}))"
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
        assert np.array_equal(np.load(tmp_path / "read.npy"), decode(tmp_path / name, levels=levels))


def test_it_detects_on_tiles_if_the_model_was_trained_on_tiles(ssd: Exported, tmp_path: Path) -> None:
    for name, text in tile_modules().items():
        (tmp_path / name).write_text(text)
    about = {"description": {"tiles": asdict(Tiles(128)), "thresholds": [0.3, 0.6]}}
    (tmp_path / "export.json").write_text(json.dumps(about))
    detector = load_onnx(ssd[1])

    class Alone:
        labels, thresholds, levels = detector.labels, detector.thresholds, detector.levels

        def detect(self, images: Sequence[Image], *, score: float = 0.0) -> list[Detections]:
            return [detector.candidates(image, image.shape[:2]) for image in images]

    compare(tmp_path, ssd[1], lambda image: TiledPredictor(Alone(), Tiles(128)).detect([image])[0])


def compare(folder: Path, model: Path, detect: Callable[[Image], Detections]) -> None:
    """Compare what the program prints in a folder with the model's detections at its thresholds."""
    shutil.copy(model, folder / "model.onnx")
    shutil.copy(bundled("export/detect.py"), folder)
    (folder / "labels.txt").write_text("\n".join(LABELS))
    image = picture(200, 150, 3)
    cv2.imwrite(str(folder / "photo.png"), image[..., ::-1])
    command = [sys.executable, "-c", BLOCKED, "detect.py", "photo.png", "--save", "drawn.png"]
    shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in shown.splitlines()]
    expected = detect(image).above(load_onnx(model).thresholds)
    assert len(rows) == len(expected) > 0
    np.testing.assert_allclose([row["box"] for row in rows], expected.boxes, atol=1e-3)
    assert [row["label"] for row in rows] == [LABELS[k] for k in expected.labels]
    drawn = cv2.imread(str(folder / "drawn.png"))
    assert drawn is not None
    assert drawn.shape == image.shape
    assert (drawn != image[..., ::-1]).any()
