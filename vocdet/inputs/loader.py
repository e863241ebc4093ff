"""Batches made by several threads, or by processes of their own.

A process is `python -c "from vocdet.inputs.worker import main; main()"`, talked to through its standard input and
output. It imports neither torch nor the program that started it, so that it is there in half a second, works on every
system as on any other, and needs no `if __name__ == "__main__"` in a script. It ends when its input does: whatever
happens to the program, none is left.
"""

from __future__ import annotations

import os
import pickle
import queue
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vocdet.errors import VocdetError
from vocdet.inputs.samples import Batch, as_batch, requests, usual_order
from vocdet.inputs.stacks import Request, Samples, Stack, batch_shape, stack

AHEAD = 2  # batches that wait for every thread or process
PIPE = 1 << 20  # bytes that a process can hand over without being read
LENGTH = struct.Struct("<Q")


class Loader:
    """Makes the batches of a run: in the thread that asks, in `threads` of them, or in `workers` processes.

    The batches are the same, bit for bit, however they are made. Close it at the end, or use it in a `with` block. It
    is for one reader at a time; the processes stay from one epoch to the next.
    """

    def __init__(self, samples: Samples, *, workers: int = 0, threads: int = 1) -> None:
        if workers < 0 or threads < 1:
            raise ValueError(f"{workers} workers, {threads} threads")
        cv2.setNumThreads(1)  # images are small: what OpenCV's own threads gain is less than they take from others
        self._samples = samples
        self._count = workers or threads
        content = pickle.dumps(samples, pickle.HIGHEST_PROTOCOL) if workers else b""
        self._workers = [_Process(content) for _ in range(workers)]
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._pool = ThreadPoolExecutor(self._count, "vocdet-loader") if self._count > 1 or workers else None

    def batches(
        self,
        batch: int,
        *,
        seed: int,
        epoch: int,
        shuffle: bool = False,
        order: NDArray[np.int64] | None = None,
        skip: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[Batch]:
        """What `samples.batches` gives, with the same meanings; an image that cannot be read is an `ImageError`."""
        chosen = usual_order(self._samples, seed=seed, epoch=epoch, shuffle=shuffle) if order is None else order
        asked = requests(chosen, batch, seed=seed, epoch=epoch, skip=skip, rank=rank, world=world)
        if self._pool is None:
            return map(self._make, asked)
        return _in_order(self._begin, asked, AHEAD * self._count)

    def close(self) -> None:
        """End the threads and processes."""
        for worker in self._workers:
            worker.kill()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _begin(self, request: Request) -> Future[Batch]:
        assert self._pool is not None
        if not self._workers:
            return self._pool.submit(self._make, request)
        # the reader makes room for all: glibc gives every thread a heap of its own, each as large as it ever was
        return self._pool.submit(self._ask, request, np.empty(batch_shape(self._samples, request), np.uint8))

    def _make(self, request: Request) -> Batch:
        return as_batch(stack(self._samples, request))

    def _ask(self, request: Request, images: NDArray[np.uint8]) -> Batch:
        worker = self._idle.get()
        try:
            return worker.make(request, images)
        finally:
            self._idle.put(worker)


def _in_order(begin: Callable[[Request], Future[Batch]], asked: Iterable[Request], depth: int) -> Iterator[Batch]:
    """What becomes of each request, in the order asked; up to `depth` are begun ahead."""
    waiting: deque[Future[Batch]] = deque()
    try:
        for request in asked:
            waiting.append(begin(request))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class _Process:
    """A process that makes batches, one at a time."""

    def __init__(self, samples: bytes) -> None:
        code = f"import sys; sys.path[:] = {sys.path!r}; from vocdet.inputs.worker import main; main()"
        # a session of its own: Ctrl-C is for the program, which ends it
        apart: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=os.environ | single, **apart,
        )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._into: IO[bytes] = self._process.stdin
        self._from: IO[bytes] = self._process.stdout
        self._first = samples  # sent with the first request, when it has started
        _widen(self._from)

    def make(self, request: Request, images: NDArray[np.uint8]) -> Batch:
        """The batch of a request, in `images`. An error of the samples is raised as it is; so is a process's end."""
        try:
            if self._first:
                self._send(self._first)
                self._first = b""
            self._send(pickle.dumps(request))
            (length,) = LENGTH.unpack(self._receive(bytearray(LENGTH.size)))
            answer = pickle.loads(self._receive(bytearray(length)))
            if isinstance(answer, BaseException):
                raise answer
            if images.size:
                self._receive(images.data.cast("B"))
        except (OSError, EOFError, ValueError) as error:
            raise self._ended() from error
        return as_batch(Stack(images, *answer))

    def kill(self) -> None:
        """End the process, whatever it is at: it has nothing to lose."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close what was read from and written to."""
        for stream in (self._into, self._from):
            with suppress(OSError):
                stream.close()

    def _send(self, content: bytes) -> None:
        rest = memoryview(LENGTH.pack(len(content)) + content)
        while rest:
            rest = rest[self._into.write(rest) :]

    def _receive(self, buffer: bytearray | memoryview) -> bytearray | memoryview:
        rest = memoryview(buffer)
        while rest:
            count = self._from.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise EOFError
            rest = rest[count:]
        return buffer

    def _ended(self) -> VocdetError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
        return VocdetError(
            f"a process that reads images ended {how}",
            hint="the memory may be too small for so many: try again with fewer workers, or with 0",
        )


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold a good part of a batch, where the system has that."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
