"""The public datasets that can be fetched: where they are, what they must be, and what they must hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BLOCK = 1 << 20  # bytes read at a time


class Holding(Protocol):
    """Something that is in a dataset a known number of times."""

    @property
    def what(self) -> str:
        """What is counted, as in `images in val2017`."""

    @property
    def count(self) -> int:
        """How many there must be."""

    def found(self, root: Path) -> int:
        """How many there are; 0 where the folder or the file is missing."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one folder that have this suffix and are not empty."""

    what: str
    count: int
    folder: str
    suffix: str

    def found(self, root: Path) -> int:
        return sum(name.endswith(self.suffix) for name in _names(root / self.folder))


@dataclass(frozen=True, slots=True)
class Listed:
    """Stems of a split file of a VOC folder that have an image and an XML."""

    what: str
    count: int
    root: str  # as in VOCdevkit/VOC2007
    part: str  # as in trainval

    def found(self, root: Path) -> int:
        base = root / self.root
        try:
            lines = (base / "ImageSets" / "Main" / f"{self.part}.txt").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return 0
        images, xmls = _names(base / "JPEGImages"), _names(base / "Annotations")
        return sum(f"{stem}.jpg" in images and f"{stem}.xml" in xmls for stem in set(lines))


@dataclass(frozen=True, slots=True)
class Mentions:
    """How often a text stands in a file, which is far quicker to tell than what half a gigabyte of JSON means."""

    what: str
    count: int
    file: str
    text: bytes

    def found(self, root: Path) -> int:
        total, tail = 0, b""
        try:
            with (root / self.file).open("rb") as file:
                while block := file.read(BLOCK):
                    data = tail + block
                    total += data.count(self.text)
                    tail = data[-len(self.text) + 1 :]
        except OSError:
            return 0
        return total


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file() and entry.stat().st_size}
    except OSError:
        return set()


@dataclass(frozen=True, slots=True)
class Archive:
    """One file to fetch."""

    part: str  # as `--only` takes it
    name: str
    urls: tuple[str, ...]  # where it is published; the next is tried where one fails
    md5: str
    size: int  # bytes
    unpacked: int  # bytes, about; one that would unpack to twice as much is refused
    holds: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """The archives of one dataset."""

    name: str
    archives: tuple[Archive, ...]
    folder: str  # where to unpack it by default, relative to the current folder
    root: str  # the dataset in that folder, for the next command


# torchvision's datasets/voc.py names the first host and has the checksums of all three archives. The second is the
# host of the challenge's own pages: of late it redirects to the first, or does not answer.
_VOC_HOSTS = ("https://thor.robots.ox.ac.uk/pascal/VOC/", "http://host.robots.ox.ac.uk/pascal/VOC/")

# cocodataset.org links to the first, whose certificate is not its own under https; the second is the same bucket.
_COCO_HOSTS = ("http://images.cocodataset.org/", "https://s3.amazonaws.com/images.cocodataset.org/")


def _voc(year: int, part: str, date: str, md5: str, size: int, holds: tuple[Holding, ...]) -> Archive:
    name = f"VOC{part}_{date}-{year}.tar"
    urls = tuple(f"{host}voc{year}/{name}" for host in _VOC_HOSTS)
    return Archive(part, name, urls, md5, size, size, holds)  # a plain tar: nothing in it is compressed


def _coco(part: str, path: str, md5: str, size: int, unpacked: int, holds: tuple[Holding, ...]) -> Archive:
    urls = tuple(host + path for host in _COCO_HOSTS)
    return Archive(part, path.rsplit("/", 1)[-1], urls, md5, size, unpacked, holds)


def _listed(year: int, part: str, count: int) -> Listed:
    return Listed(f"images of {part}.txt with their XMLs", count, f"VOCdevkit/VOC{year}", part)


# Sizes are those the host announces: Keras' guide to object detection with KerasHub logs all three. Counts are those of
# the challenges' own pages (dbstats.html), but for the 17,125 images of all tasks of 2012: those of YOLOv5's VOC.yaml.
VOC2007 = Collection(
    "voc2007",
    (
        _voc(2007, "trainval", "06-Nov", "c52e279531787c972589f7e41ab4ae64", 460_032_000,
             (_listed(2007, "trainval", 5011),)),
        _voc(2007, "test", "06-Nov", "b6e924de25625d8de591ea690078ad9f", 451_020_800,
             (_listed(2007, "test", 4952),)),
    ),
    folder=".",
    root="VOCdevkit/VOC2007",
)  # fmt: skip
VOC2012 = Collection(
    "voc2012",
    (
        _voc(2012, "trainval", "11-May", "6cd6e144f989b92b3379bac3b3de84fd", 1_999_639_040,
             (
                 _listed(2012, "trainval", 11_540),
                 Files("images in JPEGImages", 17_125, "VOCdevkit/VOC2012/JPEGImages", ".jpg"),
                 Files("XMLs in Annotations", 17_125, "VOCdevkit/VOC2012/Annotations", ".xml"),
             )),
    ),
    folder=".",
    root="VOCdevkit/VOC2012",
)  # fmt: skip

# The checksums are those NVIDIA's and MLCommons' scripts for COCO prove their downloads with. Sizes are what the bucket
# announces. Of what comes out of the annotations only instances_train2017.json, 469,785,474 bytes, is known exactly,
# so `unpacked` is rounded up here. Of the 118,287 and 5000 images every one is named once in its instances file.
COCO2017 = Collection(
    "coco2017",
    (
        _coco("annotations", "annotations/annotations_trainval2017.zip", "f4bbac642086de4f52a3fdda2de5fa2c",
              252_907_541, 840_000_000,
              (
                  Mentions("images in instances_train2017.json", 118_287,
                           "annotations/instances_train2017.json", b'"file_name"'),
                  Mentions("images in instances_val2017.json", 5000,
                           "annotations/instances_val2017.json", b'"file_name"'),
              )),
        _coco("val", "zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", 815_585_330, 820_000_000,
              (Files("images in val2017", 5000, "val2017", ".jpg"),)),
        _coco("train", "zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", 19_336_861_798, 19_500_000_000,
              (Files("images in train2017", 118_287, "train2017", ".jpg"),)),
    ),
    folder="coco2017",
    root="",
)  # fmt: skip

COLLECTIONS = {made.name: made for made in (VOC2007, VOC2012, COCO2017)}
