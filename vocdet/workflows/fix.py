"""Fix what is unambiguous: a plan to show first, and a backup of every changed file."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vocdet.data import image_files
from vocdet.data.dataset import Dataset
from vocdet.data.findings import Finding
from vocdet.errors import ArgumentError, DatasetError, ImageError, OutputError, Place, VocdetError
from vocdet.files import appearing, first_link, is_file, unwritable, write_bytes, write_new
from vocdet.formats.registry import FORMATS
from vocdet.formats.voc import image_sets, repair, split_files
from vocdet.formats.voc.layout import MASK_FOLDER
from vocdet.formats.voc.repair import Facts
from vocdet.formats.voc.rescale_xml import rescaled_xml
from vocdet.formats.voc.xml_edit import CannotEdit, read_source
from vocdet.wording import counted, listed, reason, visible
from vocdet.workflows.check import CheckReport

BACKUPS = ".vocdet-backup"  # in the dataset folder; hidden, so that readers skip it

# Findings that may be repairable, all of them warnings.
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
    "box.duplicate": ("duplicate object", "duplicate objects"),
    "box.out_of_image": ("box edge at the image border", "box edges at the image border"),
    "image.size_mismatch": ("size of its resized image, and the boxes", ""),
    "image.suffix": ("name of its image", "names of its image"),
    "imagesets.bom": ("byte-order mark", ""),
    "imagesets.crlf": ("line ending", ""),
    "imagesets.space": ("line without space", "lines without space"),
    "imagesets.duplicate": ("duplicate line", "duplicate lines"),
    "imagesets.extension": ("line without extension", "lines without extension"),
    "imagesets.path": ("line without folder", "lines without folder"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """The content of a file before and after."""

    path: Path
    before: bytes
    after: bytes
    what: str  # in words, as in "1 label without the space, 2 flags as 0 or 1"


@dataclass(frozen=True, slots=True)
class FixPlan:
    """The changes to a dataset, and what looks repairable but is ambiguous."""

    root: Path
    changes: tuple[Change, ...]
    renames: tuple[tuple[Path, Path], ...]  # images with a wrong suffix, and their new names
    left: tuple[Finding, ...]

    def __bool__(self) -> bool:
        return bool(self.changes or self.renames)

    def diff(self) -> Iterator[str]:
        """All changes as lines of a unified diff, without line endings; names are relative to the root."""
        for old, new in self.renames:
            yield f"rename {self._name(old)} -> {self._name(new)}"
        for change in self.changes:
            yield f"# {self._name(change.path)}: {change.what}"
            yield from difflib.unified_diff(
                _diff_lines(change.before),
                _diff_lines(change.after),
                f"a/{self._name(change.path)}",
                f"b/{self._name(change.path)}",
                n=1,
                lineterm="",
            )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def can_fix(report: CheckReport) -> bool:
    """Whether `plan_fixes` may find something to repair."""
    codes = {finding.code for finding in report.findings if finding.severity == "warning"}
    return FORMATS[report.format].repairable and (bool(codes & (_IN_XML | _ELSEWHERE)) or bool(report.scales))


def plan_fixes(report: CheckReport) -> FixPlan:
    """Plan the unambiguous repairs. Nothing is changed yet.

    Raises an `ArgumentError` for other formats than VOC, which are only written as a whole.
    """
    root = report.dataset.root
    format = FORMATS[report.format]
    if not format.repairable:
        to = report.format if format.writable else "coco"
        hint = f'write a copy without the errors: `vocdet.convert(dataset, folder, to="{to}", skip_bad=True)`'
        raise ArgumentError(f"is {report.kind}: only VOC files are fixed in place", place=root, hint=hint)
    left: list[Finding] = []
    renames = _image_renames(report, left)
    changes = [*_xml_changes(report, renames, left), *_split_changes(report.dataset)]
    changes = _without_links(root, changes, left)
    return FixPlan(root, tuple(changes), tuple(renames.items()), tuple(left))


def apply_fixes(plan: FixPlan, *, now: datetime | None = None) -> Path:
    """Apply a plan: all changes, or none. Returns the backup folder with the original files.

    Raises an `OutputError` if a file has changed since or cannot be written; files changed so far are restored.
    """
    for change in plan.changes:
        if _file_bytes(change.path) != change.before:
            raise OutputError(
                "has changed in the meantime", place=change.path, hint="run `vocdet.repair(dataset)` again"
            )
    backup = _backup(plan, now or datetime.now())
    done: list[Change | tuple[Path, Path]] = []
    links = {change.path: change.path.readlink() for change in plan.changes if change.path.is_symlink()}
    try:
        for change in plan.changes:
            done.append(change)
            write_bytes(change.path, change.after)  # a link becomes a file; what it points to stays
        for old, new in plan.renames:
            if new.exists():
                raise OutputError("exists by now", place=new, hint="run `vocdet.repair(dataset)` again")
            done.append((old, new))
            _rename(old, new)
    except BaseException:
        _restore(done, links, backup)
        raise
    return backup


def _image_renames(report: CheckReport, left: list[Finding]) -> dict[Path, Path]:
    new_names: dict[Path, Path] = {}
    taken = set[Path]()
    for finding in report.findings:
        if finding.code == "image.suffix":
            old = finding.place.path
            try:
                new = old.with_suffix(image_files.SUFFIXES[image_files.read_header(old).format][0])
            except ImageError:
                continue
            linked = old.is_symlink() or first_link(old.parent, report.dataset.root)
            if linked or new.exists() or new in taken:
                left.append(_left(old, f"cannot be renamed to {new.name}: it is a link, or the name is taken"))
            else:
                new_names[old] = new
                taken.add(new)
    return new_names


def _xml_changes(report: CheckReport, renames: dict[Path, Path], left: list[Finding]) -> Iterator[Change]:
    dataset = report.dataset
    row_of = {dataset.root / source: row for row, source in enumerate(dataset.images.sources)}
    wanted = {finding.place.path for finding in report.findings if finding.code in _IN_XML}
    wanted |= {dataset.root / source for source in repair.without_size(dataset.root, dataset.images.sources)}
    wanted |= {dataset.root / dataset.images.sources[row] for row in report.scales}
    for path in sorted(path for path in wanted | row_of.keys() if path.suffix.lower() == ".xml"):
        row = row_of.get(path)
        image = dataset.root / dataset.images.files[row] if row is not None else None
        before = _file_bytes(path)
        if path not in wanted and image not in renames and not repair.may_need_repair(before):
            continue
        facts = Facts(coordinates=report.coordinates)
        if row is not None and image is not None:
            facts = _xml_facts(report, row, image, renames.get(image))
        scaled, why_not = _rescaled(before, facts, report, row)
        repaired = repair.repair(scaled, facts)
        reasons = [*why_not, *repaired.left]
        left += [_left(path, f"cannot be repaired reliably: {why}", line) for line, why in reasons]
        if repaired.data != before:
            repaired.counts["image.size_mismatch"] += scaled != before
            yield Change(path, before, repaired.data, _in_words(+repaired.counts))


def _rescaled(data: bytes, facts: Facts, report: CheckReport, row: int | None) -> tuple[bytes, list[tuple[int, str]]]:
    """A file with its boxes scaled to its image, if that was resized; otherwise unchanged, with the reasons."""
    scale = report.scales.get(row) if row is not None else None
    if scale is None or facts.size is None:
        return data, []
    if facts.numbered:
        return data, [(0, "its masks in SegmentationObject are of another size, too")]
    try:
        return rescaled_xml(data, facts.size, scale, report.coordinates), []
    except CannotEdit as error:
        return data, [(0, str(error))]


def _xml_facts(report: CheckReport, row: int, image: Path, new: Path | None) -> Facts:
    dataset = report.dataset
    size = int(dataset.images.widths[row]), int(dataset.images.heights[row])
    depth, sure = 3, False
    with suppress(ImageError, OSError), image_files.quiet_decoder():
        header = image_files.read_header(image)
        sure = header.orientation < 5 and size == (header.width, header.height)
        with image_files.open_image(image) as picture:
            depth = len(picture.getbands())
    renamed = (image.name, new.name) if new else None
    return Facts(size, depth, sure, report.coordinates, renamed, _has_masks(dataset, row))


def _has_masks(dataset: Dataset, row: int) -> bool:
    """Whether an image has a PNG whose pixel values number its objects."""
    folders = (folder for folder in dataset.root.iterdir() if folder.name.lower() == MASK_FOLDER)
    return any(is_file(folder / f"{dataset.images.stems[row]}.png") for folder in folders)


def _split_changes(dataset: Dataset) -> Iterator[Change]:
    for name in image_sets.SPLIT_NAMES:
        path = image_sets.split_path(dataset.root, name)
        if path is not None:
            before = _file_bytes(path)
            try:
                tidied = split_files.repair_split(before, dataset)
            except UnicodeDecodeError:
                continue
            if tidied.data != before:
                yield Change(path, before, tidied.data, _in_words(tidied.counts))


def _without_links(root: Path, changes: Sequence[Change], left: list[Finding]) -> list[Change]:
    """The changes without those of files in linked folders, and of links to files that are changed themselves."""
    own = {change.path.resolve() for change in changes if not change.path.is_symlink()}
    kept = []
    for change in changes:
        link = first_link(change.path.parent, root)
        if link is not None:
            left.append(_left(change.path, f"is behind the link {link.relative_to(root).as_posix()}: {change.what}"))
        elif not change.path.is_symlink() or change.path.resolve() not in own:
            kept.append(change)
    return kept


def _in_words(counts: Counter[str] | dict[str, int]) -> str:
    return ", ".join(counted(count, *_WORDS[code]) for code, count in counts.items())


def _left(path: Path, problem: str, line: int = 0) -> Finding:
    return Finding("fix.unsure", "warning", problem, Place(path, line), "change it by hand")


def _diff_lines(data: bytes) -> list[str]:
    """The lines of a text in any encoding of XML, without line endings."""
    try:
        text = read_source(data).text
    except CannotEdit:
        text = data.decode("utf-8", "replace")
    return ["\t".join(map(visible, line.split("\t"))) for line in re.split(r"\r\n|\r|\n", text)]


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {reason(error)}"
        raise DatasetError(problem, place=path, hint="check its permissions") from error


def _backup(plan: FixPlan, now: datetime) -> Path:
    """Copy all files to change into a new folder that appears whole."""
    above = plan.root / BACKUPS
    if above.is_symlink():
        raise OutputError("is a link out of the dataset", place=above, hint="delete it")
    name = now.strftime("%Y-%m-%dT%H-%M-%S")
    names = (name, *(f"{name}.{number}" for number in range(2, 1000)))
    folder = next(above / name for name in names if not (above / name).exists())
    with appearing(folder) as temporary:
        created = set[str]()
        for path in (*(change.path for change in plan.changes), *(old for old, _ in plan.renames)):
            write_new((temporary / path.relative_to(plan.root)).as_posix(), _file_bytes(path), created)
    return folder


def _rename(old: Path, new: Path) -> None:
    try:
        old.rename(new)
    except OSError as error:
        raise unwritable(new, error) from error


def _restore(done: list[Change | tuple[Path, Path]], links: Mapping[Path, Path], backup: Path) -> None:
    """Undo changes in reverse order; if that fails, the backup remains."""
    failed: list[Path] = []
    for one in reversed(done):
        try:
            if isinstance(one, Change):
                if _file_bytes(one.path) != one.before:
                    write_bytes(one.path, one.before)
                if one.path in links and not one.path.is_symlink():
                    one.path.unlink()
                    one.path.symlink_to(links[one.path])
            elif one[1].exists() and not one[0].exists():
                _rename(one[1], one[0])
        except (VocdetError, OSError):
            failed.append(one.path if isinstance(one, Change) else one[0])
    if failed:
        problem = f"{counted(len(failed), 'file')} could not be restored: {listed(failed, most=3)}"
        raise OutputError(problem, place=backup, hint=f"copy them from {backup}")
