"""Image folders as classifiers know them: one folder a label."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.image_files import IMAGE_SUFFIXES, read_header
from vocdet.errors import AnnotationError, VocdetError, raise_all
from vocdet.wording import reason

VAL_SHARE = 0.1  # where the folder has no val of its own


def read_image_folder(root: Path, *, seed: int = 0) -> Dataset:
    """`root/<label>/*`, or `root/train/<label>/*` and `root/val/<label>/*`, as a dataset of one object an image.

    The object's box is the whole image. Without a val folder a tenth of every label's images, chosen by the seed,
    is the part `val`, and the rest `train`. A test folder beside train is left alone.
    """
    if not root.is_dir():
        problem = "is a file, not a folder" if root.exists() else "no such folder"
        raise AnnotationError(problem, place=root, hint="give the folder that holds a folder for every label")
    try:
        tops = _tops(root)
        found = [(name, *item) for name, top in tops.items() for item in _labelled(top)]
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        place = Path(error.filename or root)
        raise AnnotationError(problem, place=place, hint="see whether you may read it") from error
    if not found:
        hint = "there must be a folder for every label, with its images in it"
        raise AnnotationError("no images in folders", place=root, hint=hint)
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
    of = np.array([labels.index(label) for _, label, _ in found], np.int32)
    n, zero = len(found), np.zeros(len(found), np.bool_)
    box = np.column_stack([np.zeros((n, 2)), widths, heights])
    objects = Objects(np.arange(n, dtype=np.int32), of, box, zero, zero, zero, zero, np.zeros(n, np.int32))
    dataset = Dataset(root, labels, Images(files, files, widths, heights, ("",) * n), objects)
    splits = np.array([name for name, _, _ in found])
    if "val" in tops:
        return replace(dataset, splits={name: np.flatnonzero(splits == name) for name in tops})
    rng = np.random.default_rng(seed)
    val = [
        rng.permutation(rows)[: round(VAL_SHARE * len(rows))]
        for k in range(len(labels))
        if len(rows := np.flatnonzero(of == k))
    ]
    chosen = np.sort(np.concatenate(val))
    return replace(dataset, splits={"train": np.setdiff1d(np.arange(n), chosen), "val": chosen})


def _tops(root: Path) -> dict[str, Path]:
    """The folders that hold the labels' folders: those of the parts, or the root itself."""
    names = {path.name for path in root.iterdir() if path.is_dir()}
    if names >= {"train", "val"}:
        return {"train": root / "train", "val": root / "val"}
    # with others beside it, `train` is a label like them
    return {"train": root / "train"} if "train" in names and names <= {"train", "test"} else {"": root}


def _labelled(top: Path) -> list[tuple[str, Path]]:
    """(label, image) of every image below a label's folder, sorted."""
    pairs = []
    for folder in sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith(".")):
        images = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        pairs += [(folder.name, path) for path in images]
    return pairs
