"""The model card: its tables stay tables, whatever a label is called."""

from __future__ import annotations

from vocdet.exporting.card import card
from vocdet.runtimes.description import Description

NAMES = ("cat|dog", "{input}", "<script>", "__ignore__", "my_part")


def test_labels_are_shown_as_they_are() -> None:
    about = Description(
        version="0", task="ssd", net="mb1-0.25", labels=NAMES, size=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5),
        thresholds=(0.5,) * len(NAMES),
    )  # fmt: skip
    text = card(about, "model.onnx", None, name="ssd-1")
    shown = r"cat\|dog, {input}, \<script\>, \_\_ignore\_\_, my_part"
    assert f"An SSD on mb1-0.25 that knows 5 labels: {shown}." in text
    assert text.count("| 0.500 |") == len(NAMES)
    for label in shown.split(", "):
        assert f"\n| {label} | 0.500 |\n" in text
