"""Writing behind the detector: in order, with errors where they belong."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from vocdet.errors import OutputError
from vocdet.inference.behind import written_behind


def test_items_are_drawn_in_threads_and_written_in_order() -> None:
    other = threading.Event()
    written: list[tuple[int, str]] = []

    def draw(item: int) -> str:
        if item == 0:
            assert other.wait(10)  # the second is drawn meanwhile
        else:
            other.set()
        return str(item)

    done = list(written_behind(range(9), draw, lambda item, text: written.append((item, text))))
    assert done == [(i, None) for i in range(9)]
    assert written == [(i, str(i)) for i in range(9)]


def test_an_error_belongs_to_its_item_and_other_exceptions_end_all() -> None:
    def draw(item: int) -> int:
        if item == 1:
            raise OutputError("full")
        if item == 3:
            raise ZeroDivisionError
        return item

    written: list[int] = []
    results = written_behind(range(5), draw, lambda item, _: written.append(item))
    with closing(results):
        outcomes = [next(results) for _ in range(3)]
        assert [(item, str(error) if error else "") for item, error in outcomes] == [(0, ""), (1, "full"), (2, "")]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_closing_waits_until_what_was_begun_is_written() -> None:
    written: list[int] = []
    results = written_behind(iter(range(100)), lambda item: item, lambda item, _: written.append(item))
    next(results)
    results.close()
    count = len(written)
    assert written == list(range(count))
    assert 1 <= count <= 6
