"""The program in an export: the detections of the file, without vocdet and torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.exporting.conftest import LABELS, Exported, picture
from vocdet.resources import bundled
from vocdet.runtimes.onnx import load_onnx

BLOCKED = "import sys, runpy; sys.modules.update(torch=None, vocdet=None, torchvision=None); sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.mark.parametrize("kind", ["ssd", "rcnn"])
def test_it_needs_neither_vocdet_nor_torch(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    exported: Exported = request.getfixturevalue(kind)
    shutil.copy(exported[1], tmp_path / "model.onnx")
    shutil.copy(bundled("export/detect.py"), tmp_path)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    image = picture(200, 150, 3)
    cv2.imwrite(str(tmp_path / "photo.png"), image[..., ::-1])
    command = [sys.executable, "-c", BLOCKED, "detect.py", "photo.png", "--save", "drawn.png"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line) for line in shown.splitlines()]
    detector = load_onnx(exported[1])
    expected = detector.candidates(image, (200, 150)).above(detector.thresholds)
    assert len(rows) == len(expected) > 0
    np.testing.assert_allclose([row["box"] for row in rows], expected.boxes, atol=1e-3)
    assert [row["label"] for row in rows] == [LABELS[k] for k in expected.labels]
    drawn = cv2.imread(str(tmp_path / "drawn.png"))
    assert drawn is not None
    assert drawn.shape == image.shape
    assert (drawn != image[..., ::-1]).any()
