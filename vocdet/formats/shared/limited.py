"""Files of limited size, whose problems become findings."""

from __future__ import annotations

from pathlib import Path

from vocdet.data.findings import Notes
from vocdet.errors import AnnotationError
from vocdet.files import FileTooLargeError, read_limited
from vocdet.wording import reason

TEXT_CODES = ("csv.unreadable", "csv.unreadable", "csv.encoding")  # of files with columns, for `noted_text`


def noted_bytes(path: Path | str, notes: Notes, limit: int, codes: tuple[str, str], hint: str) -> bytes | None:
    """The bytes of a file; None, with a finding, if it cannot be read or has more than `limit` bytes.

    `codes` are those of the two findings; `hint` is that of the second.
    """
    try:
        return read_limited(path, limit)
    except FileTooLargeError:
        size = f"{limit >> 20} MB" if limit >= 1 << 20 else f"{limit >> 10} kB"
        notes.add(codes[1], "error", f"is larger than {size}", Path(path), hint)
    except OSError as error:
        notes.add(codes[0], "error", f"cannot be read: {reason(error)}", Path(path), "check its permissions")
    return None


def noted_text(path: Path, notes: Notes, limit: int, codes: tuple[str, str, str], hint: str) -> str | None:
    """The text of a UTF-8 file, like `noted_bytes`; the last of `codes` is for other texts."""
    data = noted_bytes(path, notes, limit, codes[:2], hint)
    try:
        return None if data is None else data.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.add(codes[2], "error", "is not UTF-8 text", path, "save it as UTF-8")
        return None


def read_text(path: Path, hint: str, subject: str = "") -> str:
    """The text of a UTF-8 file that the user named; an `AnnotationError` if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise AnnotationError(f"{subject}cannot be read: {reason(error)}", place=path, hint=hint) from error
    except UnicodeDecodeError as error:
        raise AnnotationError("is not UTF-8 text", place=path, hint="save it as UTF-8") from error
