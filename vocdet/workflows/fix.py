"""Mending what needs no guess: what would be changed is shown first, and kept when it is."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from PIL import Image

from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.errors import ImageError, OutputError, Place, VocdetError
from vocdet.files import appearing, unwritable, write_bytes, write_new
from vocdet.formats.voc import image_sets, repair, split_files
from vocdet.formats.voc.layout import MASK_FOLDER, leads_inside
from vocdet.formats.voc.repair import Facts
from vocdet.formats.voc.xml_edit import CannotEdit, read_source
from vocdet.wording import counted, reason
from vocdet.workflows.check import CheckReport

_UNSEEN = re.compile(r"[^\t\x20-\x7e\xa0-\U0010ffff]")  # what a terminal might obey rather than show

BACKUPS = ".vocdet-backup"  # in the dataset's folder; hidden, so that no reader looks into it

# Findings of which some at least can be mended, all of them warnings.
_IN_XML = frozenset(
    ("label.whitespace", "voc.flag.bad_value", "voc.size.bad_number", "voc.size.missing", "box.duplicate",
     "box.out_of_image")
)  # fmt: skip
_ELSEWHERE = frozenset(
    ("image.suffix", "imagesets.bom", "imagesets.crlf", "imagesets.space", "imagesets.duplicate",
     "imagesets.extension", "imagesets.path")
)  # fmt: skip
_WORDS = {
    "label.whitespace": ("label without the space", "labels without the space"),
    "voc.flag.bad_value": ("flag as 0 or 1", "flags as 0 or 1"),
    "voc.size.missing": ("<size> from the image", ""),
    "box.duplicate": ("object that was there twice", "objects that were there twice"),
    "box.out_of_image": ("side of a box at the edge", "sides of boxes at the edge"),
    "image.suffix": ("name of its image", "names of its image"),
    "imagesets.bom": ("byte-order mark", ""),
    "imagesets.crlf": ("plain line end", ""),
    "imagesets.space": ("line without space", "lines without space"),
    "imagesets.duplicate": ("line that was there twice", "lines that were there twice"),
    "imagesets.extension": ("line without extension", "lines without extension"),
    "imagesets.path": ("line without folder", "lines without folder"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A file as it is and as it is to be."""

    path: Path
    before: bytes
    after: bytes
    what: str  # in words, as in "1 label without the space, 2 flags as 0 or 1"


@dataclass(frozen=True, slots=True)
class FixPlan:
    """What is to be changed in a dataset, and what looked as if it could be, yet needs a person."""

    root: Path
    changes: tuple[Change, ...]
    renames: tuple[tuple[Path, Path], ...]  # images whose suffix lies, and what they are to be called
    left: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return bool(self.changes or self.renames)

    def diff(self) -> Iterator[str]:
        """All changes as the lines of a unified diff, without line ends; names are relative to the root."""
        for old, new in self.renames:
            yield f"rename {self._name(old)} -> {self._name(new)}"
        for change in self.changes:
            yield f"# {self._name(change.path)}: {change.what}"
            yield from difflib.unified_diff(
                _lines(change.before),
                _lines(change.after),
                f"a/{self._name(change.path)}",
                f"b/{self._name(change.path)}",
                n=1,
                lineterm="",
            )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def can_fix(report: CheckReport) -> bool:
    """Whether there is something that `plan_fixes` may find a cure for."""
    codes = {finding.code for finding in report.findings if finding.severity == "warning"}
    return report.format == "voc" and bool(codes & (_IN_XML | _ELSEWHERE))


def plan_fixes(report: CheckReport) -> FixPlan:
    """Find out what can be mended without a guess. Nothing is changed yet.

    Raises where the dataset is none of VOC files: a COCO file has no lines to change, only to write anew.
    """
    root = report.dataset.root
    if report.format != "voc":
        problem = f"nothing is mended in place in {report.kind}"
        hint = (
            f"vocdet convert {root} NEW --to {'yolo' if report.format == 'yolo' else 'coco'} --skip-bad writes a copy"
        )
        raise OutputError(f"{problem}: only in VOC files", place=root, hint=f"{hint} without what is wrong")
    left: list[Finding] = []
    renames = _renames(report, left)
    changes = [*_xml_changes(report, renames, left), *_split_changes(report.dataset)]
    return FixPlan(root, tuple(changes), tuple(renames.items()), tuple(left))


def apply_fixes(plan: FixPlan, *, now: datetime | None = None) -> Path:
    """Make the changes of a plan: all of them, or none. Returns the folder where the files are kept as they were.

    Raises an `OutputError` where a file has changed since, or where one cannot be written: then those that had been
    are as before.
    """
    for change in plan.changes:
        if _content(change.path) != change.before:
            raise OutputError("has changed in the meantime", place=change.path, hint="run vocdet check --fix again")
    backup = _backup(plan, now or datetime.now())
    done: list[Change | tuple[Path, Path]] = []
    try:
        for change in plan.changes:
            done.append(change)
            write_bytes(change.path.resolve(), change.after)
        for old, new in plan.renames:
            if new.exists():
                raise OutputError("is there by now", place=new, hint="run vocdet check --fix again")
            done.append((old, new))
            _rename(old, new)
    except BaseException:
        _restore(done, backup)
        raise
    return backup


def _renames(report: CheckReport, left: list[Finding]) -> dict[Path, Path]:
    found: dict[Path, Path] = {}
    for finding in report.findings:
        if finding.code == "image.suffix":
            old = finding.place.path
            try:
                new = old.with_suffix(image_files.SUFFIXES[image_files.read_header(old).format][0])
            except ImageError:
                continue
            if old.is_symlink() or new.exists() or new in found.values():
                left.append(_left(old, f"cannot be called {new.name}: it is a link, or there is such a file"))
            else:
                found[old] = new
    return found


def _xml_changes(report: CheckReport, renames: dict[Path, Path], left: list[Finding]) -> Iterator[Change]:
    dataset = report.dataset
    row_of = {dataset.root / source: row for row, source in enumerate(dataset.images.sources)}
    wanted = {finding.place.path for finding in report.findings if finding.code in _IN_XML}
    wanted |= {dataset.root / source for source in repair.sizeless(dataset.root, dataset.images.sources)}
    for path in sorted(path for path in wanted | row_of.keys() if path.suffix.lower() == ".xml"):
        row = row_of.get(path)
        image = dataset.root / dataset.images.files[row] if row is not None else None
        before = _content(path)
        if path not in wanted and image not in renames and not repair.worth_a_look(before):
            continue
        facts = Facts(coordinates=report.coordinates)
        if row is not None and image is not None:
            facts = _facts(report, row, image, renames.get(image))
        repaired = repair.repair(before, facts)
        left += [_left(path, f"cannot be mended surely: {why}", line) for line, why in repaired.left]
        if repaired.data != before and leads_inside(path, dataset.root):
            yield Change(path, before, repaired.data, _in_words(repaired.counts))


def _facts(report: CheckReport, row: int, image: Path, new: Path | None) -> Facts:
    dataset = report.dataset
    size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
    depth, sure = 3, False
    with suppress(ImageError, OSError), image_files.quiet_decoder():
        header = image_files.read_header(image)
        sure = image_files.read_orientation(image) < 5 and size == (header.width, header.height)
        with Image.open(image, formats=(header.format,)) as picture:
            depth = len(picture.getbands())
    renamed = (image.name, new.name) if new else None
    return Facts(size, depth, sure, report.coordinates, renamed, _has_masks(dataset, row))


def _has_masks(dataset: Dataset, row: int) -> bool:
    """Whether there is a PNG whose pixels count the objects of an image."""
    folders = (folder for folder in dataset.root.iterdir() if folder.name.lower() == MASK_FOLDER)
    return any((folder / f"{dataset.images.stems[row]}.png").exists() for folder in folders)


def _split_changes(dataset: Dataset) -> Iterator[Change]:
    for name in image_sets.PARTS:
        path = image_sets.split_path(dataset.root, name)
        if path is not None:
            before = _content(path)
            try:
                tidied = split_files.tidy(before, dataset)
            except UnicodeDecodeError:
                continue
            if tidied.data != before:
                yield Change(path, before, tidied.data, _in_words(tidied.counts))


def _in_words(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(counted(count, *_WORDS[code]) for code, count in counts.items())


def _left(path: Path, problem: str, line: int = 0) -> Finding:
    return Finding("fix.unsure", "warning", problem, Place(path, line), "change it by hand")


def _lines(data: bytes) -> list[str]:
    """The lines of a text in any of the encodings that XML has; what ends them is not shown."""
    try:
        text = read_source(data).text
    except CannotEdit:
        text = data.decode("utf-8", "replace")
    return [_UNSEEN.sub("\ufffd", line) for line in re.split(r"\r\n|\r|\n", text)]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise VocdetError(problem, place=path, hint="see whether you may read it") from error


def _backup(plan: FixPlan, now: datetime) -> Path:
    """Copies of all files that are to be changed, in a new folder that appears whole."""
    above = plan.root / BACKUPS
    if not leads_inside(above, plan.root):
        raise OutputError("is a link that leads out of the dataset", place=above, hint="delete it")
    name = now.strftime("%Y-%m-%dT%H-%M-%S")
    names = (name, *(f"{name}.{number}" for number in range(2, 1000)))
    folder = next(above / name for name in names if not (above / name).exists())
    with appearing(folder) as temporary:
        made = set[str]()
        for path in (*(change.path for change in plan.changes), *(old for old, _ in plan.renames)):
            write_new((temporary / path.relative_to(plan.root)).as_posix(), _content(path), made)
    return folder


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        raise unwritable(new, error) from error


def _restore(done: list[Change | tuple[Path, Path]], backup: Path) -> None:
    """Undo what was done, last things first; where that fails, the backup is still there."""
    failed: list[Path] = []
    for one in reversed(done):
        try:
            if isinstance(one, Change):
                if _content(one.path) != one.before:
                    write_bytes(one.path.resolve(), one.before)
            elif one[1].exists() and not one[0].exists():
                _rename(one[1], one[0])
        except VocdetError:
            failed.append(one.path if isinstance(one, Change) else one[0])
    if failed:
        some = ", ".join(map(str, failed[:3]))
        hint = f"copy them from {backup}"
        raise OutputError(f"{counted(len(failed), 'file')} could not be put back: {some}", place=backup, hint=hint)
