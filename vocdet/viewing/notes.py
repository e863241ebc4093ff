"""Notes on images, "wrong", "unsure" or "ok", in a CSV file: each one is on the disk before the next."""

from __future__ import annotations

import codecs
import csv
import io
import threading
from pathlib import Path

import numpy as np

from vocdet.errors import AnnotationError, Place
from vocdet.files import check_writable, read_limited, write_bytes
from vocdet.wording import listed, quoted, reason

NOTES = ("wrong", "unsure", "ok")
COLUMNS = ["image", "note"]
_LARGEST = 1 << 28  # bytes of a file


class Notes:
    """The notes on the images of a dataset; those on other images stay in the file."""

    def __init__(self, path: Path, files: tuple[str, ...]) -> None:
        """`files` are the names of the images. An `AnnotationError` for a file that holds something else."""
        self.path, self._files, self._lock = path, files, threading.Lock()
        check_writable(path)
        known = read_notes(path)
        codes = [1 + NOTES.index(known[file]) if file in known else 0 for file in files]
        self.codes = np.array(codes, np.int8)  # (N,) 0: none, else 1 + index into `NOTES`

    def counts(self) -> list[int]:
        """The number of images without a note, then with each of `NOTES`."""
        return [int(count) for count in np.bincount(self.codes, minlength=len(NOTES) + 1)]

    def set(self, row: int, code: int) -> None:
        """Write the note on an image; 0 deletes it."""
        with self._lock:
            known = read_notes(self.path)  # another viewer may write the same file
            known.pop(self._files[row], None)
            if code:
                known[self._files[row]] = NOTES[code - 1]
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([COLUMNS, *sorted(known.items())])
            write_bytes(self.path, text.getvalue().encode(errors="surrogateescape"))
            self.codes[row] = code


def read_notes(path: Path) -> dict[str, str]:
    """The notes in a file by the name of the image; none without the file."""
    try:
        data = read_limited(path, _LARGEST).removeprefix(codecs.BOM_UTF8)  # which spreadsheets write
        text = data.decode(errors="surrogateescape")
        rows = [row for row in csv.reader(io.StringIO(text, "")) if row]
    except FileNotFoundError:
        return {}
    except (OSError, csv.Error) as error:
        problem = reason(error) if isinstance(error, OSError) else str(error)
        raise AnnotationError(f"no notes can be read: {problem}", place=path, hint="name another file") from error
    if rows[:1] != [COLUMNS]:
        hint = 'name another file: `notes="notes.csv"`'
        raise AnnotationError("is not a file of notes, which begins with image,note", place=path, hint=hint)
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or row[1] not in NOTES:
            problem = f"{quoted(','.join(row))} is not the name of an image and {listed(NOTES, conjunction='or')}"
            raise AnnotationError(problem, place=Place(path, line=number), hint="correct or delete the line")
    return dict(rows[1:])
