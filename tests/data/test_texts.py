from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocdet.data.texts import Texts

columns = st.lists(st.binary(max_size=5) | st.just(b""), max_size=12)


def listed(texts: Texts) -> list[bytes]:
    return [texts[i] for i in range(len(texts))]


@given(columns)
def test_a_column_gives_back_its_texts(column: list[bytes]) -> None:
    texts = Texts.of(column)
    assert len(texts) == len(column)
    assert listed(texts) == column
    assert dict(texts.items()) == {i: text for i, text in enumerate(column) if text}
    assert texts.values() == [text for text in column if text]


@given(columns)
def test_only_texts_that_are_not_empty_take_room(column: list[bytes]) -> None:
    texts = Texts.of(column)
    assert len(texts.rows) == sum(map(bool, column))
    assert texts.data.tobytes() == b"".join(column)


@given(columns, st.data())
def test_rows_are_taken_in_the_given_order(column: list[bytes], data: st.DataObject) -> None:
    any_row = st.integers(-len(column), len(column) - 1)
    rows = data.draw(st.lists(any_row, max_size=20)) if column else []
    assert listed(Texts.of(column).take(rows)) == [column[row] for row in rows]


@given(columns, st.data())
def test_rows_are_taken_by_a_mask(column: list[bytes], data: st.DataObject) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=len(column), max_size=len(column)))
    taken = Texts.of(column).take(np.array(mask, np.bool_))
    assert listed(taken) == [text for text, keep in zip(column, mask, strict=True) if keep]


@given(st.lists(columns, max_size=4))
def test_columns_are_concatenated(parts: list[list[bytes]]) -> None:
    joined = Texts.join(map(Texts.of, parts))
    assert listed(joined) == [text for part in parts for text in part]


def test_a_column_of_few_texts_is_made_from_them() -> None:
    assert listed(Texts.sparse(4, {1: b"a", 2: b"", 3: b"bc"})) == [b"", b"a", b"", b"bc"]
    assert listed(Texts.empty(2)) == [b"", b""]


@pytest.mark.parametrize("row", [3, -1, 100])
def test_a_row_that_is_not_there_is_an_error(row: int) -> None:
    texts = Texts.of([b"a", b"", b"c"])
    with pytest.raises(IndexError):
        texts[row]
    with pytest.raises(IndexError):
        texts.take([0, row if row >= 0 else -4])
    with pytest.raises(IndexError):
        Texts.empty(3).take([row if row >= 0 else -4])


@pytest.mark.parametrize(
    ("count", "rows", "ends", "data", "problem"),
    [
        (3, [0, 1], [1], b"a", "2 rows and 1 ends"),
        (3, [1, 0], [1, 2], b"ab", "the rows of texts do not rise from 0 to 2"),
        (3, [1, 1], [1, 2], b"ab", "the rows of texts do not rise from 0 to 2"),
        (3, [3], [1], b"a", "the rows of texts do not rise from 0 to 2"),
        (3, [-1], [1], b"a", "the rows of texts do not rise from 0 to 2"),
        (3, [0, 1], [2, 1], b"a", "the texts do not fill their bytes"),
        (3, [0], [1], b"ab", "the texts do not fill their bytes"),
        (3, [], [], b"a", "the texts do not fill their bytes"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    count: int, rows: list[int], ends: list[int], data: bytes, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Texts(count, np.array(rows, np.int64), np.array(ends, np.int64), np.frombuffer(data, np.uint8))


def test_nothing_can_be_changed() -> None:
    texts = Texts.of([b"abc"])
    for column in (texts.rows, texts.ends, texts.data):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 7
