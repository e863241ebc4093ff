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


def figures_of(labels: Sequence[str], *, together: bool = True) -> Stats:
    """Figures of an image for every label, with three objects of it and one of the next label."""
    n = len(labels)
    label = np.array([(i, i, i, (i + together) % n) for i in range(n)], np.int32).ravel()
    low = np.arange(4 * n)[:, None] % 50 + np.zeros((1, 2))
    box = np.concatenate([low, low + 1 + np.arange(4 * n)[:, None] % 40 * np.array([1, 2])], axis=1)
    no, stems, side = np.zeros(4 * n, np.bool_), tuple(map(str, range(n))), np.full(n, 200)
    objects = Objects(np.repeat(np.arange(n), 4), label, box, no, no, no, no, np.zeros(4 * n, np.int32))
    dataset = Dataset(Path(), tuple(labels), Images(stems, stems, side, side, stems), objects)
    return stats(dataset, {"train": np.arange(n - n // 3), "val": np.arange(n - n // 3, n)})


@pytest.mark.parametrize("count", [1, 3, 12, 90])
def test_any_number_of_labels_makes_a_picture(count: int) -> None:
    drawn = picture(figures_of([f"label {i}" for i in range(count)]), "my set")
    with Image.open(io.BytesIO(drawn)) as image:
        assert (image.format, image.size) == ("PNG", (1600, 960))


def test_the_picture_names_the_set_its_labels_and_what_is_not_shown() -> None:
    text = picture(figures_of([f"label {i}" for i in range(50)]), "my set", format="svg").decode()
    assert "<!-- my set -->" in text
    assert "<!-- label 7 -->" in text
    assert "<!-- … 10 more … -->" in text
    assert "<!-- train -->" in text


def test_labels_that_share_no_image_give_way_to_the_sizes_of_images() -> None:
    text = picture(figures_of(["a", "b"], together=False), "x", format="svg").decode()
    assert "<!-- Sizes of the images, 1 kind -->" in text
    assert "Labels that share images" not in text


@pytest.mark.parametrize("format", ["png", "pdf", "svg"])
def test_each_format_is_what_it_says(format: str) -> None:
    assert picture(figures_of(["a"]), "x", format=format).startswith(MAGIC[format])


def test_what_looks_like_a_formula_is_a_name_like_any_other() -> None:
    assert "<!-- $x_1$ -->" in picture(figures_of(["$x_1$", "100%", r"\frac"]), "$", format="svg").decode()


def test_names_in_any_script_are_drawn_without_a_warning() -> None:
    names = ["яблоко", "μήλο", "تفاح", "苹果", "りんご", "사과", "แอปเปิ้ล", "🍎", "\U00010fff"]
    text = picture(figures_of(names), "яблоко", format="svg").decode()
    assert "<!-- яблоко -->" in text
    assert "<!-- #9 -->" in text  # no font has a character that is not assigned


def test_a_text_that_no_font_has_becomes_its_number() -> None:
    shown, families = drawable(["plain", "un\U00010fffassigned", "naïve"])
    assert (shown, families[0]) == (["plain", "#2", "naïve"], "DejaVu Sans")


def test_a_long_name_loses_its_middle() -> None:
    assert shortened("red blood cell, large, 2", 16) == "red blood …ge, 2"
    assert shortened("short", 5) == "short"
    assert len(shortened("x" * 99, 22)) == 22
