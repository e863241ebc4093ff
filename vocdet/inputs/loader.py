"""Batches made by several threads, or by processes."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from vocdet.cpu import prepare_cpu
from vocdet.errors import TrainingError, VocdetError
from vocdet.inputs.batches import Batch, BatchRequest, EpochPlan, make_batch
from vocdet.inputs.samples import Samples

BATCHES_AHEAD = 2  # batches that wait for every thread or process
START_METHOD = (
    "fork" if sys.platform == "linux" else "spawn"
)  # of processes; forked ones share memory and start at once


class Loader:
    """Makes the batches of a run: in the calling thread, in several `threads`, or in `workers` processes.

    The batches are the same, bit for bit, in all cases. Close it at the end, or use it in a `with` block. It serves
    one reader at a time: a new pass ends the one before. Processes persist from one epoch to the next.
    """

    def __init__(
        self, samples: Samples, *, workers: int = 0, threads: int = 1, start_method: str = START_METHOD
    ) -> None:
        if workers < 0 or threads < 1:
            raise ValueError(f"{workers} workers, {threads} threads")
        cv2.setNumThreads(1)  # images are small: OpenCV's own threads cost the others more than they gain
        self._samples = samples
        self._ahead = BATCHES_AHEAD * threads
        self._workers = _Workers(samples, workers, start_method) if workers else None
        self._pool = ThreadPoolExecutor(threads, "vocdet-loader") if threads > 1 and not workers else None

    def batches(self, plan: EpochPlan) -> Iterator[Batch]:
        """The batches of an epoch. An image that cannot be read is an `ImageError`, a process that dies a
        `TrainingError`.
        """
        requests = plan.requests(self._samples)
        if self._workers is not None:
            return self._workers.batches(requests)
        if self._pool is not None:
            pool = self._pool
            return _in_order(lambda request: pool.submit(self._make, request), requests, self._ahead)
        return map(self._make, requests)

    def close(self) -> None:
        """End the threads and processes."""
        if self._workers is not None:
            self._workers.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _make(self, request: BatchRequest) -> Batch:
        return make_batch(self._samples, request)


def _in_order(
    submit: Callable[[BatchRequest], Future[Batch]], requests: Iterable[BatchRequest], depth: int
) -> Iterator[Batch]:
    """The batch of each request, in order; up to `depth` are submitted ahead."""
    waiting: deque[Future[Batch]] = deque()
    try:
        for request in requests:
            waiting.append(submit(request))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class _Batches(Dataset["Batch | VocdetError"]):
    """Batches by request, as a `DataLoader` reads them."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __getitem__(self, request: BatchRequest) -> Batch | VocdetError:
        try:
            return make_batch(self._samples, request)
        except VocdetError as error:  # returned, as a DataLoader raises errors again without their place and hint
            return error


class _Requests:
    """The sampler of a `DataLoader` whose order changes from epoch to epoch."""

    def __init__(self) -> None:
        self.pending: Iterable[BatchRequest] = ()

    def __iter__(self) -> Iterator[BatchRequest]:
        return iter(self.pending)


class _Workers:
    """A `DataLoader` with persistent processes."""

    def __init__(self, samples: Samples, count: int, start_method: str) -> None:
        self._requests = _Requests()
        self._loader: DataLoader[Batch | VocdetError] | None = DataLoader(
            _Batches(samples), batch_size=None, sampler=self._requests, collate_fn=_same_item, num_workers=count,
            worker_init_fn=_prepare_worker, persistent_workers=True, prefetch_factor=BATCHES_AHEAD,
            multiprocessing_context=start_method, generator=torch.Generator(),
        )  # fmt: skip
        self._lock = threading.Lock()  # a reader may be a thread that has not noticed the end of its pass
        self._pass: object = None
        with _process_start():
            others = multiprocessing.active_children()
            self._items: Iterator[Batch | VocdetError] = iter(self._loader)
            self._processes = [process for process in multiprocessing.active_children() if process not in others]

    def batches(self, requests: Iterable[BatchRequest]) -> Iterator[Batch]:
        current = object()
        with self._lock, _worker_errors():
            if self._loader is None:
                raise ValueError("the loader is closed")
            self._pass, self._requests.pending = current, requests
            self._items = iter(self._loader)
        while True:
            with self._lock, _worker_errors():
                item = next(self._items, None) if self._pass is current else None
            if item is None:
                return
            if isinstance(item, VocdetError):
                raise item
            yield item

    def close(self) -> None:
        with self._lock:
            self._pass = self._loader = None
            # torch asks the processes to end, while all are alive: one that is terminated can leave a lock behind
            # that torch would wait for
            self._items = iter(())
            for process in self._processes:
                process.terminate()  # where it has not ended: it has nothing to lose
            for process in self._processes:
                process.join()


def _same_item(item: Any) -> Any:
    return item


def _prepare_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program, which ends its workers
    sys.excepthook = _report
    cv2.setNumThreads(1)
    prepare_cpu()  # batches of one size, again and again


def _report(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    """Report what a thread of a process raises, unless the program has stopped while it took over a batch."""
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, at)


@contextmanager
def _process_start() -> Iterator[None]:
    """Inside, processes start that ignore Ctrl-C from the beginning.

    The `DataLoader` installs a handler that raises an error anywhere in the main thread when a process dies. Its
    reader notices that, too, so the handler is removed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT] + ([signal.SIGCHLD] if sys.platform != "win32" else [])
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with warnings.catch_warnings():  # a forked process runs NumPy and OpenCV in one thread, and needs no lock
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def _worker_errors() -> Iterator[None]:
    """Raise a `TrainingError` where a process has died."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:  # the last two while it hands over a batch
        if isinstance(error, RuntimeError) and "DataLoader worker (pid" not in str(error):
            raise
        raise TrainingError(
            f"a process that reads images has died: {error}",
            hint="the memory, or the shared memory of a container, may be too small: use fewer `workers=`, or "
            "`workers=0`",
        ) from error
