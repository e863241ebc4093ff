from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.stats import Stats, stats
from vocdet.plots.dataset import picture
from vocdet.plots.fonts import drawable, shortened

MAGIC = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def statistics_of(labels: Sequence[str], *, together: bool = True) -> Stats:
    """Statistics of one image per label, with three objects of it and one of the next label."""
    n = len(labels)
    label = np.array([(i, i, i, (i + together) % n) for i in range(n)], np.int32).ravel()
    low = np.arange(4 * n)[:, None] % 50 + np.zeros((1, 2))
    box = np.concatenate([low, low + 1 + np.arange(4 * n)[:, None] % 40 * np.array([1, 2])], axis=1)
    no, stems, side = np.zeros(4 * n, np.bool_), tuple(map(str, range(n))), np.full(n, 200)
    objects = Objects(np.repeat(np.arange(n), 4), label, box, no, no, no, no, np.zeros(4 * n, np.int32))
    dataset = Dataset(Path(), tuple(labels), Images(stems, stems, side, side, stems), objects)
    return stats(dataset, {"train": np.arange(n - n // 3), "val": np.arange(n - n // 3, n)})


@pytest.mark.parametrize("count", [1, 3, 12, 90])
def test_a_picture_has_any_number_of_labels(count: int) -> None:
    drawn = picture(statistics_of([f"label {i}" for i in range(count)]), "my set")
    with Image.open(io.BytesIO(drawn)) as image:
        assert (image.format, image.size) == ("PNG", (1600, 960))


def test_the_picture_names_the_dataset_its_labels_and_the_hidden_ones() -> None:
    text = picture(statistics_of([f"label {i}" for i in range(50)]), "my set", format="svg").decode()
    assert "<!-- my set -->" in text
    assert "<!-- label 7 -->" in text
    assert "<!-- … 10 more … -->" in text
    assert "<!-- train -->" in text


def test_image_sizes_replace_pairs_if_no_labels_share_images() -> None:
    text = picture(statistics_of(["a", "b"], together=False), "x", format="svg").decode()
    assert "<!-- Image sizes (1 different) -->" in text
    assert "Labels that share images" not in text


@pytest.mark.parametrize("format", ["png", "pdf", "svg"])
def test_every_format_has_its_signature(format: str) -> None:
    assert picture(statistics_of(["a"]), "x", format=format).startswith(MAGIC[format])


def test_a_label_that_looks_like_a_formula_is_drawn_as_text() -> None:
    assert "<!-- $x_1$ -->" in picture(statistics_of(["$x_1$", "100%", r"\frac"]), "$", format="svg").decode()


def test_labels_in_any_script_are_drawn_without_a_warning() -> None:
    names = ["яблоко", "μήλο", "تفاح", "苹果", "りんご", "사과", "แอปเปิ้ล", "🍎", "\U00010fff"]
    text = picture(statistics_of(names), "яблоко", format="svg").decode()
    assert "<!-- яблоко -->" in text
    assert "<!-- #9 -->" in text  # no font has an unassigned character


def test_a_text_that_no_font_can_draw_becomes_its_number() -> None:
    shown, families = drawable(["plain", "un\U00010fffassigned", "naïve"])
    assert (shown, families[0]) == (["plain", "#2", "naïve"], "DejaVu Sans")


def test_a_long_name_is_shortened_in_the_middle() -> None:
    assert shortened("red blood cell, large, 2", 16) == "red blood …ge, 2"
    assert shortened("short", 5) == "short"
    assert len(shortened("x" * 99, 22)) == 22
