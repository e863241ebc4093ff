"""Image folders for classification: one folder for every label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding
from vocdet.data.image_files import read_header
from vocdet.data.image_headers import Header
from vocdet.errors import DatasetError, ImageError, Place, VocdetError, raise_all
from vocdet.formats.images.facts import with_levels
from vocdet.formats.images.folders import is_searched, walk
from vocdet.formats.images.lookup import images_among, unique_stems
from vocdet.formats.scan import Scan
from vocdet.wording import reason

VAL_SHARE = 0.1  # if the folder has no val

_VAL_FOLDERS = ("val", "valid", "validation")  # Roboflow exports valid


def read_image_folder(root: Path, *, seed: int = 0) -> Dataset:
    """Read `root/<label>/*`, or `root/train/<label>/*` and `root/val/<label>/*`: one object for each image.

    The box of the object is the whole image. The folder val may be called valid or validation; without it, a random
    tenth of every label's images is the split `val`, and the rest is `train`. A test folder beside train is ignored.
    DatasetError for a folder without images.
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
    headers, errors = list[Header](), list[VocdetError]()
    for _, _, path in found:
        try:
            headers.append(read_header(path))
        except VocdetError as error:
            errors.append(error)
    raise_all(errors)
    files = tuple(path.relative_to(root).as_posix() for _, _, path in found)
    images = _as_shown(files, files, headers)
    ids = {label: i for i, label in enumerate(labels)}
    of = np.array([ids[label] for _, label, _ in found], np.int32)
    n, zero = len(found), np.zeros(len(found), np.bool_)
    box = np.column_stack([np.zeros((n, 2)), images.widths, images.heights])
    objects = Objects(np.arange(n, dtype=np.int32), of, box, zero, zero, zero, zero, np.zeros(n, np.int32))
    dataset = with_levels(Dataset(root, labels, images, objects), [i for i in range(n) if headers[i].deep])
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
    headers = list[Header]()
    for file in images_among(files):
        try:
            headers.append(read_header(root / file))
        except ImageError as error:
            findings.append(Finding("image.corrupt", "error", error.problem, Place(root / file), error.hint))
            continue
        images.append(file)
    if not images and not findings:
        raise DatasetError("has no images", place=root, hint="give a folder with images")
    table = _as_shown(unique_stems(images), images, headers)
    rows, flags = np.zeros(0, np.int32), np.zeros(0, np.bool_)
    objects = Objects(rows, rows, np.zeros((0, 4)), flags, flags, flags, flags, rows)
    dataset = with_levels(Dataset(root, (), table, objects), [i for i in range(len(images)) if headers[i].deep])
    return Scan(dataset, tuple(findings), kind="images without annotations")


def _as_shown(stems: Sequence[str], files: Sequence[str], headers: Sequence[Header]) -> Images:
    """The images with their EXIF orientation applied."""
    sizes = [(one.height, one.width) if one.orientation >= 5 else (one.width, one.height) for one in headers]
    widths, heights = np.array(sizes, np.int32).reshape(-1, 2).T
    exif = np.array([one.orientation for one in headers], np.uint8)
    return Images(tuple(stems), tuple(files), widths, heights, ("",) * len(files), exif=exif, upright=exif != 1)


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders that hold the folders of labels: those of the splits, or the root itself."""
    names = {path.name for path in root.iterdir() if path.is_dir() and is_searched(path)}
    val = next((name for name in _VAL_FOLDERS if name in names), "")
    if val and "train" in names:
        return {"train": root / "train", "val": root / val}
    # beside other folders, `train` is a label
    return {"train": root / "train"} if "train" in names and names <= {"train", "test"} else {"": root}


def _labeled(top: Path) -> list[tuple[str, Path]]:
    """(label, image) of every image below the folder of a label, sorted."""
    pairs = []
    for folder in sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith(".")):
        if is_searched(folder):
            pairs += [(folder.name, folder / file) for file in images_among(walk(folder)[0])]
    return pairs
