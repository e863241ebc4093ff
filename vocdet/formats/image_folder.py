"""Image folders for classification: one folder for every label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding
from vocdet.data.image_files import read_header, read_orientation
from vocdet.errors import DatasetError, ImageError, Place, VocdetError, raise_all
from vocdet.formats.folders import is_searched, walk
from vocdet.formats.images import images_among, unique_stems
from vocdet.formats.scan import Scan
from vocdet.wording import reason

VAL_SHARE = 0.1  # if the folder has no val


def read_image_folder(root: Path, *, seed: int = 0) -> Dataset:
    """Read `root/<label>/*`, or `root/train/<label>/*` and `root/val/<label>/*`: one object for each image.

    The box of the object is the whole image. Without a val folder, a random tenth of every label's images is the split
    `val`, and the rest is `train`. A test folder beside train is ignored. DatasetError for a folder without images.
    """
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise DatasetError(problem, place=root, hint="give the folder that holds a folder for every label")
    try:
        folders = _split_folders(root)
        found = [(name, *item) for name, top in folders.items() for item in _labeled(top)]
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        place = Path(error.filename or root)
        raise DatasetError(problem, place=place, hint="check its permissions") from error
    if not found:
        hint = "make a folder for every label, with its images in it"
        raise DatasetError("has no folders with images", place=root, hint=hint)
    labels = tuple(sorted({label for _, label, _ in found}))
    sizes, errors = [], []
    for _, _, path in found:
        try:
            header = read_header(path)
            sizes.append((header.width, header.height))
        except VocdetError as error:
            errors.append(error)
    raise_all(errors)
    files = tuple(path.relative_to(root).as_posix() for _, _, path in found)
    widths, heights = np.array(sizes).T
    ids = {label: i for i, label in enumerate(labels)}
    of = np.array([ids[label] for _, label, _ in found], np.int32)
    n, zero = len(found), np.zeros(len(found), np.bool_)
    box = np.column_stack([np.zeros((n, 2)), widths, heights])
    objects = Objects(np.arange(n, dtype=np.int32), of, box, zero, zero, zero, zero, np.zeros(n, np.int32))
    dataset = Dataset(root, labels, Images(files, files, widths, heights, ("",) * n), objects)
    splits = np.array([name for name, _, _ in found])
    if "val" in folders:
        return replace(dataset, splits={name: np.flatnonzero(splits == name) for name in folders})
    rng = np.random.default_rng(seed)
    val = [
        rng.permutation(rows)[: round(VAL_SHARE * len(rows))]
        for k in range(len(labels))
        if len(rows := np.flatnonzero(of == k))
    ]
    chosen = np.sort(np.concatenate(val))
    return replace(dataset, splits={"train": np.setdiff1d(np.arange(n), chosen), "val": chosen})


def scan_plain_images(root: Path) -> Scan:
    """The images of a folder without annotations: a dataset without labels, objects and splits.

    Unreadable images are findings, and not in it; DatasetError for a folder without images.
    """
    files, found = walk(root)
    findings, images = list(found), list[str]()
    sizes: list[tuple[int, int, int]] = []  # width and height as shown, EXIF orientation
    for file in images_among(files):
        try:
            header, exif = read_header(root / file), read_orientation(root / file)
        except ImageError as error:
            findings.append(Finding("image.corrupt", "error", error.problem, Place(root / file), error.hint))
            continue
        images.append(file)
        sizes.append((header.height, header.width, exif) if exif >= 5 else (header.width, header.height, exif))
    if not images and not findings:
        raise DatasetError("has no images", place=root, hint="give a folder with images")
    widths, heights, orientations = np.array(sizes, np.int32).reshape(-1, 3).T
    table = Images(
        tuple(unique_stems(images)), tuple(images), widths, heights, ("",) * len(images),
        exif=orientations.astype(np.uint8), upright=np.ones(len(images), np.bool_),
    )  # fmt: skip
    rows, flags = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    objects = Objects(rows, rows, np.zeros((0, 4)), flags, flags, flags, flags, rows)
    return Scan(Dataset(root, (), table, objects), tuple(findings), kind="images without annotations")


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders that hold the folders of labels: those of the splits, or the root itself."""
    names = {path.name for path in root.iterdir() if path.is_dir() and is_searched(path)}
    if names >= {"train", "val"}:
        return {"train": root / "train", "val": root / "val"}
    # beside other folders, `train` is a label
    return {"train": root / "train"} if "train" in names and names <= {"train", "test"} else {"": root}


def _labeled(top: Path) -> list[tuple[str, Path]]:
    """(label, image) of every image below the folder of a label, sorted."""
    pairs = []
    for folder in sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if is_searched(folder):
            pairs += [(folder.name, folder / file) for file in images_among(walk(folder)[0])]
    return pairs
