from __future__ import annotations

from pathlib import Path

import pytest

from vocdet.errors import AnnotationError, ManyErrors
from vocdet.formats.shared.values import read_labels


def test_the_order_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufeffzebra\r\n\r\n  red  apple \r\ncafé\r\n".encode())
    assert read_labels(tmp_path / "labels.txt") == ("zebra", "red apple", "café")


def test_a_repeated_label_is_reported_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\ncat\ndog\ncat \n")
    with pytest.raises(ManyErrors) as caught:
        read_labels(tmp_path / "labels.txt")
    assert [error.problem for error in caught.value.errors] == [
        "repeats the label 'dog' of line 1",
        "repeats the label 'cat' of line 2",
    ]
    assert [str(error.place).rpartition(":")[2] for error in caught.value.errors] == ["3", "4"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"\n\n", "has no labels"), ("größe".encode("latin-1"), "is not UTF-8 text")],
)
def test_a_file_without_a_list_is_refused(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(AnnotationError, match=problem):
        read_labels(tmp_path / "labels.txt")


def test_a_missing_list_says_which(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"labels\.txt: the label list cannot be read"):
        read_labels(tmp_path / "labels.txt")
