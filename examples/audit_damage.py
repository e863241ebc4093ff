"""Damage some annotations of a dataset at random, in three ways, and measure how many of them `vocdet.audit` lists.

    python examples/audit_damage.py DATA WORK [--share 0.05] [--seed 0] [--folds 3] [--minutes 3] [--run RUN]

Of the damaged objects one third each is deleted, gets another label, and gets a box that is moved and resized, with an
IoU of .3 to .6. WORK gets the damaged copy and the results; the same command continues there. With --run, that detector
judges in place of trained folds, and only images that it was not trained on are damaged.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import vocdet

KINDS = ("missing", "label", "box")


@dataclass(frozen=True)
class Damage:
    """What was done to an object."""

    kind: str
    image: str  # stem
    label: str  # true one
    box: NDArray[np.float64]  # true one


def damage(
    dataset: vocdet.Dataset, share: float, seed: int, images: NDArray[np.int64]
) -> tuple[vocdet.Dataset, list[Damage]]:
    """The dataset with mistakes in these images, and the list of them."""
    draw, objects = np.random.default_rng(seed), dataset.objects
    usable = np.flatnonzero(~(objects.difficult | objects.crowd) & np.isin(objects.image, images))
    chosen = draw.permutation(usable)[: round(share * len(usable))]
    label, box, keep, made = objects.label.copy(), objects.box.copy(), np.ones(len(objects), np.bool_), []
    for i, row in enumerate(chosen.tolist()):
        kind, image = KINDS[i % 3], int(objects.image[row])
        made.append(Damage(kind, dataset.images.stems[image], dataset.labels[label[row]], box[row].copy()))
        if kind == "missing":
            keep[row] = False
        elif kind == "label":
            label[row] = (label[row] + draw.integers(1, len(dataset.labels))) % len(dataset.labels)
        else:
            size = [dataset.images.widths[image], dataset.images.heights[image]]
            box[row] = sloppy(box[row], np.array(size, np.float64), draw)
    damaged = replace(objects, label=label, box=box)
    return replace(dataset, objects=damaged.take(keep), scan=None), made


def sloppy(box: NDArray[np.float64], size: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """A moved and resized box in an image of this size; its IoU with the original is .3 to .6, if one is found."""
    sides = box[2:] - box[:2]
    for _ in range(1000):
        other = np.concatenate(
            [box[:2] + draw.uniform(-0.5, 0.5, 2) * sides, box[2:] + draw.uniform(-0.5, 0.5, 2) * sides]
        )
        other = np.clip(other.reshape(2, 2), 0, size).reshape(-1).round()
        if (other[2:] - other[:2] > 2).all() and 0.3 <= iou(box, other) <= 0.6:
            return np.asarray(other, np.float64)
    return box


def iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """IoU of two boxes."""
    inter = float(np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)))
    return inter / (float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - inter)


def matched(result: vocdet.AuditResult, made: list[Damage]) -> list[int]:
    """For each proposal the damage that it is about, in the right way; -1: none."""
    free, found = dict(enumerate(made)), []
    for one in result.proposals:
        near = [
            i for i, true in free.items()
            if (true.kind, true.image) == (one.kind, Path(one.image).stem) and iou(true.box, np.array(one.box)) >= 0.5
            and (one.kind == "box" or one.label == true.label)
        ]  # fmt: skip
        found.append(near[0] if near else -1)
        if near:
            del free[near[0]]
    return found


def main() -> None:
    """Damage, audit, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path, help="folder for the damaged copy and the results")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    vocdet.prepare_cpu()
    dataset = vocdet.read(options.data, skip_bad=True)
    every = np.arange(len(dataset))
    images = np.setdiff1d(every, dataset.splits["train"]) if options.run else every
    damaged, made = damage(dataset, options.share, options.seed, images)
    copy = options.work / "data"
    if not copy.exists():
        vocdet.write(damaged, copy, images="link")
    runs = [options.run] if options.run else []
    result = vocdet.audit(
        copy, out=options.work / "audit", runs=runs, folds=options.folds, most=10 * len(made), minutes=options.minutes
    )
    found = matched(result, made)
    total = Counter(one.kind for one in made)
    print(f"{len(made)} damaged of {len(dataset.objects)} objects: {dict(total)}")
    print(f"{len(result.proposals)} suspicions")
    for most in (len(made) // 2, len(made), 2 * len(made)):
        right = Counter(made[i].kind for i in found[:most] if i >= 0)
        listed = min(most, len(found))
        recall = ", ".join(f"{kind} {right[kind] / max(total[kind], 1):.2f}" for kind in KINDS)
        share = sum(right.values())
        print(f"first {listed}: precision {share / max(listed, 1):.2f}, recall {share / len(made):.2f} ({recall})")
    for kind in KINDS:
        mine = [i for i, one in zip(found, result.proposals, strict=True) if one.kind == kind][: total[kind]]
        print(f"first {len(mine)} of kind {kind}: precision {sum(i >= 0 for i in mine) / max(len(mine), 1):.2f}")


if __name__ == "__main__":
    main()
