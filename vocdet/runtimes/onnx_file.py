"""The metadata of an ONNX file, and a look at all of its structure, before any library opens it.

A file may name others that hold its weights, anywhere on the disk: those are refused, and never opened. The messages
and field numbers are those of onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vocdet.errors import CheckpointError
from vocdet.files import FileTooLargeError, read_limited
from vocdet.wording import reason

LARGEST_ONNX = 1 << 31  # bytes, the limit of a protobuf
_DEEPEST = 32  # graphs inside graphs
_DAMAGED = "the file is damaged: export it again"

# The messages in which a tensor can be, by the number of the field that holds them.
_INSIDE = {
    "model": {7: "graph", 14: "metadata", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL, _LOCATION = 13, 14  # fields of a tensor: its place in another file, and that it is there


def read_onnx(path: Path) -> tuple[bytes, dict[str, str]]:
    """The bytes of an ONNX file and its metadata; anything but a whole model in one file is a `CheckpointError`."""
    try:
        data = read_limited(path, LARGEST_ONNX)
    except FileTooLargeError as error:
        raise CheckpointError("is larger than an ONNX file can be", place=path, hint=_DAMAGED) from error
    except OSError as error:
        hint = "export a run with `vocdet.export(run)`"
        raise CheckpointError(f"cannot be read: {reason(error)}", place=path, hint=hint) from error
    texts: dict[str, str] = {}
    try:
        graphs = _walk(memoryview(data), "model", path, texts, 0)
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(_problem(data), place=path, hint=_DAMAGED) from error
    if not graphs:
        raise CheckpointError(_problem(data), place=path, hint="give a file that `vocdet.export(run)` wrote")
    return data, texts


def _problem(data: bytes) -> str:
    if data[:64].lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a web page, not an ONNX file"
    return "is not an ONNX file, or incomplete"


def _walk(data: memoryview, kind: str, path: Path, texts: dict[str, str], depth: int) -> int:
    """Look at a message and those in it, collect the metadata of the model, and return the number of its graphs."""
    if depth > 4 * _DEEPEST:
        raise ValueError("nested too deeply")
    graphs = 0
    for field, value in _fields(data):
        if kind == "tensor" and (field == _EXTERNAL or (field == _LOCATION and value)):
            problem, hint = "keeps its weights in other files, which are not opened", "save it with all weights inside"
            raise CheckpointError(problem, place=path, hint=hint)
        inner = _INSIDE[kind].get(field, "")
        if not inner:
            continue
        if isinstance(value, int):
            raise ValueError("a number in place of a message")
        if inner == "metadata":
            entry = dict(_fields(value))
            key, text = (entry.get(i, b"") for i in (1, 2))
            if isinstance(key, int) or isinstance(text, int):
                raise ValueError("a number in place of a text")
            texts[bytes(key).decode()] = bytes(text).decode()
            continue
        graphs += kind == "model" and inner == "graph"
        _walk(value, inner, path, texts, depth + 1)
    return graphs


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and value or bytes. `IndexError` where it ends too early."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield field, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(wire, -1)
        if length < 0 or not field:
            raise ValueError("not a protobuf")
        if at + length > len(data):
            raise IndexError("ends too early")
        yield field, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A varint and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("not a number")
