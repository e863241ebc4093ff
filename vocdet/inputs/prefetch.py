"""Items prepared in the background."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

AHEAD = 8  # images decoded in advance, where images are read one at a time


def prefetch(make: Callable[[], Iterable[T]], depth: int = 4, *, wait: bool = False) -> Generator[T, None, None]:
    """The items of `make()`, prepared by a thread up to `depth` items ahead. An error in it is raised here.

    With `wait`, closing the iterator waits for the thread: what `make()` reads may be closed afterwards.

    A thread is enough: decoding and resampling release the interpreter lock.
    """
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: T | None, error: BaseException | None) -> bool:
        while not stop.is_set() and threading.main_thread().is_alive():
            try:
                ready.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in make():
                if not put(item, None):
                    return
            put(None, None)
        except BaseException as error:  # passed to the reader, which raises it
            put(None, error)

    # not a daemon: a daemon thread that is still in C++ code when Python exits aborts the process
    worker = threading.Thread(target=work)
    try:
        worker.start()
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        if wait and worker.ident:
            worker.join()
