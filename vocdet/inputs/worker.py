"""What a process of a `Loader` does: make the batches that it is asked for, until its input ends."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import traceback
from collections.abc import Iterable
from typing import IO, Any

import cv2
import numpy as np

from vocdet.cpu import prepare_cpu
from vocdet.errors import VocdetError
from vocdet.inputs.stacks import Stack, stack

_LENGTH = struct.Struct("<Q")


def main() -> None:
    """Read the samples and then requests from the standard input, and write what they make to the standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    prepare_cpu()  # its memory is of one kind, batch after batch
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what anything prints is no answer
    serve(source, target)


def serve(source: IO[bytes], target: IO[bytes]) -> None:
    """Answer every request of `source` in `target`, and return when either has ended."""
    try:
        samples = _read(source)
        while True:
            request = _read(source)
            try:
                made = stack(samples, request)
            except VocdetError as error:
                _write(target, [_packed(error)])
            except Exception:  # a fault of vocdet or of OpenCV: the reader's traceback does not show where
                _write(target, [_packed(RuntimeError(traceback.format_exc()))])
            else:
                _write(target, [_packed(_rest(made)), np.ascontiguousarray(made.images).reshape(-1)])
    except (EOFError, OSError):  # nobody asks any more
        return


def _rest(made: Stack) -> tuple[object, ...]:
    """What a stack is made of beside its images."""
    return made.boxes, made.labels, made.rows, made.masks, made.sizes


def _read(source: IO[bytes]) -> Any:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content = source.read(length)
    if len(content) < length:
        raise EOFError
    return pickle.loads(content)


def _packed(answer: object) -> bytes:
    content = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(content)) + content


def _write(target: IO[bytes], parts: Iterable[Any]) -> None:
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[target.write(rest) :]
