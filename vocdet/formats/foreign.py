"""Datasets of formats that are not read: their names, and the way to one that is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vocdet.files import first_bytes
from vocdet.formats.images.folders import listing

_MOST_INSPECTED = 4  # files of each suffix
_MOST_NAMES = 5000
_CVAT = "import it into CVAT and export it as COCO, or convert it with Datumaro"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A format that is not read."""

    name: str
    way: str  # a hint
    path: str = ""  # pattern of a path in the folder, one line of many
    suffixes: tuple[str, ...] = ()  # of files whose first bytes have all patterns in `content`
    content: tuple[bytes, ...] = ()
    resembles: tuple[str, ...] = ()  # formats whose readers may take it for theirs


# The first that matches is named.
FOREIGN_FORMATS: Sequence[Foreign] = (
    Foreign("VoTT", "export it from VoTT as Pascal VOC or CSV", r"\.vott$|(^|/)vott-[a-z]+-export/|-asset\.json$"),
    Foreign("TFRecord", "export the annotations that it was made of as VOC, COCO or CSV",
            r"\.(tfrecords?|record)(-\d+-of-\d+)?$"),
    Foreign("Supervisely", "export it from Supervisely as COCO, Pascal VOC or YOLO",
            r"(^|/)ann/[^/\n]+\.(jpe?g|png|bmp|tiff?|webp)\.json$", resembles=("coco", "labelme")),
    Foreign("Labelbox", "convert it to COCO with Labelbox's SDK", suffixes=(".json", ".ndjson"),
            content=(rb'"(Labeled Data|data_row)"\s*:',), resembles=("coco",)),
    Foreign("Ultralytics NDJSON", "convert it with Ultralytics' convert_ndjson_to_yolo, which makes a YOLO folder",
            r"\.ndjson$"),
    Foreign("Label Studio", "export it from Label Studio as COCO, YOLO or Pascal VOC", suffixes=(".json",),
            content=(rb'"from_name"\s*:',), resembles=("coco",)),
    Foreign("Datumaro", "convert it with Datumaro: datum convert -if datumaro -f coco_instances", suffixes=(".json",),
            content=(rb'"categories"\s*:\s*\{', rb'"items"\s*:\s*\['), resembles=("coco",)),
    Foreign("CreateML", "export it from Roboflow or RectLabel as COCO", suffixes=(".json",),
            content=(rb'"image"\s*:', rb'"coordinates"\s*:\s*\{'), resembles=("coco",)),
    Foreign("BDD100K", "convert it to COCO with bdd100k.label.to_coco", suffixes=(".json",),
            content=(rb'"box2d"\s*:\s*\{',), resembles=("coco",)),
    Foreign("VIA 3", "export it from VIA as COCO, or annotate with VIA 2", suffixes=(".json",),
            content=(rb'"metadata"\s*:\s*\{', rb'"vid(_list)?"\s*:'), resembles=("coco",)),
    Foreign("Cityscapes", "convert it to COCO, for example with Datumaro", r"_gt(Fine|Coarse)_polygons\.json$"),
    Foreign("the LabelMe web tool", "convert it with Datumaro: datum convert -if label_me -f coco_instances",
            suffixes=(".xml",), content=(rb"<annotation\b", rb"<polygon>", rb"<pt>"), resembles=("voc",)),
    Foreign("SageMaker Ground Truth", "convert its manifest to COCO, with the images that it names", r"\.manifest$"),
    Foreign("KITTI", _CVAT, suffixes=(".txt",),
            content=(rb"\A[A-Za-z]\w*( -?\d+(\.\d+)?){14,15}\s",), resembles=("yolo",)),
    Foreign("DOTA", "convert it to COCO: its rows are eight corners, a label and a flag", suffixes=(".txt",),
            content=(rb"(?m)^(-?\d+(\.\d+)? ){8}[A-Za-z][\w-]* [0-2]\r?$",), resembles=("yolo",)),
    Foreign("VisDrone", "convert it to YOLO or COCO: its rows are left, top, width, height, score, class and two flags",
            suffixes=(".txt",), content=(rb"\A(-?\d+,){7}-?\d+,?\r?\n",), resembles=("yolo",)),
    Foreign("MOTChallenge", _CVAT, r"(^|/)gt/gt\.txt$", resembles=("yolo",)),
    Foreign("WIDER FACE", _CVAT, r"(^|/)wider_face_\w+_bbx_gt\.txt$", resembles=("yolo",)),
    Foreign("Parquet or Arrow files", "save the images and their annotations as COCO", r"\.(parquet|arrow)$"),
    Foreign("LMDB", "save the images and their annotations as COCO", r"(^|/)data\.mdb$"),
    Foreign("MATLAB", "save the annotations as COCO, VOC or CSV", r"\.mat$"),
    Foreign("masks without annotations", "make objects of them: import them into CVAT as segmentation masks and export "
            "COCO. Masks in SegmentationObject are read beside an XML for each image",
            r"(?i)(^|/)(SegmentationClass|SegmentationObject|masks?|labels?|annotations?|ground_?truth|gt)/(.+/)?[^/\n]+\.png$"),
)  # fmt: skip


def find_foreign(path: Path, known: Sequence[str] = ()) -> Foreign | None:
    """The foreign format of a folder or file. One that a folder's `known` formats resemble is named, other known
    formats are none of these. Few files are inspected.
    """
    paths = list(_paths(path)) if path.is_dir() else [path.name]
    root = path if path.is_dir() else path.parent
    lines, begins = "\n".join(paths), dict[str, list[bytes]]()
    for foreign in FOREIGN_FORMATS:
        if set(known) - set(foreign.resembles):
            continue
        if foreign.path and re.search(foreign.path, lines, re.MULTILINE):
            return foreign
        for suffix in foreign.suffixes:
            if suffix not in begins:
                some = islice((one for one in paths if one.lower().endswith(suffix)), _MOST_INSPECTED)
                begins[suffix] = [first_bytes(root / one, 1 << 15) for one in some]
            some_or_all = all if "voc" in foreign.resembles else any  # other XML files are VOC's
            if begins[suffix] and some_or_all(
                all(re.search(pattern, begin) for pattern in foreign.content) for begin in begins[suffix]
            ):
                return foreign
    return None


def _paths(folder: Path) -> Iterator[str]:
    """The files in a folder and two levels below, up to a limit."""
    count, waiting = 0, [("", 0)]
    while waiting:
        place, depth = waiting.pop(0)
        folders, files = listing(folder, place)
        prefix = f"{place}/" if place else ""
        waiting += [(prefix + name, depth + 1) for name in folders] if depth < 2 else []
        for name in files:
            yield prefix + name
            count += 1
            if count > _MOST_NAMES:
                return
