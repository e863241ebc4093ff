"""Any dataset as a `Dataset`: its format is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from vocdet.data.findings import raise_errors
from vocdet.errors import VocdetError
from vocdet.formats.coco import layout as coco_files
from vocdet.formats.coco import read as coco_json
from vocdet.formats.labelme import read as labelme
from vocdet.formats.scan import Asked, Progress, Scan
from vocdet.formats.voc import layout as voc_layout
from vocdet.formats.voc import read as voc_tree
from vocdet.formats.yolo import read as yolo

Form = Literal["voc", "coco", "yolo", "labelme"]
AskedForm = Literal["auto", "voc", "coco", "yolo", "labelme"]
FORMS: tuple[Form, ...] = get_args(Form)


def read(
    path: Path,
    *,
    form: AskedForm = "auto",
    labels: Path | None = None,
    coordinates: Asked = "auto",
    bare: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """As `scan`, of a dataset that is all in order; else every error that was found is raised, together."""
    found = scan(path, form=form, labels=labels, coordinates=coordinates, bare=bare, progress=progress)
    raise_errors(found.findings)
    return found


def scan(
    path: Path,
    *,
    form: AskedForm = "auto",
    labels: Path | None = None,
    coordinates: Asked = "auto",
    bare: bool = False,
    progress: Progress | None = None,
) -> Scan:
    """Read what can be read of a folder, or of a COCO file; what is wrong in it becomes a finding.

    `labels` is a list file that numbers the labels, `coordinates` what the numbers of VOC files are. With `bare`
    the images may all be missing. Raises where this is no dataset of the format at all, or of none that is known.
    """
    chosen = recognise(path) if form == "auto" else form
    if chosen == "voc":
        return voc_tree.scan(path, labels=labels, coordinates=coordinates, bare=bare, progress=progress)
    return _READERS[chosen](path, labels=labels, bare=bare, progress=progress)


_READERS: Mapping[Form, Callable[..., Scan]] = MappingProxyType(
    {"coco": coco_json.scan, "yolo": yolo.scan, "labelme": labelme.scan}
)
_LOOKS: Mapping[Form, Callable[[Path], str]] = MappingProxyType(
    {
        "voc": voc_layout.looks_like,
        "coco": coco_files.looks_like,
        "yolo": yolo.looks_like,
        "labelme": labelme.looks_like,
    }
)


def recognise(path: Path) -> Form:
    """The format of a dataset; of several in one folder the first of voc, coco, yolo and labelme.

    A folder in which none is found is `voc`, whose reader says what it missed.
    """
    if path.is_file():
        return _of_file(path)
    return next((form for form in FORMS if path.is_dir() and _looks_like(path, form)), "voc")


def also(path: Path, form: Form) -> tuple[Form, ...]:
    """What else a folder in which `form` was recognised has: a COCO file beside XMLs."""
    return ("coco",) if form == "voc" and path.is_dir() and _looks_like(path, "coco") else ()


def _looks_like(path: Path, form: Form) -> str:
    """Why a folder looks like a format; "" where it does not."""
    try:
        return _LOOKS[form](path)
    except OSError as error:
        problem = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise VocdetError(problem, place=Path(error.filename or path), hint="see whether you may read it") from error


def _of_file(path: Path) -> Form:
    suffix = path.suffix.lower()
    if suffix in (".json", ".yaml", ".yml"):  # the reader says why, where it is none
        return "coco" if suffix == ".json" else "yolo"
    raise VocdetError("is a file, not a dataset", place=path, hint="give the folder, a COCO file, or YOLO's data.yaml")
