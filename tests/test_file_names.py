from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.file_names import LONGEST_NAME, safe_name, safe_names


@pytest.mark.parametrize("name", ["cat", "red blood cell", "яблоко", "苹果", "a.b", "c++", "50%", "it's", "console"])
def test_most_names_stay_as_they_are(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b", "a_b"),
        ("a\\b", "a_b"),
        ("../../etc", "__.._etc"),
        ("..", "_"),
        (".hidden", "_hidden"),
        ("", "_"),
        ("why?", "why_"),
        ("a:b*c", "a_b_c"),
        ("tab\there", "tab_here"),
        ("ends. ", "ends"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1", "_com1"),
    ],
)
def test_what_some_system_forbids_is_replaced(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_long_names_are_cut_at_a_whole_character() -> None:
    assert safe_name("苹" * 100) == "苹" * (LONGEST_NAME // 3)


def test_names_that_would_be_the_same_file_are_numbered() -> None:
    assert safe_names(["a/b", "a:b", "a_b"]) == ("a_b_2", "a_b_3", "a_b")
    assert safe_names(["Dog", "dog", "dog_2"]) == ("Dog", "dog_3", "dog_2")


@given(st.lists(st.text(max_size=8), unique=True, max_size=8))
def test_names_are_safe_and_different_on_every_system(names: list[str]) -> None:
    found = safe_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    assert all(name == safe_name(name) and "/" not in name and not name.startswith(".") for name in found)
