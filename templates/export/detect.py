"""Detect objects with the model in this folder: python detect.py photo.jpg --save drawn.jpg

Needs NumPy, OpenCV (opencv-python) and ONNX Runtime (onnxruntime) or OpenVINO (openvino), and nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
LABELS = (HERE / "labels.txt").read_text(encoding="utf-8").splitlines()
REPORT = HERE / "export.json"
ABOUT = json.loads(REPORT.read_text(encoding="utf-8"))["description"] if REPORT.exists() else {}


def load(folder: Path = HERE) -> Any:
    """A function from an image (H, W, 3), uint8, RGB, to the outputs of the model by name."""
    if (folder / "model.onnx").exists():
        import onnxruntime

        session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        names = [output.name for output in session.get_outputs()]
        return lambda image: dict(zip(names, session.run(None, {"image": image})))
    import openvino

    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # some processors would compute with 16 bits
    model = openvino.Core().compile_model(str(folder / "model.xml"), "CPU", exact)
    names = [output.any_name for output in model.outputs]
    return lambda image: dict(zip(names, model([image]).to_tuple()))


def detect(model: Any, image: Any) -> tuple[Any, Any, Any, list[Any]]:
    """Boxes (N, 4), scores and labels (N,) of the objects, the best first, and the (box, mask) pairs of each."""
    if (HERE / "tiles.py").exists():
        return detect_tiled(model, image)
    found = model(image)
    boxes, scores, labels = (found[name] for name in ("boxes", "scores", "labels"))
    return boxes, scores, labels, [[pair] for pair in zip(boxes, found.get("masks", ()))]


def detect_tiled(model: Any, image: Any) -> tuple[Any, Any, Any, list[Any]]:
    """The same on tiles of the image, for a model that was trained on tiles."""
    from tiles import merge, tile_views

    height, width = image.shape[:2]
    windows = tile_views(width, height, **ABOUT["tiles"])
    found = [model(np.ascontiguousarray(image[y0:y1, x0:x1])) for x0, y0, x1, y1 in windows.tolist()]
    columns = [[one[f"candidate_{name}"] for name in ("boxes", "scores", "labels")] for one in found]
    labels = np.concatenate([one[2] for one in columns])
    limits = np.array(ABOUT["thresholds"] or [0.5] * len(LABELS), np.float32)
    merged = [one for one in merge(columns, windows, (width, height)) if one.score >= limits[labels[one.rows[0]]]]
    pairs = [
        (box + np.tile(window[:2], 2), mask)
        for one, window in zip(found, windows)
        for box, mask in zip(one["candidate_boxes"], one.get("candidate_masks", ()))
    ]
    shown = [[pairs[row] for row in one.shown] for one in merged] if pairs else []
    return (
        np.array([one.box for one in merged]).reshape(-1, 4),
        np.array([one.score for one in merged]),
        np.array([labels[one.rows[0]] for one in merged], np.int64),
        shown,
    )


def read(path: str) -> Any:
    """The image as RGB, upright; more than 8 bits a sample are scaled as for the training."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}")
    levels = ABOUT.get("levels")
    depth = cv2.IMREAD_COLOR | (cv2.IMREAD_ANYDEPTH if levels else 0)
    image = cv2.imdecode(data, depth) if data.size else None
    if image is None:
        sys.exit(f"{path} is not an image that can be decoded")
    if image.dtype != np.uint8:
        low, high = levels["low"], levels["high"]
        shares = (np.nan_to_num(image.astype(float), nan=low) - low) / (high - low)
        image = np.rint(255 * shares.clip(0, 1)).astype(np.uint8)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def paste(mask: Any, box: Any, shape: tuple[int, int]) -> Any:
    """A mask of probabilities inside a box as a mask of the whole image."""
    x0, y0, x1, y1 = np.round(box).astype(int).tolist()
    whole = np.zeros(shape, bool)
    if x1 > x0 and y1 > y0:
        whole[y0:y1, x0:x1] = cv2.resize(mask, (x1 - x0, y1 - y0))[: shape[0] - y0, : shape[1] - x0] > 0.5
    return whole


def draw(image: Any, boxes: Any, scores: Any, labels: Any, masks: list[Any]) -> Any:
    """The image with its detections."""
    drawn = image.copy()
    for i, (box, score, label) in enumerate(zip(boxes, scores, labels)):
        color = tuple(int(value) for value in np.random.default_rng(int(label)).integers(60, 256, 3))
        for place, mask in masks[i] if masks else ():
            inside = paste(mask, place, image.shape[:2])
            drawn[inside] = (0.5 * drawn[inside] + 0.5 * np.array(color)).astype(np.uint8)
        x0, y0, x1, y1 = np.round(box).astype(int).tolist()
        cv2.rectangle(drawn, (x0, y0), (x1, y1), color, 2)
        text = f"{LABELS[label]} {score:.2f}"
        cv2.putText(drawn, text, (x0 + 3, max(y0 - 5, 14)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, color, 1, cv2.LINE_AA)
    return drawn


def main() -> None:
    """Print the detections of each image as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--save", help="write the drawing of the last image to this file")
    options = parser.parse_args()
    model = load()
    for path in options.images:
        image = read(path)
        boxes, scores, labels, masks = detect(model, image)
        for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist()):
            print(json.dumps({"image": path, "label": LABELS[label], "score": score, "box": box}))
        if options.save:
            drawn = draw(image, boxes, scores, labels, masks)
            cv2.imencode(Path(options.save).suffix, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tofile(options.save)


if __name__ == "__main__":
    main()
