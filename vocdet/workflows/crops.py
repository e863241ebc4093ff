"""Crop the objects of a dataset into an image folder: one picture per object, one folder per label."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding, raise_split_errors
from vocdet.data.splits import Rows, Splits, separate
from vocdet.data.usable import NOTHING, LeftOut, usable
from vocdet.errors import DatasetError, SplitError
from vocdet.file_names import safe_names
from vocdet.files import appearing, check_new, write_new
from vocdet.formats.scan import Progress, Source
from vocdet.inputs.images import decode_image
from vocdet.inputs.square_crop import crop_square
from vocdet.outputs import write_marker
from vocdet.recipes.schema import Data, check_side
from vocdet.wording import listed
from vocdet.workflows.load import read_clean

MARGIN = Data().context
CROP_QUALITY = 95  # of JPEG
TRAIN = "train"  # the folder of a dataset without splits, and of trainval without train


@dataclass(frozen=True, slots=True)
class CropOptions:
    """The size of the crops, and their format."""

    margin: float = MARGIN  # around a box, as a share of its longer side
    size: int | None = None  # pixels of a side; None: as in the image
    min_side: float = 0.0  # pixels; objects with a shorter side are left out
    png: bool = False  # lossless PNG instead of JPEG


@dataclass(frozen=True, slots=True, eq=False)
class CropsReport:
    """The crops that were written, and the objects that were left out."""

    target: Path
    labels: tuple[str, ...]
    crops: Mapping[str, NDArray[np.int64]]  # of each split: (L,) pictures of each label
    renamed: Mapping[str, str]  # label to folder, if they differ
    crowds: int  # crowds, left out as in training
    small: int  # objects left out whose shorter side is below the limit
    in_no_split: int  # objects in images of no written split
    left_out: LeftOut = NOTHING  # on request, because of errors
    warnings: tuple[Finding, ...] = ()


def write_crops(
    source: Source,
    target: Path,
    options: CropOptions = CropOptions(),
    *,
    splits: Sequence[str] = (),
    progress: Progress | None = None,
) -> CropsReport:
    """Crop every object as the classifier sees it, into `target/<split>/<label>/<stem>_<number>.jpg`.

    A crop is a square around a box with a margin, gray beyond the image. A dataset without splits, or with folds alone,
    becomes `train`. The folder is new and appears whole. Raises a `DatasetError` if no objects remain.
    """
    if options.size is not None:
        check_side(options.size, smallest=32)
    check_new(target)
    clean = read_clean(source)
    for name in splits:
        raise_split_errors(clean.scan.findings, name)
    dataset, changes = usable(clean.scan.dataset)
    chosen = _chosen_splits(dataset, splits)
    objects = dataset.objects
    short = (objects.box[:, 2:] - objects.box[:, :2]).min(axis=1, initial=np.inf)
    wanted = ~objects.crowd & (short >= options.min_side)
    folders = safe_names(dataset.labels)
    jobs = _jobs(dataset, chosen, wanted, folders)
    if not jobs:
        hint = "choose other splits, or a smaller minimum side"
        raise DatasetError("there are no objects to crop", place=source.path, hint=hint)
    cutter = _Cutter(dataset, options)
    with appearing(target) as folder:
        write_marker(folder, "crops")
        pool, created = ThreadPoolExecutor(min(8, os.cpu_count() or 1)), set[str]()
        try:
            for done, _ in enumerate(pool.map(lambda job: cutter.write(job, folder, created), jobs), 1):
                if progress is not None:
                    progress(done, len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
    counts = {
        name: np.bincount(objects.label[wanted & np.isin(objects.image, rows)], minlength=len(dataset.labels))
        for name, rows in chosen.items()
    }
    placed = np.isin(objects.image, np.concatenate(list(chosen.values())))
    return CropsReport(
        target=target,
        labels=dataset.labels,
        crops=counts,
        renamed={old: new for old, new in zip(dataset.labels, folders, strict=True) if old != new},
        crowds=int((objects.crowd & placed).sum()),
        small=int((~objects.crowd & ~wanted & placed).sum()),
        in_no_split=int((~placed).sum()),
        left_out=clean.left_out,
        warnings=(*clean.scan.findings, *changes),
    )


def _chosen_splits(dataset: Dataset, requested: Sequence[str]) -> dict[str, Rows]:
    """The folders to write, and the rows of each."""
    splits, apart = dict(dataset.splits), separate(dataset.splits)
    if not apart and not requested:  # folds alone are parts of each other
        return {TRAIN: np.arange(len(dataset))}
    if "trainval" in requested and {"train", "val"} <= splits.keys():
        splits["trainval"] = dataset.rows("trainval")  # also where no file lists it
    missing = [name for name in requested if name not in splits]
    if missing:
        hint = f"choose {listed(splits, conjunction='or')}" if splits else "run `vocdet.split(dataset)` first"
        raise SplitError(f"there is no split {missing[0]}", place=dataset.root, hint=hint)
    chosen = {name: splits[name] for name in dict.fromkeys(requested)} if requested else apart
    return {TRAIN if name == "trainval" and TRAIN not in chosen else name: rows for name, rows in chosen.items()}


Job = tuple[int, list[tuple[int, str]]]  # an image row, and its objects with their file names


def _jobs(dataset: Dataset, splits: Splits, wanted: NDArray[np.bool_], folders: Sequence[str]) -> list[Job]:
    objects = dataset.objects
    first = np.searchsorted(objects.image, np.arange(len(dataset) + 1))
    stems = safe_names([stem.replace("/", "_") for stem in dataset.images.stems])
    jobs = []
    for split, rows in splits.items():
        for row in rows.tolist():
            files = [
                (i, f"{split}/{folders[objects.label[i]]}/{stems[row]}_{i - first[row] + 1}")
                for i in range(first[row], first[row + 1])
                if wanted[i]
            ]
            if files:
                jobs.append((row, files))
    return jobs


@dataclass(frozen=True, slots=True, eq=False)
class _Cutter:
    dataset: Dataset
    options: CropOptions

    def write(self, job: Job, folder: Path, created: set[str]) -> None:
        """Crop the objects of one image; `created` collects the folders that exist."""
        row, objects = job
        image = decode_image(self.dataset[row])
        margin, size, suffix = self.options.margin, self.options.size, ".png" if self.options.png else ".jpg"
        for i, name in objects:
            crop = crop_square(image, self.dataset.objects.box[i], context=margin, size=size)
            bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
            _, data = cv2.imencode(suffix, bgr, [cv2.IMWRITE_JPEG_QUALITY, CROP_QUALITY])
            write_new(f"{folder}/{name}{suffix}", data.tobytes(), created)
