"""CVAT's own XML as a `Dataset`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lxml import etree

from vocdet.data.findings import Notes, Severity
from vocdet.data.source_terms import CVAT
from vocdet.files import read_limited
from vocdet.formats.cvat.layout import LARGEST_FILE, find_layout, frame_number
from vocdet.formats.cvat.shapes import read_items
from vocdet.formats.cvat.tracks import is_frame_number, shape_of, shapes_by_frame
from vocdet.formats.images.facts import Size
from vocdet.formats.images.lookup import ImageIndex
from vocdet.formats.scan import Progress, Scan, Source
from vocdet.formats.shared.records import Labels, Record, RecordReader, split_named
from vocdet.formats.shared.values import clean_label, read_labels
from vocdet.formats.shared.xml import XmlError, drop_namespaces, parse_xml
from vocdet.wording import counted, listed, reason

MOST_FRAMES = 1_000_000  # of a video

_NOT_DRAWN = ("tag",)


def scan(source: Source, *, without_images: bool = False, progress: Progress | None = None) -> Scan:
    """Read what is readable of the XML files of a folder, in the order of their images or frames.

    Boxes, polygons, ellipses and masks are objects; points and lines are left out, with a finding. A rotated box is the
    upright box around it. Subsets named train, val or test are splits. Labels are those of the label list, else those
    of the task. Raises only if there are no such files or no images, or if the label list cannot be read.
    """
    label_list = read_labels(source.labels) if source.labels is not None else None
    layout = find_layout(source.path, without_images=without_images)
    notes, records, labels = Notes([*layout.findings]), list[Record](), dict[str, None]()
    for file in layout.annotations:
        root = _root(layout.images.root / file, notes)
        if root is not None:
            labels |= dict.fromkeys(_task_labels(root))
            records += _image_records(root, file)
            records += _Video(root, file, layout.images, notes).records()
    reader = RecordReader("cvat", CVAT, layout.images, notes, partial(read_items, root=layout.images.root), "<image>")
    kind = f"a CVAT dataset, {counted(len(records), 'image')} in {listed(layout.annotations, most=3)}"
    return reader.scan(records, kind, Labels(label_list, tuple(labels)), progress)


def _root(path: Path, notes: Notes) -> etree._Element | None:
    try:
        root = parse_xml(read_limited(path, LARGEST_FILE))
        drop_namespaces(root)
        return root
    except XmlError as error:
        hint = "export the task again" if error.code in ("xml.syntax", "xml.empty") else error.hint
        notes.add(error.code, "error", error.problem, path, hint, line=error.line)
    except OSError as error:
        notes.add("xml.unreadable", "error", f"cannot be read: {reason(error)}", path, "check its permissions and size")
    return None


def _task_labels(root: etree._Element) -> list[str]:
    """The labels of the task in their order, without the points of skeletons."""
    names = [label.findtext("name") or "" for label in root.iterfind("meta//label") if label.find("parent") is None]
    return [clean_label(name) for name in names if name.strip()]


def _image_records(root: etree._Element, file: str) -> list[Record]:
    records = []
    for image in root.iterchildren("image"):
        subset = image.get("subset", "")
        shapes = [shape_of(child) for child in image]
        tags = [clean_label(shape.label) for shape in shapes if shape.kind in _NOT_DRAWN]
        line = int(image.sourceline or 0)
        record = Record(image.get("name", ""), file, line, split=split_named(subset), folder=subset)
        record.size = _size(image.get("width"), image.get("height"))
        record.shapes = [one for one in shapes if one.kind not in _NOT_DRAWN]
        record.extra = {"tags": tags} if tags else {}
        records.append(record)
    return records


def _size(width: str | None, height: str | None) -> Size | None:
    sides = [int(text) if text and text.isdecimal() and len(text) < 10 else 0 for text in (width, height)]
    return (sides[0], sides[1]) if all(sides) else None


@dataclass(frozen=True, slots=True)
class _Video:
    """The tracks of one file, and the images of their frames."""

    root: etree._Element
    file: str
    index: ImageIndex
    notes: Notes

    def records(self) -> list[Record]:
        """A record for every frame that has an image, or shapes."""
        if self.root.find("track") is None:
            return []
        tasks = {track.get("task_id", "") for track in self.root.iter("track")}
        if len(tasks) > 1:
            problem = f"has tracks of {len(tasks)} tasks, whose frames have the same numbers"
            self._note("cvat.track.tasks", "error", problem, 0, "export each task on its own")
            return []
        frames = self._frames()
        shapes = shapes_by_frame(self.root, frames, self._note)
        numbers = sorted({*frames, *shapes})
        names = self._names(numbers)
        size = _size(self.root.findtext("meta//original_size/width"), self.root.findtext("meta//original_size/height"))
        records = []
        for frame in numbers:
            name = names.get(frame, "")
            drawn = shapes.get(frame, [])
            if name or drawn:
                line = drawn[0].line if drawn else 0
                records.append(Record(name or f"frame_{frame:06d}", self.file, line, size, shapes=drawn))
        return records

    def _frames(self) -> Sequence[int]:
        """The frames of the video: as many as the task has, else from the first to the last in a track."""
        found = [
            int(text) for shape in self.root.iterfind("track/*") if is_frame_number(text := shape.get("frame", ""))
        ]
        first, last = min(found, default=0), max(found, default=-1)
        meta = {name: self.root.findtext(f"meta//{name}") or "" for name in ("size", "start_frame", "frame_filter")}
        step = meta["frame_filter"].strip().removeprefix("step=")
        steps = (int(step) if is_frame_number(step) else 0) or 1
        start = int(meta["start_frame"]) if is_frame_number(meta["start_frame"]) else 0
        if is_frame_number(meta["size"]) and int(meta["size"]) and start <= first:
            return range(start, start + int(meta["size"]) * steps, steps)[:MOST_FRAMES]
        return range(first, last + 1)[:MOST_FRAMES]

    def _names(self, frames: Sequence[int]) -> dict[int, str]:
        """The image of every frame: that with its number, else the one at its place among as many images."""
        if not self.index.files:
            return {frame: f"frame_{frame:06d}.png" for frame in frames}
        numbered: dict[int, list[str]] = defaultdict(list)
        for image in self.index.files:
            number = frame_number(image)
            if number is not None:
                numbered[number].append(image)
        names = {frame: numbered[frame][0] for frame in frames if len(numbered.get(frame, ())) == 1}
        if len(names) < len(frames) == len(self.index.files):
            problem = "names no images, and their numbers are not those of the frames: they are taken in their order"
            hint = "check that the boxes fit, or export as CVAT for images"
            self._note("cvat.track.order", "warning", problem, 0, hint)
            return dict(zip(frames, self.index.files, strict=True))
        return names

    def _note(self, code: str, severity: Severity, problem: str, line: int, hint: str) -> None:
        self.notes.add(code, severity, problem, self.index.root / self.file, hint, line=line)
