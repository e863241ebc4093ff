"""The folder that `predict` writes: drawings, annotations with their images, and the list of detections."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from vocdet.data.detections import Detections
from vocdet.errors import ImageError, OutputError
from vocdet.file_names import distinct_names
from vocdet.files import is_file, is_folder, is_link, write_text
from vocdet.formats.voc.write import ANNOTATIONS, CLASS_MASKS, IMAGES, OBJECT_MASKS
from vocdet.inference.draw import draw
from vocdet.inference.frames import Frame, MediaSource
from vocdet.inference.output import MAX_JPEG_SIDE, Write, encode_picture, writing_video
from vocdet.inference.result_files import CocoList, CsvList, ResultList, csv_bytes, yolo_rows
from vocdet.inference.results import printable_name, write_coco_results
from vocdet.inference.tracking import Crossing
from vocdet.inputs.images import Image
from vocdet.outputs import MARKER, OutputFiles, marker_bytes, read_marker
from vocdet.workflows.voc_detections import check_voc_labels, write_annotation

RESULTS = "detections.json"
TABLE = "detections.csv"
CROSSINGS = "crossings.csv"
CROSSING_COLUMNS = ("video", "frame", "seconds", "id", "label", "direction")
YOLO_LABELS = "labels"  # the folder of YOLO label files
DRAWING = "drawing.jpg"  # the form of drawn images
LABELS = "labels.txt"  # line k is the label of category_id k
DRAWINGS = "drawings"  # beside Annotations and JPEGImages

Also = Literal["voc", "csv", "yolo"]  # a VOC dataset of the images; a table; a label file for each image and frame
FORMS: tuple[Also, ...] = get_args(Also)

_KIND = "predictions"
_SAVED = 30.0  # seconds between two writings of the marker
_FORCE = "choose a new folder for `out`, or replace it with `force=True`"


class PredictionFolder:
    """Results of one call of `predict`. What it wrote earlier is replaced; what a user changed or added stays.

    Also as VOC, the folder is a VOC dataset: JPEGImages has the images themselves (hard links, or copies), and the
    drawings are in a separate folder.
    """

    def __init__(
        self,
        out: Path,
        items: Sequence[MediaSource],
        labels: Sequence[str],
        also: Collection[Also] = (),
        *,
        force: bool,
    ) -> None:
        """Claim the folder. An `OutputError` if it has other files, or a list of detections that was changed."""
        self.out, self.labels = out, labels
        self.voc, self.csv, self.yolo = (form in also for form in ("voc", "csv", "yolo"))
        self.names = _drawing_names(items, f"{DRAWINGS}/" if self.voc else "")
        images = (name for item, name in self.names.items() if item.kind == "image")
        self.image_stems = {PurePosixPath(name).stem.casefold() for name in images}
        self.listed = 0  # images and frames
        self.crossings: list[tuple[str, ...]] = []
        self.done: set[MediaSource] = set()
        self.held: set[str] = set()  # stems whose annotation or image a user changed
        self.new = not is_file(out / RESULTS)
        if self.voc:
            check_voc_labels(out, labels)
        self.files = OutputFiles(out, _KIND, force=force)
        self._check(known=read_marker(out) is not None)
        self._saved = time.monotonic()
        try:
            if self.new:
                write_coco_results(out / RESULTS, [], [])  # claims the folder, even if the disk fills up
                self.files.record(RESULTS)
            self.files.save()
            if self.voc:
                self.files.write(f"{DRAWINGS}/{MARKER}", marker_bytes("drawings"))
            self.lists: dict[str, ResultList] = {RESULTS: CocoList(out / RESULTS)}
            if self.csv:
                self.lists[TABLE] = CsvList(out / TABLE, labels)
        except OutputError:
            self._abandon()
            raise

    def _check(self, *, known: bool) -> None:
        for name in (RESULTS, LABELS, *([TABLE] if self.csv else ())):
            if known and not self.files.may_write(name):
                raise OutputError("was changed since vocdet wrote it", place=self.out / name, hint=_FORCE)
        voc = (DRAWINGS, ANNOTATIONS, IMAGES, OBJECT_MASKS, CLASS_MASKS) if self.voc else ()
        for name in (*voc, *([YOLO_LABELS] if self.yolo else ())):
            folder = self.out / name
            if is_link(folder) or (os.path.lexists(folder) and not is_folder(folder)):
                problem = "is a link" if is_link(folder) else "is a file, not a folder"
                raise OutputError(f"{problem}: nothing is written there", place=folder, hint=_FORCE)

    def drawing(self, source: MediaSource) -> Path:
        """The file of the drawn image or video."""
        return self.out / self.names[source]

    def draw_image(self, frame: Frame, detections: Detections) -> bytes:
        """The file of the drawn image; an `ImageError` if a JPEG cannot hold it. Several threads may call this."""
        if max(frame.pixels.shape) > MAX_JPEG_SIDE:
            problem = f"has more than {MAX_JPEG_SIDE} pixels on a side, too many for a JPEG"
            raise ImageError(problem, place=frame.source.path, hint="split it into tiles")
        return encode_picture(Path(DRAWING), draw(frame.pixels, detections, self.labels))

    def add_image(self, frame: Frame, detections: Detections, drawing: bytes) -> None:
        """Write the drawing of an image, and its annotation."""
        self.files.write(self.names[frame.source], drawing)
        if self.voc:
            self._annotate(frame, detections)
        self._list(frame.source.name, PurePosixPath(self.names[frame.source]).stem, frame, detections)
        if time.monotonic() - self._saved > _SAVED:
            self.files.save()
            self._saved = time.monotonic()

    def _annotate(self, frame: Frame, detections: Detections) -> None:
        """Write the XML beside the image itself, unless a user has changed the XML, or put another image there."""
        file, stem = Path(frame.source.address), PurePosixPath(self.names[frame.source]).stem
        image = f"{IMAGES}/{stem}{file.suffix}"
        if not self.files.may_write(f"{ANNOTATIONS}/{stem}.xml") or not self.files.place(image, file):
            self.held.add(stem)
        else:
            size = (frame.pixels.shape[1], frame.pixels.shape[0])
            write_annotation(self.files.write, stem, file, size, detections, self.labels)

    @contextmanager
    def video(self, source: MediaSource, fps: float) -> Iterator[Write]:
        """A function that adds a frame to the drawn video of a source."""
        name = self.names[source]
        mine = self.files.may_write(name)
        try:
            with writing_video(self.out / name, fps) if mine else nullcontext(_nowhere) as write:
                yield write
        finally:
            if mine:
                self.files.record(name, large=True)

    def add_frame(self, frame: Frame, detections: Detections) -> None:
        """List the detections in a frame of a video."""
        stem = f"{PurePosixPath(self.names[frame.source]).stem}_{frame.number}"
        while stem.casefold() in self.image_stems:
            stem += "_frame"
        self._list(f"{frame.source.name}#{frame.number}", stem, frame, detections)

    def add_crossings(self, source: MediaSource, crossings: Sequence[Crossing], fps: float) -> None:
        """List objects that crossed the line in a video; without any, the list has only its head."""
        rows = self.crossings = self.crossings or [CROSSING_COLUMNS]
        for one in crossings:
            way = "forward" if one.forward else "back"
            seconds = f"{one.frame / fps:.2f}"
            rows.append(
                (printable_name(source.name), str(one.frame), seconds, str(one.id), self.labels[one.label], way)
            )

    def _list(self, name: str, stem: str, frame: Frame, detections: Detections) -> None:
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        for each in self.lists.values():
            each.add(name, size, detections)
        if self.yolo:
            self.files.write(f"{YOLO_LABELS}/{stem}.txt", yolo_rows(size, detections))
        self.listed += 1
        self.done.add(frame.source)

    def close(self, *, complete: bool) -> None:
        """Write the list of detections. If all sources were processed, what is left of earlier results is deleted."""
        if not self.listed:
            for each in self.lists.values():
                each.discard()
            self._abandon()
            return
        for each in self.lists.values():
            each.close()
        if self.crossings:
            self.files.write(CROSSINGS, csv_bytes(self.crossings))
        write_text(self.out / LABELS, "".join(f"{label}\n" for label in self.labels))
        for name in (*self.lists, LABELS):
            self.files.record(name)
        if complete:
            failed = {PurePosixPath(name).stem for item, name in self.names.items() if item not in self.done}
            stay = failed | self.held
            self.files.delete_earlier(lambda name: _source_stem(name, stay) in stay or self._has_annotation(name))
        self.files.save()

    def _has_annotation(self, name: str) -> bool:
        """Whether an image or a mask belongs to an annotation that stays."""
        path = PurePosixPath(name)
        inside = path.parts[0] in (IMAGES, OBJECT_MASKS, CLASS_MASKS)
        return inside and is_file(self.out / ANNOTATIONS / f"{path.stem}.xml")

    def _abandon(self) -> None:
        """Leave nothing behind in a new folder without results."""
        if not self.new:
            return
        for name in (*self.files.files, RESULTS, MARKER):
            with suppress(OSError):
                (self.out / name).unlink(missing_ok=True)
                if (self.out / name).parent != self.out:
                    (self.out / name).parent.rmdir()
        with suppress(OSError):  # another program wrote into it
            self.out.rmdir()

    def ends_all(self, error: OutputError) -> bool:
        """Whether no further file could be written either."""
        cause = error.__cause__
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        return full or not os.access(self.out, os.W_OK | os.X_OK)


def _source_stem(name: str, stems: Collection[str]) -> str:
    """The stem of the source that a result is of: of a frame's label file, without the number of the frame."""
    path = PurePosixPath(name)
    video = path.stem.removesuffix("_frame").rpartition("_")[0]
    return video if path.parts[0] == YOLO_LABELS and video in stems else path.stem


def _nowhere(_: Image) -> None:
    pass


def _drawing_names(items: Sequence[MediaSource], prefix: str) -> dict[MediaSource, str]:
    """The name of each drawing: folders become part of it, and duplicate names get a number."""
    stems = (Path(item.name).with_suffix("").as_posix().replace("/", "_") for item in items)
    suffixes = (".jpg" if item.kind == "image" else ".mp4" for item in items)
    names = distinct_names(zip(stems, suffixes, strict=True))
    return {item: prefix + name for item, name in zip(items, names, strict=True)}
