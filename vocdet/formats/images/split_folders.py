"""Splits as folders: train, val and test, for formats that have no other place for them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss, split_losses
from vocdet.data.splits import Splits
from vocdet.formats.images.lookup import IMAGE_FOLDERS, safe_relative, split_suffix, splits_by_folder

SPLITS = ("train", "val", "test")
REST = "rest"  # the folder of images in no split

_NOT_IN_A_NAME = re.compile(r"[/\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def stem_paths(dataset: Dataset) -> tuple[str, ...]:
    """<stem><suffix> of every image, with the suffix of its file."""
    pairs = zip(dataset.images.stems, dataset.images.files, strict=True)
    return tuple(f"{stem}{file[len(split_suffix(file)[0]) :]}" for stem, file in pairs)


def split_paths(dataset: Dataset) -> tuple[str, ...]:
    """The path of every image: <split>/<stem><suffix>, or <stem><suffix> without splits; all are different."""
    paths = []
    taken: set[str] = set()
    for folder, stem, file in zip(_folders(dataset), dataset.images.stems, dataset.images.files, strict=True):
        name = _file_stem(stem, folder.rstrip("/"))
        path, number = f"{folder}{name}", 2
        while path in taken:  # stems that are the same without characters a name cannot have
            path, number = f"{folder}{name}_{number}", number + 1
        taken.add(path)
        paths.append(path + file[len(split_suffix(file)[0]) :])
    return tuple(paths)


def _folders(dataset: Dataset) -> list[str]:
    """The folder of every image below images/, with a slash; "" for all without splits."""
    written = _written_splits(dataset.splits)
    if not written:
        return [""] * len(dataset)
    folders = [f"{REST}/"] * len(dataset)
    for split in reversed(SPLITS):  # an image in several splits goes to the first
        for row in written.get(split, np.empty(0, np.int64)).tolist():
            folders[row] = f"{split}/"
    return folders


def _written_splits(splits: Splits) -> dict[str, NDArray[np.int64]]:
    """The splits that are written: train, val and test; trainval without train and val becomes train."""
    written = {split: splits[split] for split in SPLITS if len(splits.get(split, ()))}
    if "trainval" in splits and len(splits["trainval"]) and not written.keys() & {"train", "val"}:
        written["train"] = splits["trainval"]
    return written


def _file_stem(stem: str, split: str) -> str:
    """A stem as a path below the folder of its split: it stays in it, is not hidden, and names no other split."""
    path = safe_relative(stem).path or safe_relative(_NOT_IN_A_NAME.sub("_", stem)).path or "image"
    *folders, name = (re.sub(r"^\.", "_", piece) for piece in path.split("/"))
    if folders and _split_of_folder(folders[0]) == split:
        del folders[0]
    return "/".join([*(f"{folder}_" if _misleads(folder, split) else folder for folder in folders), name])


def _misleads(folder: str, split: str) -> bool:
    return folder.lower() in IMAGE_FOLDERS or _split_of_folder(folder) not in ("", split)


def _split_of_folder(folder: str) -> str:
    return next(iter(splits_by_folder([f"{folder}/"])), "")


def folder_losses(dataset: Dataset, above: str = "") -> list[Loss]:
    """What folders below `above` cannot hold of the splits."""
    written = _written_splits(dataset.splits)
    times = np.zeros(len(dataset), np.int64)
    for rows in written.values():
        times[np.unique(rows)] += 1
    whole = np.zeros(len(dataset), np.bool_)
    whole[dataset.splits.get("trainval", np.empty(0, np.int64))] = True
    losses = [
        Loss("further splits of images", int((times > 1).sum()), "an image is in the folder of its first split"),
        Loss("images only in trainval", int((whole & (times == 0)).sum()), f"they are in {above}{REST}"),
    ]
    return [loss for loss in [*losses, *split_losses(dataset.splits)] if loss.count]
