"""YOLO's folders as its tools want them: images/train, labels/train and so on, and a data.yaml."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from vocdet.boxes import Boxes
from vocdet.data.dataset import Dataset
from vocdet.data.losses import Loss, split_losses
from vocdet.data.splits import Splits
from vocdet.data.usable import clip_to_images
from vocdet.errors import AnnotationError
from vocdet.files import write_new
from vocdet.formats.images import IMAGE_FOLDERS, safe_relative, split_suffix
from vocdet.formats.source import Coordinates
from vocdet.formats.yolo.settings import PART_KEYS

PARTS = ("train", "val", "test")
REST = "rest"  # images that are in no part, when others are
PIXEL_DECIMALS = 6  # that are written of a box, and read again
DECIMALS = 12  # of a share; fewer would not bring back every millionth of a pixel

_SMALLEST = 5e-7  # pixels; a box narrower than this has no area once it is written
_NOT_PLAIN = re.compile("[\x7f-\xa0\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")  # YAML wants these escaped
_NOT_IN_A_NAME = re.compile(r"[/\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ORDINARY = "they become ordinary objects"


def image_targets(dataset: Dataset) -> tuple[str, ...]:
    """Where the images lie: images/<part>/<stem><suffix>, or images/<stem><suffix> where there are no parts."""
    folders = _folders(dataset)
    targets = []
    taken: set[str] = set()
    for folder, stem, file in zip(folders, dataset.images.stems, dataset.images.files, strict=True):
        name = _file_stem(stem, folder.rstrip("/"))
        path, number = f"images/{folder}{name}", 2
        while path in taken:  # two images of one stem, but for the suffix or for what may not be in a name
            path, number = f"images/{folder}{name}_{number}", number + 1
        taken.add(path)
        targets.append(path + file[len(split_suffix(file)[0]) :])
    return tuple(targets)


def write(
    folder: Path,
    dataset: Dataset,
    targets: Sequence[str],
    areas: NDArray[np.float64],  # noqa: ARG001 as in every format
    *,
    coordinates: Coordinates | None = None,  # noqa: ARG001 as in every format
) -> list[Loss]:
    """Write a label file for every image, and data.yaml; return what these cannot hold.

    A label file is as its image, with labels/ for images/ and .txt for the suffix. Boxes are cut to their images,
    as other tools refuse a row, some even the file, with more than the whole image in it; those that have no area
    then are left out. An image whose size is not known is an AnnotationError.
    """
    sizes = np.stack([dataset.images.widths, dataset.images.heights], axis=1).astype(np.float64)  # (N, 2)
    unknown = np.flatnonzero((sizes <= 0).any(axis=1))
    if len(unknown):
        place = dataset.root / dataset.images.files[unknown[0]]
        hint = "YOLO's boxes are shares of it: put the image where the dataset says it is"
        raise AnnotationError("the size of this image is not known", place=place, hint=hint)
    objects = dataset.objects
    boxes = np.round(clip_to_images(dataset), PIXEL_DECIMALS)
    keep = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= _SMALLEST
    rows = _rows(boxes[keep], objects.label[keep], sizes[objects.image[keep]])
    ends = np.searchsorted(objects.image[keep], np.arange(len(dataset)), "right").tolist()
    first, made = 0, {""}
    for target, end in zip(targets, ends, strict=True):
        source = "labels" + split_suffix(target)[0].removeprefix("images") + ".txt"
        write_new(f"{folder}/{source}", "".join(rows[first:end]).encode(), made)
        first = end
    write_new(f"{folder}/data.yaml", _yaml(dataset, targets).encode(), made)
    return _losses(dataset, keep)


def _rows(boxes: Boxes, labels: NDArray[np.int32], sizes: NDArray[np.float64]) -> list[str]:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / sizes
    size = (boxes[:, 2:] - boxes[:, :2]) / sizes
    shares = np.concatenate([centre, size], axis=1).tolist()
    return [
        f"{label} {_share(cx)} {_share(cy)} {_share(w)} {_share(h)}\n"
        for label, (cx, cy, w, h) in zip(labels.tolist(), shares, strict=True)
    ]


def _share(value: float) -> str:
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _folders(dataset: Dataset) -> list[str]:
    """The folder of every image below images/, with a slash; "" for all where there are no parts."""
    taken = _taken(dataset.splits)
    if not taken:
        return [""] * len(dataset)
    folders = [f"{REST}/"] * len(dataset)
    for split in reversed(PARTS):  # an image of several is in the first
        for row in taken.get(split, np.empty(0, np.int64)).tolist():
            folders[row] = f"{split}/"
    return folders


def _taken(splits: Splits) -> dict[str, NDArray[np.int64]]:
    """The parts that are written: train, val and test; a trainval that is not divided is train."""
    taken = {split: splits[split] for split in PARTS if len(splits.get(split, ()))}
    if "trainval" in splits and len(splits["trainval"]) and not taken.keys() & {"train", "val"}:
        taken["train"] = splits["trainval"]
    return taken


def _file_stem(stem: str, split: str) -> str:
    """A stem as a path below images/<part>/: nothing in it leads elsewhere, hides it or names the part again."""
    path = safe_relative(stem).path or safe_relative(_NOT_IN_A_NAME.sub("_", stem)).path or "image"
    *folders, name = (re.sub(r"^\.", "_", piece) for piece in path.split("/"))
    if folders and PART_KEYS.get(folders[0].lower()) == split:
        del folders[0]
    return "/".join([*(f"{folder}_" if folder.lower() in IMAGE_FOLDERS else folder for folder in folders), name])


def _yaml(dataset: Dataset, targets: Sequence[str]) -> str:
    folders = {target.split("/")[1] for target in targets if target.count("/") > 1}
    there = [split for split in PARTS if split in folders]
    lines = [f"{split}: images/{split}" for split in there]
    if not there:
        lines.append("# train and val are not divided yet: all images are in images/")
    lines += ["", f"nc: {len(dataset.labels)}", "names:"]
    lines += [f"  {i}: {_quoted(label)}" for i, label in enumerate(dataset.labels)]
    return "\n".join([*lines, ""]) if dataset.labels else "\n".join([*lines[:-1], "names: {}", ""])


def _quoted(text: str) -> str:
    """A text between double quotes, as both JSON and YAML read it."""
    return _NOT_PLAIN.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def _losses(dataset: Dataset, keep: NDArray[np.bool_]) -> list[Loss]:
    objects = dataset.objects
    area = (objects.box[:, 2:] - objects.box[:, :2]).prod(axis=1)
    own_area = ~np.isnan(objects.area) & (np.abs(objects.area - area) > 1e-6 * np.maximum(area, 1))
    counts = {
        ("boxes cut to their images", "other tools refuse what is outside"): (
            clip_to_images(dataset) != objects.box
        ).any(axis=1)
        & keep,
        ("boxes without any area in their images", "left out: other tools refuse them"): ~keep,
        ("masks", "only their boxes are written"): _has(objects.segmentation.rows, len(objects)),
        ("crowds", _ORDINARY): objects.crowd,
        ("difficult objects", _ORDINARY): objects.difficult,
        ("truncated objects", "the mark is not written"): objects.truncated,
        ("occluded objects", "the mark is not written"): objects.occluded,
        ("poses", "as in Left or Frontal"): objects.pose > 0,
        ("areas", "where they are not those of the boxes"): own_area,
    }
    losses = [Loss(what, int(rows.sum()), why) for (what, why), rows in counts.items()]
    losses += [Loss(f"{key} of objects", count) for key, count in sorted(_keys(dataset).items())]
    losses.append(Loss("notes on images", len(dataset.images.extra.rows), "as their licence, or the XML's header"))
    losses.append(Loss("notes on the dataset", int(dataset.extra not in (b"", b"{}")), "as COCO's info"))
    losses += [*_part_losses(dataset), *split_losses(dataset.splits)]
    return [loss for loss in losses if loss.count]


def _part_losses(dataset: Dataset) -> list[Loss]:
    taken = _taken(dataset.splits)
    times = np.zeros(len(dataset), np.int64)
    for rows in taken.values():
        times[np.unique(rows)] += 1
    whole = np.zeros(len(dataset), np.bool_)
    whole[dataset.splits.get("trainval", np.empty(0, np.int64))] = True
    return [
        Loss("second parts of images", int((times > 1).sum()), "an image is in one folder: the first of its parts"),
        Loss("images in trainval alone", int((whole & (times == 0)).sum()), f"they are in images/{REST}"),
    ]


def _has(rows: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    has = np.zeros(count, np.bool_)
    has[rows] = True
    return has


def _keys(dataset: Dataset) -> Counter[str]:
    """How many objects have each key of what is kept aside."""
    counts: Counter[str] = Counter()
    for text in dict(dataset.objects.extra.items()).values():
        try:
            counts.update(msgspec.json.decode(text, type=dict[str, msgspec.Raw]).keys())
        except msgspec.DecodeError:  # nobody else can read it either
            counts["notes"] += 1
    return counts
