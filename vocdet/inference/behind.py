"""Writing behind the detector: several threads draw, and one writes in order, while the next images are detected."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vocdet.errors import VocdetError

T = TypeVar("T")
D = TypeVar("D")

DRAWERS = 2  # threads
BEHIND = 4  # items that wait to be drawn or written


def written_behind(
    items: Iterable[T], draw: Callable[[T], D], write: Callable[[T, D], object]
) -> Generator[tuple[T, VocdetError | None], None, None]:
    """Every item once it is drawn and written, with the error that kept it from being so.

    `draw` runs in several threads, `write` in one, in the order of the items. Other errors than a `VocdetError` are
    raised. Closing the iterator waits until what was begun is written.
    """
    waiting: deque[tuple[T, Future[object]]] = deque()
    with ThreadPoolExecutor(DRAWERS) as drawers, ThreadPoolExecutor(1) as writer:
        for item in items:
            waiting.append((item, writer.submit(_write_drawn, item, drawers.submit(draw, item), write)))
            while len(waiting) > BEHIND or (waiting and waiting[0][1].done()):
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())


def _write_drawn(item: T, drawn: Future[D], write: Callable[[T, D], object]) -> object:
    return write(item, drawn.result())


def _result(item: T, written: Future[object]) -> tuple[T, VocdetError | None]:
    try:
        written.result()
    except VocdetError as error:
        return item, error
    return item, None
