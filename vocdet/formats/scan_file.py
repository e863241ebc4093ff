"""A `Scan` in one safetensors file, for the cache.

Arrays are tensors; all strings are one more tensor, of JSON. The metadata holds a `Header` and a checksum of it and of
all tensors, so that a single flipped bit is refused.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from vocdet.data.dataset import OBJECT_TYPES, Dataset, Images, Objects
from vocdet.data.findings import Finding, Severity
from vocdet.data.levels import Levels
from vocdet.data.texts import Texts
from vocdet.errors import DatasetError, Place
from vocdet.files import write_bytes
from vocdet.formats.scan import Coordinates, FormatName, Scan, uncollected
from vocdet.wording import reason

SCAN_VERSION = 4

Columns = dict[str, NDArray[Any]]

_LENGTH = 8  # bytes at the start of a safetensors file: the length of its JSON
_TYPES = {"BOOL": "?", "U8": "|u1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F64": "<f8"}
_TEXT_TENSOR = "text"  # the tensor of all strings
_TEXT_COLUMNS: dict[str, type[np.generic]] = {"rows": np.int64, "ends": np.int64, "data": np.uint8}


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata of a file."""

    version: int
    about: dict[str, str]  # the argument of `save`


class _Metadata(msgspec.Struct, frozen=True):
    header: str
    checksum: str


class _Tensor(msgspec.Struct, frozen=True):
    dtype: Literal["BOOL", "U8", "I16", "I32", "I64", "F64"]
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]  # of its first byte and behind its last, from the end of the JSON


class _Finding(msgspec.Struct, frozen=True):
    code: str
    severity: Severity
    problem: str
    path: str
    line: int
    inside: str
    hint: str
    count: int


class _Text(msgspec.Struct, frozen=True):
    """The strings of a scan."""

    root: str
    entries: str
    reason: str
    kind: str
    format: FormatName
    label_source: str
    others: tuple[FormatName, ...]
    coordinates: Coordinates
    labels: tuple[str, ...]
    poses: tuple[str, ...]
    stems: tuple[str, ...]
    files: tuple[str, ...]
    sources: tuple[str, ...]
    splits: tuple[str, ...]
    left_out: dict[str, str]
    levels: Levels | None
    findings: tuple[_Finding, ...]


def save(path: Path, scan: Scan, *, about: Mapping[str, str] | None = None) -> None:
    """Write a file from which `load` restores every column. It replaces an existing file as a whole.

    `about` is for `read_header` and may hold anything. There is no fsync: `load` refuses a file that a crash has torn.
    An `OutputError` if the file cannot be written.
    """
    columns = _columns(scan)
    header = msgspec.json.encode(Header(SCAN_VERSION, dict(about or {}))).decode()
    data = safetensors.numpy.save(columns, {"header": header, "checksum": _checksum(header, columns)})
    write_bytes(path, data, sync=False, private=True)


def load(path: Path) -> Scan:
    """The scan in a file; a `DatasetError` for anything but a complete file of this version."""
    with _refusing(path):
        if path.exists() and not path.is_file():
            raise ValueError("not a file")  # opening a pipe would wait for its other end
        with path.open("rb") as file:
            return read_scan(file)


def read_header(file: BufferedReader) -> Header:
    """The metadata of an open file, whose columns are not read; a `DatasetError` as from `load`."""
    with _refusing(Path(file.name)):
        return _header(_metadata_of(file)[0])


def read_scan(file: BufferedReader) -> Scan:
    """The scan in an open file; a `DatasetError` as from `load`."""
    with _refusing(Path(file.name)):
        metadata, tensors = _metadata_of(file)
        _header(metadata)
        columns = _read_columns(file, tensors)
        if metadata.checksum != _checksum(metadata.header, columns):
            raise ValueError("it is damaged")
        return _scan(columns)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever a broken or hostile file causes into one kind of error."""
    try:
        with uncollected():
            yield
    except OSError as error:
        raise DatasetError(f"cannot be read: {reason(error)}", place=path, hint="check its permissions") from error
    except (ValueError, LookupError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise DatasetError(f"invalid cache file: {error}", place=path, hint="delete it") from error


def _metadata_of(file: BufferedReader) -> tuple[_Metadata, dict[str, msgspec.Raw]]:
    """The metadata of a safetensors file, and the JSON of its tensors; the file is then at the first tensor."""
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH), "little")
    if length > os.fstat(file.fileno()).st_size - _LENGTH:
        raise ValueError("it is incomplete")
    tensors = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
    return msgspec.json.decode(tensors.pop("__metadata__"), type=_Metadata), tensors


def _read_columns(file: BufferedReader, tensors: Mapping[str, msgspec.Raw]) -> Columns:
    """The tensors as read-only views of one buffer; the functions of safetensors copy the file twice."""
    buffer = np.empty(os.fstat(file.fileno()).st_size - file.tell(), np.uint8)
    if file.readinto(buffer.data) != len(buffer):
        raise ValueError("it is incomplete")
    buffer.setflags(write=False)
    columns: Columns = {}
    for name, raw in tensors.items():
        tensor = msgspec.json.decode(raw, type=_Tensor)
        first, end = tensor.data_offsets
        if not 0 <= first <= end <= len(buffer):
            raise ValueError("it is incomplete")
        columns[name] = buffer[first:end].view(_TYPES[tensor.dtype]).reshape(tensor.shape)
    return columns


def _header(metadata: _Metadata) -> Header:
    header = msgspec.json.decode(metadata.header, type=Header)
    if header.version != SCAN_VERSION:
        raise ValueError(f"version {header.version}, not {SCAN_VERSION}")
    return header


def _checksum(header: str, columns: Columns) -> str:
    """A CRC-32 of the header and of the names, types, shapes and values of all columns."""
    checksum = zlib.crc32(header.encode())
    for name in sorted(columns):
        column = columns[name]
        checksum = zlib.crc32(f"{name} {column.dtype.str} {column.shape}".encode(), checksum)
        checksum = zlib.crc32(column.reshape(-1).view(np.uint8).data, checksum)
    return f"{checksum:08x}"


def _columns(scan: Scan) -> Columns:
    dataset = scan.dataset
    columns: Columns = {"extra": np.frombuffer(dataset.extra, np.uint8)}
    for table, values in (("images", dataset.images), ("objects", dataset.objects)):
        for field in fields(values):
            column = getattr(values, field.name)
            if isinstance(column, Texts):
                columns |= {f"{table}.{field.name}.{part}": getattr(column, part) for part in _TEXT_COLUMNS}
            elif isinstance(column, np.ndarray):
                columns[f"{table}.{field.name}"] = column
    columns |= {f"splits.{i}": rows for i, rows in enumerate(dataset.splits.values())}
    text = msgspec.to_builtins(_text_of(scan), str_keys=True)
    columns[_TEXT_TENSOR] = np.frombuffer(json.dumps(text).encode(), np.uint8)  # json escapes surrogates of file names
    return {name: np.ascontiguousarray(column) for name, column in columns.items()}


def _text_of(scan: Scan) -> _Text:
    dataset, images = scan.dataset, scan.dataset.images
    findings = tuple(
        _Finding(f.code, f.severity, f.problem, str(f.place.path), f.place.line, f.place.inside, f.hint, f.count)
        for f in scan.findings
    )
    return _Text(str(dataset.root), dataset.entries, scan.reason, scan.kind, scan.format, scan.label_source,
                 scan.others, scan.coordinates, dataset.labels, dataset.poses, images.stems, images.files,
                 images.sources, tuple(dataset.splits), dict(scan.left_out), dataset.levels, findings)  # fmt: skip


def _scan(columns: Columns) -> Scan:
    text = _strings(columns[_TEXT_TENSOR].data)
    sizes = {name: _column(columns, f"images.{name}", np.int32) for name in ("widths", "heights")}
    count = len(sizes["widths"])
    extra = _texts(columns, "images.extra", count)
    exif, upright = _column(columns, "images.exif", np.uint8), _column(columns, "images.upright", np.bool_)
    images = Images(text.stems, text.files, sources=text.sources, extra=extra, exif=exif, upright=upright, **sizes)
    table: dict[str, Any] = {
        name: _column(columns, f"objects.{name}", kind, 2 if name == "box" else 1)
        for name, kind in OBJECT_TYPES.items()
    }
    for name in ("segmentation", "extra"):
        table[name] = _texts(columns, f"objects.{name}", len(table["image"]))
    splits = {name: _column(columns, f"splits.{i}", np.int64) for i, name in enumerate(text.splits)}
    whole = _column(columns, "extra", np.uint8).tobytes()
    dataset = Dataset(Path(text.root), text.labels, images, Objects(**table), text.poses, whole, text.entries, splits,
                      text.levels)  # fmt: skip
    findings = tuple(
        Finding(f.code, f.severity, f.problem, Place(Path(f.path), f.line, f.inside), f.hint, f.count)
        for f in text.findings
    )
    return Scan(
        dataset,
        findings,
        text.coordinates,
        text.reason,
        text.left_out,
        text.format,
        text.kind,
        text.label_source,
        text.others,
    )


def _strings(data: memoryview) -> _Text:
    try:
        return msgspec.json.decode(data, type=_Text)
    except msgspec.DecodeError:  # also for a surrogate without its pair, which json reads
        return msgspec.convert(json.loads(data.tobytes()), _Text)


def _column(columns: Columns, name: str, kind: type[np.generic], sides: int = 1) -> NDArray[Any]:
    """A read-only column of one type; a box has four sides."""
    column = columns[name]
    if column.dtype != kind or column.ndim != sides or (sides == 2 and column.shape[1] != 4):
        raise ValueError(f"{name} is of type {column.dtype} and shape {column.shape}")
    return column


def _texts(columns: Columns, name: str, count: int) -> Texts:
    rows, ends, data = (_column(columns, f"{name}.{part}", kind) for part, kind in _TEXT_COLUMNS.items())
    return Texts(count, rows, ends, data)
