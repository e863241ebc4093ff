"""Labels are one by their names, and rows follow them."""

from __future__ import annotations

import pytest

from vocdet.models.heads import matching_rows, same_label


@pytest.mark.parametrize(
    "names",
    [
        ("traffic light", "Traffic_Light", "traffic-light", "TRAFFIC  LIGHT", "trafficlight", " traffic light "),
        ("tv 1", "TV_1", "tv-1", "_tv_1"),
        ("Straße", "STRASSE"),
        ("red 猫", "Red_猫"),
    ],
)
def test_spellings_of_one_label(names: tuple[str, ...]) -> None:
    assert len({same_label(name) for name in names}) == 1


@pytest.mark.parametrize(
    "names", [("1-1", "11"), ("tv 1", "tv1"), ("cat", "cats"), ("hot dog", "dog"), ("-", "_"), ("Äpfel", "Apfel")]
)
def test_different_labels_stay_apart(names: tuple[str, ...]) -> None:
    assert len({same_label(name) for name in names}) == len(names)


def test_every_label_finds_its_row_or_none() -> None:
    assert matching_rows(("cat", "dog", "hot dog"), ("Dog", "owl", "hot-dog", "cat")) == [1, -1, 2, 0]


def test_the_same_spelling_goes_first() -> None:
    assert matching_rows(("Cat", "cat", "CAT"), ("cat", "CAT", "cAt")) == [1, 2, 0]


def test_a_row_of_no_label_is_nobodys() -> None:
    assert matching_rows(("", "cat", ""), ("", "n/a", "cat")) == [-1, -1, 1]
