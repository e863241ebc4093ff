"""Damage some annotations of a dataset at random, in three ways, and measure how many of them `vocdet.audit` lists.

    python examples/audit_damage.py DATA WORK [--share 0.05] [--seed 0] [--folds 3] [--minutes 4] [--run RUN]

Of the damaged objects one third each is deleted, gets another label, and gets a box that is moved and resized, with an
IoU of .3 to .6. WORK gets the damaged copy, and a line of results.jsonl; the same command continues after a stop, and
only prints a line that is there. With --run, that detector judges in place of trained folds, and only the images of
--split are used, which it must not have seen.

With k damaged objects, precision is the share of the first k suspicions that are right (of a kind: k of that kind, in a
list of its own), and recall the share of the damaged objects among the first 2 k of the whole list.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import vocdet
from vocdet.workflows.audit import Proposal

KINDS = ("missing", "label", "box")


@dataclass(frozen=True)
class Damage:
    """What was done to an object."""

    kind: str
    image: str  # stem
    label: str  # true one
    box: NDArray[np.float64]  # true one


def damage(dataset: vocdet.Dataset, share: float, seed: int) -> tuple[vocdet.Dataset, list[Damage]]:
    """The dataset with mistakes, and the list of them."""
    draw, objects = np.random.default_rng(seed), dataset.objects
    usable = np.flatnonzero(~(objects.difficult | objects.crowd))
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


def matched(proposals: Sequence[Proposal], made: list[Damage]) -> list[int]:
    """For each proposal the damage that it is about, in the right way; -1: none."""
    free, found = dict(enumerate(made)), []
    for one in proposals:
        near = [
            i for i, true in free.items()
            if (true.kind, true.image) == (one.kind, Path(one.image).stem) and iou(true.box, np.array(one.box)) >= 0.5
            and (one.kind == "box" or one.label == true.label)
        ]  # fmt: skip
        found.append(near[0] if near else -1)
        if near:
            del free[near[0]]
    return found


def measured(proposals: Sequence[Proposal], made: list[Damage]) -> dict[str, dict[str, float]]:
    """Precision and recall of the list, of each kind and of all together."""
    found = matched(proposals, made)
    total = Counter(one.kind for one in made)
    listed = Counter(made[i].kind for i in found[: 2 * len(made)] if i >= 0)
    result = {}
    for kind in KINDS:
        mine = [i for i, one in zip(found, proposals, strict=True) if one.kind == kind][: total[kind]]
        result[kind] = row(total[kind], sum(i >= 0 for i in mine), listed[kind])
    result["together"] = row(len(made), sum(i >= 0 for i in found[: len(made)]), sum(listed.values()))
    return result


def row(damaged: int, right: int, listed: int) -> dict[str, float]:
    """The number of damaged objects, precision and recall."""
    return {"damaged": damaged, "precision": right / max(damaged, 1), "recall": listed / max(damaged, 1)}


def measure(options: argparse.Namespace, work: Path) -> dict[str, dict[str, float]]:
    """Damage, audit, count."""
    dataset = vocdet.read(options.data, skip_bad=True)
    if options.run:
        dataset = dataset.subset(dataset.splits[options.split])
    damaged, made = damage(dataset, options.share, options.seed)
    copy = work / "data"
    if not copy.exists():
        vocdet.write(damaged, copy, images="link")
    result = vocdet.audit(
        copy, out=work / "audit", runs=[options.run] if options.run else [], folds=options.folds,
        most=max(1, 10 * len(made)), minutes=options.minutes,
    )  # fmt: skip
    return measured(result.proposals, made)


def main() -> None:
    """Measure unless it is done, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path, help="folder for the damaged copies and the results")
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--split", default="test", help="with --run: images that it was not trained on")
    options = parser.parse_args()
    vocdet.prepare_cpu()
    judge = f"{options.run.name}-{options.split}" if options.run else f"{options.folds}x{options.minutes:g}min"
    name = f"{options.data.resolve().name}-{judge}-{options.share:g}-{options.seed}"
    file = options.work / "results.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    known = {line["name"]: line["result"] for line in map(json.loads, lines)}
    if name not in known:
        known[name] = measure(options, options.work / name)
        with file.open("a") as results:
            results.write(json.dumps({"name": name, "result": known[name]}) + "\n")
    print(name)
    for kind, line in known[name].items():
        values = "  ".join(f"{what} {value:.2f}" for what, value in line.items() if what != "damaged")
        print(f"{kind:9} {line['damaged']:4} damaged  {values}")


if __name__ == "__main__":
    main()
