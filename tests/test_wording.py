from __future__ import annotations

import errno
import os
from typing import Annotated

import msgspec
import pytest

from vocdet.wording import and_more, box_text, counted, did_you_mean, json_reason, listed, nearest, reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (counted(1, "image"), "1 image"),
        (counted(0, "image"), "0 images"),
        (counted(1.0, "minute"), "1 minute"),
        (counted(2.5, "minute"), "2.5 minutes"),
        (counted(1_234_567, "object"), "1234567 objects"),
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


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    points: list[list[float]] = []
    count: Annotated[int, msgspec.Meta(ge=0)] = 0
    name: str | None = None
    size: tuple[int, int] = (1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it ends too early"),
        (b'{"count": nul}', "it is not JSON: invalid character at byte 14"),
        (b"[1]", "it is a list, not an object"),
        (b'{"points": [5]}', "points[0] is a whole number, not a list"),
        (b'{"points": [[1, "2"]]}', "points[0][1] is a text, not a number"),
        (b'{"name": true}', "name is true or false, not a text or null"),
        (b'{"count": -1}', "count must be a whole number >= 0"),
        (b'{"size": [1]}', "size must be a list of length 2"),
        (b'{"extra": 1}', "it has the unknown key 'extra'"),
        (b'{"points": [[1e999]]}', "a number is too large"),
        (b'{"name": "\xff"}', "it is not UTF-8 text"),
    ],
)
def test_the_reason_why_json_cannot_be_used_is_in_plain_words(text: bytes, said: str) -> None:
    with pytest.raises(Exception) as caught:
        msgspec.json.decode(text, type=_Entry)
    assert json_reason(caught.value) == said


def test_no_reason_is_in_the_words_of_a_parser() -> None:
    assert json_reason(msgspec.ValidationError("Some words of a later release")) == "it is invalid"
    assert json_reason(ValueError("Exceeds the limit (4300 digits)")) == "a number has too many digits"
    assert json_reason(ValueError("larger than 64 MB")) == "larger than 64 MB"
    assert json_reason(PermissionError(13, "Permission denied")) == "permission denied"
