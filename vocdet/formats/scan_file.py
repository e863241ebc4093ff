"""A `Scan` in one safetensors file, for the cache.

A column is stored in the narrowest type that holds it exactly, and left out if all its values are the default. The
metadata holds a `Header` and a checksum of it and of all columns, so that a single flipped bit is refused.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding, Severity
from vocdet.data.texts import Texts
from vocdet.errors import DatasetError, Place
from vocdet.files import unwritable
from vocdet.formats.scan import Scan, uncollected
from vocdet.formats.source import Coordinates, FormatName
from vocdet.wording import reason

VERSION = 2

_INTEGERS = ("|u1", "<u2", "<i2", "<i4", "<u4", "<i8")  # narrowest first
_FLOATS = ("<i2", "<f4")
_BLOCK = 1 << 16  # numbers to compare at a time: they fit in the processor's cache
_FLAGS = ("difficult", "truncated", "occluded", "crowd")
_LENGTH = 8  # bytes at the start of a safetensors file: the length of its JSON


class _Strings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int
    separator: str  # stands between two strings, and in none of them


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata of a file."""

    version: int
    about: dict[str, str]  # the argument of `save`
    format: FormatName
    coordinates: Coordinates
    strings: dict[str, _Strings]


class _Metadata(msgspec.Struct, frozen=True):
    header: str
    checksum: str


class _Json(msgspec.Struct, frozen=True):
    """The JSON of a safetensors file, as far as `read_header` needs it."""

    metadata: _Metadata = msgspec.field(name="__metadata__")


def save(path: Path, scan: Scan, *, about: Mapping[str, str] | None = None) -> None:
    """Write a file from which `load` restores every column. It replaces an existing file as a whole.

    `about` is for `read_header` and may hold anything. There is no fsync: `load` refuses a file that a crash has torn.
    An `OutputError` if the file cannot be written.
    """
    out = _Writer()
    _write(out, scan)
    header = msgspec.json.encode(Header(VERSION, dict(about or {}), scan.format, scan.coordinates, out.counts)).decode()
    data = safetensors.numpy.save(out.columns, {"header": header, "checksum": _checksum(header, out.columns)})
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary:
            with suppress(OSError):
                Path(temporary).unlink()
        if isinstance(error, OSError):
            raise unwritable(path, error) from error
        raise


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
        return _header(_metadata(file))


def read_scan(file: BufferedReader) -> Scan:
    """The scan in an open file; a `DatasetError` as from `load`."""
    with _refusing(Path(file.name)):
        metadata = _metadata(file)
        header = _header(metadata)
        file.seek(0)
        columns = safetensors.numpy.load(file.read())
        if metadata.checksum != _checksum(metadata.header, columns):
            raise ValueError("it is damaged")
        return _read(_Reader(header, columns))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn whatever a broken or hostile file causes into one kind of error."""
    try:
        with uncollected():
            yield
    except OSError as error:
        raise DatasetError(f"cannot be read: {reason(error)}", place=path, hint="check its permissions") from error
    except (SafetensorError, ValueError, LookupError, OverflowError, msgspec.MsgspecError) as error:
        raise DatasetError(f"invalid cache file: {error}", place=path, hint="delete it") from error


def _metadata(file: BufferedReader) -> _Metadata:
    file.seek(0)
    length = int.from_bytes(file.read(_LENGTH), "little")
    if length > os.fstat(file.fileno()).st_size - _LENGTH:
        raise ValueError("it is incomplete")
    return msgspec.json.decode(file.read(length), type=_Json).metadata


def _header(metadata: _Metadata) -> Header:
    header = msgspec.json.decode(metadata.header, type=Header)
    if header.version != VERSION:
        raise ValueError(f"version {header.version}, not {VERSION}")
    return header


def _checksum(header: str, columns: Mapping[str, NDArray[Any]]) -> str:
    """A CRC-32 of the header and of the names, types, shapes and values of all columns."""
    checksum = zlib.crc32(header.encode())
    for name in sorted(columns):
        column = columns[name]
        checksum = zlib.crc32(f"{name} {column.dtype.str} {column.shape}".encode(), checksum)
        checksum = zlib.crc32(column.reshape(-1).view(np.uint8).data, checksum)
    return f"{checksum:08x}"


def _write(out: _Writer, scan: Scan) -> None:
    dataset, images, objects = scan.dataset, scan.dataset.images, scan.dataset.objects
    out.strings("texts", (str(dataset.root), dataset.entries, scan.reason, scan.kind))
    out.strings("labels", dataset.labels)
    out.strings("poses", dataset.poses)
    out.put("extra", np.frombuffer(dataset.extra, np.uint8))
    for name in ("stems", "files", "sources"):
        out.strings(f"images.{name}", getattr(images, name))
    out.put("images.widths", _narrow(images.widths))
    out.put("images.heights", _narrow(images.heights))
    out.texts("images.extra", images.extra)
    out.put("objects.box", _narrow(objects.box))
    out.put("objects.per_image", _narrow(np.bincount(objects.image, minlength=len(images))))
    for name in ("label", "line", "pose"):
        if getattr(objects, name).any():
            out.put(f"objects.{name}", _narrow(getattr(objects, name)))
    for name in _FLAGS:
        if getattr(objects, name).any():
            out.put(f"objects.{name}", np.packbits(getattr(objects, name)))
    if not np.isnan(objects.area).all():
        out.put("objects.area", _narrow(objects.area))
    out.texts("objects.segmentation", objects.segmentation)
    out.texts("objects.extra", objects.extra)
    out.strings("left_out", tuple(scan.left_out))
    out.strings("left_out.why", tuple(scan.left_out.values()))
    out.strings("splits", tuple(dataset.splits))
    for i, rows in enumerate(dataset.splits.values()):
        out.put(f"splits.{i}", _narrow(rows))
    _write_findings(out, scan.findings)


def _write_findings(out: _Writer, findings: Sequence[Finding]) -> None:
    for name in ("code", "severity", "problem", "hint"):
        out.strings(f"findings.{name}", [getattr(finding, name) for finding in findings])
    out.strings("findings.path", [str(finding.place.path) for finding in findings])
    out.strings("findings.inside", [finding.place.inside for finding in findings])
    out.put("findings.line", _narrow(np.array([finding.place.line for finding in findings], np.int64)))
    out.put("findings.count", _narrow(np.array([finding.count for finding in findings], np.int64)))


def _read(file: _Reader) -> Scan:
    root, entries, reason, kind = file.strings("texts")
    images, objects = _read_images(file), _read_objects(file)
    extra = file.numbers("extra", np.uint8).tobytes()
    splits = {name: file.numbers(f"splits.{i}", np.int64) for i, name in enumerate(file.strings("splits"))}
    dataset = Dataset(
        Path(root), file.strings("labels"), images, objects, file.strings("poses"), extra, entries, splits
    )
    left_out = dict(zip(file.strings("left_out"), file.strings("left_out.why"), strict=True))
    findings = _read_findings(file)
    return Scan(dataset, findings, file.header.coordinates, reason, left_out, file.header.format, kind)


def _read_images(file: _Reader) -> Images:
    widths, heights = file.numbers("images.widths", np.int32), file.numbers("images.heights", np.int32)
    stems, files, sources = (file.strings(f"images.{name}") for name in ("stems", "files", "sources"))
    return Images(stems, files, widths, heights, sources, file.texts("images.extra", len(widths)))


def _read_objects(file: _Reader) -> Objects:
    box = file.numbers("objects.box", np.float64, sides=2)  # always stored: objects that are claimed are in the file
    if box.shape[1] != 4:
        raise ValueError(f"boxes of shape {box.shape}")
    count = len(box)
    per_image = file.numbers("objects.per_image", np.int64)
    if ((per_image < 0) | (per_image > count)).any() or per_image.sum() != count:
        raise ValueError(f"{count} boxes, but not as many objects in all images")
    image = np.repeat(np.arange(len(per_image), dtype=np.int32), per_image)
    image.setflags(write=False)
    columns: dict[str, Any] = {name: file.flags(f"objects.{name}", count) for name in _FLAGS}
    if "objects.area" in file.columns:
        columns["area"] = file.numbers("objects.area", np.float64)
    for name, dtype in (("label", np.int32), ("line", np.int32), ("pose", np.int16)):
        columns[name] = file.numbers(f"objects.{name}", dtype, count=count)
    for name in ("segmentation", "extra"):
        columns[name] = file.texts(f"objects.{name}", count)
    return Objects(image=image, box=box, **columns)


def _read_findings(file: _Reader) -> tuple[Finding, ...]:
    names = ("code", "severity", "problem", "hint", "path", "inside")
    code, severity, problem, hint, path, inside = (file.strings(f"findings.{name}") for name in names)
    if not set(severity) <= set(get_args(Severity)):
        raise ValueError(f"severities {sorted(set(severity))}")
    paths = {text: Path(text) for text in path}
    lines, counts = (file.numbers(f"findings.{name}", np.int64).tolist() for name in ("line", "count"))
    places = [Place(paths[text], *rest) for text, *rest in zip(path, lines, inside, strict=True)]
    rows: Any = zip(code, severity, problem, places, hint, counts, strict=True)
    return tuple(Finding(*row) for row in rows)


@dataclass(slots=True)
class _Writer:
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    counts: dict[str, _Strings] = field(default_factory=dict)

    def put(self, name: str, values: NDArray[Any]) -> None:
        """Add a column as it is."""
        self.columns[name] = np.ascontiguousarray(values)

    def strings(self, name: str, values: Sequence[str]) -> None:
        """Write strings, those that are there many times once and a number for each."""
        some = values[:: max(1, len(values) // 1000)]
        if 2 * len(set(some)) < len(some):
            unique = {text: i for i, text in enumerate(dict.fromkeys(values))}
            self.put(f"{name}.of", _narrow(np.fromiter(map(unique.__getitem__, values), np.int64, len(values))))
            values = tuple(unique)
        for separator in map(chr, range(0xD800)):
            joined = separator.join(values)
            if joined.count(separator) == max(0, len(values) - 1):
                break
        self.counts[name] = _Strings(len(values), separator)
        self.put(name, np.frombuffer(joined.encode("utf-8", "surrogatepass"), np.uint8))

    def texts(self, name: str, values: Texts) -> None:
        """Write those texts that are not empty."""
        if len(values.rows):
            self.put(f"{name}.gaps", _narrow(np.diff(values.rows, prepend=-1)))
            self.put(f"{name}.lengths", _narrow(np.diff(values.ends, prepend=0)))
            self.put(name, values.data)


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """The same numbers in the narrowest type that holds them."""
    if values.dtype.kind == "f":
        return _narrow_floats(values)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    fitting = (dtype for dtype in _INTEGERS if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max)
    narrowest = next(dtype for dtype in fitting if np.can_cast(dtype, values.dtype, "safe"))
    return values.astype(narrowest, copy=False)


def _narrow_floats(values: NDArray[Any]) -> NDArray[Any]:
    """The same bit for bit once they are widened again: 0 and -0 are two numbers."""
    flat = np.ascontiguousarray(values).reshape(-1)
    for dtype in _FLOATS:
        narrow = np.empty(len(flat), dtype)
        for first in range(0, len(flat), _BLOCK):
            block = flat[first : first + _BLOCK]
            with np.errstate(invalid="ignore", over="ignore"):
                narrow[first : first + _BLOCK] = block
            wide = narrow[first : first + _BLOCK].astype(np.float64)
            if not np.array_equal(wide.view(np.int64), block.view(np.int64)):
                break
        else:
            return narrow.reshape(values.shape)
    return values.astype("<f8", copy=False)


@dataclass(frozen=True, slots=True)
class _Reader:
    header: Header
    columns: Mapping[str, NDArray[Any]]

    def numbers(self, name: str, dtype: type[np.generic], *, sides: int = 1, count: int | None = None) -> NDArray[Any]:
        """A read-only column in the type it has in memory; with `count`, zeros where it is not stored."""
        if count is not None and name not in self.columns:
            values = np.zeros(count, dtype)
        else:
            stored = self.columns[name]
            if stored.ndim != sides or not np.can_cast(stored.dtype, dtype, "safe"):
                raise ValueError(f"{name} is of type {stored.dtype} and shape {stored.shape}")
            values = stored.astype(dtype, copy=False)
        values.setflags(write=False)
        return values

    def flags(self, name: str, count: int) -> NDArray[np.bool_]:
        """A read-only column of flags; none is set where it is not stored."""
        if name not in self.columns:
            return self.numbers(name, np.bool_, count=count)
        packed = self.numbers(name, np.uint8)
        if len(packed) != -(-count // 8):
            raise ValueError(f"{name} has {len(packed)} bytes for {count} objects")
        values = np.unpackbits(packed, count=count).view(np.bool_)
        values.setflags(write=False)
        return values

    def strings(self, name: str) -> tuple[str, ...]:
        """A column of strings."""
        said = self.header.strings[name]
        joined = str(self.numbers(name, np.uint8).data, "utf-8", "surrogatepass")
        values = joined.split(said.separator) if said.count else []
        if len(values) != said.count:
            raise ValueError(f"{name} has {len(values)} strings, not {said.count}")
        if f"{name}.of" in self.columns:
            return tuple(map(values.__getitem__, self.numbers(f"{name}.of", np.int64).tolist()))
        return tuple(values)

    def texts(self, name: str, count: int) -> Texts:
        """A column of texts; all are empty where it is not stored."""
        if name not in self.columns:
            return Texts.empty(count)
        rows = np.cumsum(self.numbers(f"{name}.gaps", np.int64)) - 1
        ends = np.cumsum(self.numbers(f"{name}.lengths", np.int64))
        for array in (rows, ends):
            array.setflags(write=False)
        return Texts(count, rows, ends, self.numbers(name, np.uint8))
