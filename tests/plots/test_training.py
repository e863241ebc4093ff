"""The picture of a training, for any content of a journal."""

from __future__ import annotations

import io
import math
import random
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from vocdet.plots.training import Epochs, curves


def rows_of(epochs: int, *, every: int = 1) -> list[dict[str, float]]:
    """Epochs of a detector that is validated in every n-th."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "seconds": 60.0 * epoch, "lr": 0.004 / epoch, "images_per_second": 50.0,
               "train_box": 2 / epoch, "train_class": 4 / epoch}  # fmt: skip
        rows.append(row | ({"val_ap50": 1 - 1 / epoch, "val_loss": 5 / epoch} if epoch % every == 0 else {}))
    return rows


def labels_of(epochs: int, labels: int) -> list[dict[str, float]]:
    return [{"epoch": e} | {f"label {i}": (1 - 1 / e) / (1 + i) for i in range(labels)} for e in range(1, epochs + 1)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """The figures that are saved."""
    figures: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure: matplotlib.figure.Figure, *args: object, **more: object) -> None:
        figures.append(figure)
        save(figure, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


def lines(figure: matplotlib.figure.Figure) -> dict[str, list[Any]]:
    """The points of every line with a name."""
    found: dict[str, list[Any]] = {}
    for axes in figure.axes:
        for line in axes.get_lines():
            if not str(line.get_label()).startswith("_"):
                points: Any = line.get_xydata()
                found[str(line.get_label()).strip()] = [(float(x), float(y)) for x, y in points]
    return found


def test_the_picture_is_a_png_with_every_curve(drawn: list[matplotlib.figure.Figure]) -> None:
    with Image.open(
        io.BytesIO(curves(rows_of(6, every=2), labels=labels_of(6, 3), title="ssd-mb1-3", best=4))
    ) as image:
        assert (image.format, image.size) == ("PNG", (1400, 900))
    found = lines(drawn[0])
    assert found["training"] == [(e, pytest.approx(6 / e)) for e in range(1, 7)]  # the sum of its components
    assert found["box"][0] == (1, 2)
    assert found["validation"] == [(2, 2.5), (4, 1.25), (6, pytest.approx(5 / 6))]  # epochs without one are bridged
    assert found["ap50"] == [(2, 0.5), (4, 0.75), (6, pytest.approx(5 / 6))]
    assert found["learning rate"][1] == (2, 0.002)
    assert found["images per second"] == [(e, 50) for e in range(1, 7)]
    assert found["label 2"][-1] == (6, pytest.approx(5 / 18))
    texts = [text.get_text() for text in drawn[0].texts]
    assert texts == ["ssd-mb1-3", "6 epochs   ·   6 min   ·   best: epoch 4, ap50 0.750"]


def test_for_many_labels_the_median_and_the_worst_are_drawn(drawn: list[matplotlib.figure.Figure]) -> None:
    curves(rows_of(4), labels=labels_of(4, 31))
    found = lines(drawn[0])
    assert found["median"][-1] == (4, pytest.approx(0.75 / 16))  # of the label in the middle of 31
    assert {name for name in found if name.startswith("label ")} == {"label 28", "label 29", "label 30"}


@pytest.mark.parametrize(
    "rows",
    [
        [{"epoch": 1}],
        [{"epoch": 7, "train_loss": 0.0, "val_accuracy": 0.0, "lr": 0.0, "images_per_second": 0.0}],
        [{"epoch": 1, "train_loss": math.nan, "val_ap50": math.inf, "seconds": math.nan}],
        [{"epoch": 1, "train_loss": 1e9}, {"epoch": 2, "train_loss": 1e-9, "val_mean_label_accuracy": 0.5}],
        [{"epoch": e, "train_a": 1.0, "train_b": -2.0} for e in range(1, 300)],
    ],
)
def test_epochs_with_any_missing_values_are_drawn(rows: Epochs) -> None:
    assert curves(rows).startswith(b"\x89PNG")


def test_labels_of_any_name_are_drawn_without_a_warning() -> None:
    names = ["_hidden", "$x_1$", "яблоко", "苹果", "\U00010fff", "l" * 200, ""]
    assert curves(rows_of(2), labels=[{"epoch": 1} | dict.fromkeys(names, 0.5)]).startswith(b"\x89PNG")


def test_without_epochs_drawing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no epoch"):
        curves([])


def test_drawing_does_not_change_random_states_or_settings() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), dict(matplotlib.rcParams))  # type: ignore[index]
    first, again = curves(rows_of(3)), curves(rows_of(3))
    assert first == again
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), dict(matplotlib.rcParams))  # type: ignore[index]
