"""The record of the images that a run was trained and validated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vocdet.data.dataset import Dataset
from vocdet.data.digests import image_digests
from vocdet.data.splits import Rows
from vocdet.files import write_bytes

DATASET = "dataset.json"
VALIDATION = "val"  # the split that training validates on


def write_image_digests(run: Path, labels: Sequence[str], splits: Mapping[str, Dataset | None]) -> None:
    """Write a hash of every image of the splits, annotations included."""
    images = {name: image_digests(split) for name, split in splits.items() if split is not None}
    content = msgspec.json.encode({"labels": list(labels), "images": images})
    write_bytes(run / DATASET, msgspec.json.format(content, indent=1) + b"\n")


def recorded_images(run: Path) -> dict[str, dict[str, Any]]:
    """The digest of every image of every split of a run's dataset; empty if it was not recorded."""
    try:
        return msgspec.json.decode((run / DATASET).read_bytes(), type=_DatasetRecord).images
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


class _DatasetRecord(msgspec.Struct):
    images: dict[str, dict[str, Any]]


def trained_rows(dataset: Dataset, run: Path) -> Rows:
    """The images of a dataset that a run was trained on, with the same name, size and objects as in its record."""
    recorded = recorded_images(run)
    trained = {pair for split, images in recorded.items() if split != VALIDATION for pair in images.items()}
    if not trained:
        return np.empty(0, np.int64)
    return np.flatnonzero([pair in trained for pair in image_digests(dataset).items()])
