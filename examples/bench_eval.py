"""Time the evaluation of COCO results beside pycocotools: CPU seconds and memory of whole processes, alternating.

The set is generated: 5,000 images, 80 labels, 36,000 objects and 180,000 detections, about as many as in COCO's val2017
with a detector's results. All must give the same twelve metrics to 1e-6.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

WIDTH, HEIGHT = 640, 480
PYCOCOTOOLS = """
import contextlib, io, json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
truth, results, kind = sys.argv[1:]
with contextlib.redirect_stdout(io.StringIO()):
    judge = COCO(truth)
    judge = COCOeval(judge, judge.loadRes(results), kind)
    judge.evaluate(); judge.accumulate(); judge.summarize()
print(json.dumps(judge.stats.tolist()))
"""
VOCDET = """
import json, sys
from pathlib import Path
from vocdet.formats.scan import Source
from vocdet.workflows.eval_options import EvalOptions
from vocdet.workflows.evaluate_files import evaluate_files
truth, results, kind = sys.argv[1:]
report = evaluate_files(Path(results), Source(Path(truth)), EvalOptions(split="")).report
print(json.dumps(list((report.masks.coco if kind == "segm" else report.coco).values())))
"""


def make_set(folder: Path, images: int, *, masks: bool, seed: int = 0) -> tuple[Path, Path]:
    """Write a ground truth and results, if they are not there yet."""
    truth, results = folder / "truth.json", folder / "results.json"
    if results.exists():
        return truth, results
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(seed)
    objects: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(numbers.poisson(7.2)):
            label = int(numbers.integers(1, 81))
            middle, radius = numbers.uniform((0, 0), (WIDTH, HEIGHT)), np.exp(numbers.uniform(2, 5))
            outline = blob(middle, radius, numbers)
            entry = shape(outline, masks=masks)
            objects.append({"id": len(objects) + 1, "image_id": image, "category_id": label, "iscrowd": 0} | entry)
            if numbers.random() < 0.75:
                near = blob(middle + numbers.normal(0, radius / 8, 2), radius * numbers.uniform(0.9, 1.1), numbers)
                found.append(result(image, label, near, numbers.beta(4, 2), masks=masks))
        for _ in range(numbers.poisson(30.6)):
            near = blob(numbers.uniform((0, 0), (WIDTH, HEIGHT)), np.exp(numbers.uniform(2, 5)), numbers)
            found.append(result(image, int(numbers.integers(1, 81)), near, numbers.beta(1, 4), masks=masks))
    table = [{"id": i, "file_name": f"{i:012}.jpg", "width": WIDTH, "height": HEIGHT} for i in range(1, images + 1)]
    names = [{"id": i, "name": f"label{i:02}"} for i in range(1, 81)]
    truth.write_text(json.dumps({"images": table, "annotations": objects, "categories": names}))
    results.write_text(json.dumps(found))
    return truth, results


def blob(middle: Any, radius: float, numbers: np.random.Generator) -> list[float]:
    """A polygon of 24 points around a place, inside the image: x1, y1, x2, y2, ..."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    away = radius * numbers.uniform(0.85, 1.15, 24)
    points = np.stack([middle[0] + away * np.cos(angles), middle[1] + away * np.sin(angles)], axis=1)
    return [round(float(x), 2) for x in np.clip(points, 0, (WIDTH, HEIGHT)).reshape(-1)]


def shape(outline: list[float], *, masks: bool) -> dict[str, Any]:
    """The box and area of a polygon, and with masks the polygon itself."""
    (low, up), (left, right) = ((min(side), max(side)) for side in (outline[1::2], outline[::2]))
    box = [left, low, max(right - left, 1.0), max(up - low, 1.0)]
    entry: dict[str, Any] = {"bbox": box, "area": box[2] * box[3]}
    if masks:
        (rle,) = coco_masks.frPyObjects([outline], HEIGHT, WIDTH)
        entry |= {"segmentation": [outline], "area": float(coco_masks.area(rle))}
    return entry


def result(image: int, label: int, outline: list[float], score: float, *, masks: bool) -> dict[str, Any]:
    """A detection: with masks an RLE and no box, as pycocotools takes the area of masks only then."""
    entry: dict[str, Any] = {"image_id": image, "category_id": label, "score": round(float(score), 6)}
    if not masks:
        return entry | {"bbox": shape(outline, masks=False)["bbox"]}
    (rle,) = coco_masks.frPyObjects([outline], HEIGHT, WIDTH)
    return entry | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}}


def measure(script: str, truth: Path, results: Path, kind: str) -> tuple[float, float, list[float]]:
    """CPU seconds, the largest memory in MB so far, and the metrics of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-c", script, str(truth), str(results), kind]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 1024, json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", default=["bbox", "segm"], choices=["bbox", "segm"])
    parser.add_argument("--folder", type=Path, help="keep the generated set here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for kind in arguments.kinds:
            folder = (arguments.folder or Path(temporary)) / f"{kind}-{arguments.images}"
            truth, results = make_set(folder, arguments.images, masks=kind == "segm")
            seconds: dict[str, list[float]] = {"vocdet": [], "pycocotools": []}
            for _ in range(arguments.rounds):
                ours, memory, mine = measure(VOCDET, truth, results, kind)
                theirs, _, expected = measure(PYCOCOTOOLS, truth, results, kind)
                seconds["vocdet"].append(ours)
                seconds["pycocotools"].append(theirs)
                worst = max(abs(a - b) for a, b in zip(mine, expected, strict=True))
                print(
                    f"{kind}: vocdet {ours:.2f} s, {memory:.0f} MB; pycocotools {theirs:.2f} s; metrics to {worst:.1e}"
                )
            ratio = statistics.median(seconds["pycocotools"]) / statistics.median(seconds["vocdet"])
            print(f"{kind}: {ratio:.1f} times faster")


if __name__ == "__main__":
    main()
