"""Count the clicks that correcting a detector's annotations takes, beside those of drawing every object.

    python examples/count_clicks.py runs/ssd-mb3-small-1 bccd --split test

A person draws an object with three clicks (two corners, its label), deletes or moves one with two, and relabels one
with two. An object counts as drawn right with an IoU of 0.75 or more.
"""

from __future__ import annotations

import argparse

import vocdet
from vocdet.boxes import box_ious
from vocdet.inference.annotating import compare

DRAW, DELETE, MOVE, RELABEL = 3, 2, 2, 2
EXACT = 0.75


def main() -> None:
    """Print the clicks per image from scratch and with a detector."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("dataset")
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    detector = vocdet.load(arguments.run)
    dataset = vocdet.read(arguments.dataset, skip_bad=True)
    rows = dataset.rows(arguments.split)
    scratch, counts = 0, dict.fromkeys(("add", "delete", "move", "relabel"), 0)
    for row in rows:
        image = dataset[int(row)]
        names = [dataset.labels[k] for k in image.objects.label]
        found = detector(image.path)
        result = compare(found.columns, detector.labels, image.objects.box, names)
        scratch += DRAW * len(names)
        counts["add"] += len(result.missed)
        matched = len(names) - len(result.missed)
        counts["delete"] += len(found) - matched
        for i, k in result.other:
            counts["relabel"] += found.label_names[i] != names[k]
            counts["move"] += box_ious(found.boxes[[i]], image.objects.box[[k]])[0, 0] < EXACT
    clicks = DRAW * counts["add"] + DELETE * counts["delete"] + MOVE * counts["move"] + RELABEL * counts["relabel"]
    n = len(rows)
    print(f"{n} images: {scratch / n:.1f} clicks per image from scratch, {clicks / n:.1f} with the model "
          f"({1 - clicks / scratch:.0%} saved)")  # fmt: skip
    print("boxes per image to " + ", ".join(f"{name} {count / n:.2f}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
