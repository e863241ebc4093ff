from __future__ import annotations

import errno
import os

import pytest

from vocdet.wording import and_more, box_text, counted, did_you_mean, listed, nearest, reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (counted(1, "image"), "1 image"),
        (counted(0, "image"), "0 images"),
        (counted(2, "box", "boxes"), "2 boxes"),
        (listed([]), ""),
        (listed(["a", "b", "c"]), "a, b, c"),
        (listed(["a"], conjunction="or"), "a"),
        (listed(["a", "b", "c"], conjunction="or"), "a, b or c"),
        (listed(range(5), most=3), "0, 1, 2 and 2 more"),
        (listed(range(3), most=3, conjunction="and"), "0, 1 and 2"),
        (and_more(0), ""),
        (and_more(2), " and 2 more"),
        (and_more(1, "file"), " and 1 more file"),
        (and_more(3, "file"), " and 3 more files"),
        (box_text([1.0, 2.5, 10, 20]), "1 2.5 10 20"),
    ],
)
def test_values_read_as_english(text: str, expected: str) -> None:
    assert text == expected


def test_the_nearest_match_ignores_case_dashes_and_small_slips() -> None:
    assert nearest("Racoon", ["dog", "raccoon"]) == "raccoon"
    assert nearest("mobile-net", ["mobile_net", "resnet"]) == "mobile_net"
    assert nearest("zebra", ["dog", "raccoon"]) == ""


def test_a_hint_names_the_nearest_match() -> None:
    assert did_you_mean("racoon", ["raccoon"]) == "did you mean 'raccoon'?"
    assert did_you_mean("zebra", ["raccoon"]) == ""


def test_a_very_long_word_is_compared_by_its_beginning() -> None:
    assert nearest("x" * 100_000, ["x" * 90]) == "x" * 90


def test_the_reason_of_an_error_of_the_system_is_in_lower_case() -> None:
    assert reason(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.xml")) == "no such file or directory"
    assert reason(OSError("Disk Gone")) == "disk gone"
