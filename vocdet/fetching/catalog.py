"""The public datasets that can be fetched: URLs, checksums, sizes and contents."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vocdet.files import READ_BLOCK


class ContentCount(Protocol):
    """A known count of something in a dataset, to verify that the dataset is complete."""

    @property
    def what(self) -> str:
        """What is counted, as in `images in val2017`."""

    @property
    def expected(self) -> int:
        """The published count."""

    def count(self, root: Path) -> int:
        """The count in the folder `root`; 0 if the counted folder or file is missing."""


@dataclass(frozen=True, slots=True)
class FileCount:
    """Nonempty files with a suffix in one folder."""

    what: str
    expected: int
    folder: str
    suffix: str

    def count(self, root: Path) -> int:
        return sum(name.endswith(self.suffix) for name in _file_names(root / self.folder))


@dataclass(frozen=True, slots=True)
class SplitCount:
    """Stems in a split file of a VOC folder that have an image and an XML."""

    what: str
    expected: int
    root: str  # as in VOCdevkit/VOC2007
    split: str  # as in trainval

    def count(self, root: Path) -> int:
        base = root / self.root
        try:
            lines = (base / "ImageSets" / "Main" / f"{self.split}.txt").read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return 0
        images, xmls = _file_names(base / "JPEGImages"), _file_names(base / "Annotations")
        return sum(f"{stem}.jpg" in images and f"{stem}.xml" in xmls for stem in set(lines))


@dataclass(frozen=True, slots=True)
class TextCount:
    """Occurrences of a text in a file: far faster than parsing half a gigabyte of JSON."""

    what: str
    expected: int
    file: str
    text: bytes

    def count(self, root: Path) -> int:
        total, tail = 0, b""
        try:
            with (root / self.file).open("rb") as file:
                while block := file.read(READ_BLOCK):
                    data = tail + block
                    total += data.count(self.text)
                    tail = data[-len(self.text) + 1 :]
        except OSError:
            return 0
        return total


def _file_names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file() and entry.stat().st_size}
    except OSError:
        return set()


@dataclass(frozen=True, slots=True)
class Archive:
    """One file to fetch."""

    part: str  # its name within the collection, as in trainval
    name: str
    urls: tuple[str, ...]  # tried in this order
    md5: str
    size: int  # bytes
    unpacked: int  # bytes, approximate; an archive that would unpack to twice as much is refused
    contents: tuple[ContentCount, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    """The archives of one dataset."""

    name: str
    archives: tuple[Archive, ...]
    folder: str  # default folder to unpack to, relative to the current one
    root: str  # the dataset within that folder


# torchvision's datasets/voc.py names the first host and has the checksums of all three archives. The second host serves
# the pages of the challenge; recently it redirects to the first or does not answer.
_VOC_HOSTS = ("https://thor.robots.ox.ac.uk/pascal/VOC/", "http://host.robots.ox.ac.uk/pascal/VOC/")

# cocodataset.org links to the first, whose certificate is invalid under https; the second is the same bucket.
_COCO_HOSTS = ("http://images.cocodataset.org/", "https://s3.amazonaws.com/images.cocodataset.org/")


def _voc_archive(year: int, part: str, date: str, md5: str, size: int, contents: tuple[ContentCount, ...]) -> Archive:
    name = f"VOC{part}_{date}-{year}.tar"
    urls = tuple(f"{host}voc{year}/{name}" for host in _VOC_HOSTS)
    return Archive(part, name, urls, md5, size, size, contents)  # a plain tar, not compressed


def _coco(part: str, path: str, md5: str, size: int, unpacked: int, contents: tuple[ContentCount, ...]) -> Archive:
    urls = tuple(host + path for host in _COCO_HOSTS)
    return Archive(part, path.rsplit("/", 1)[-1], urls, md5, size, unpacked, contents)


def _voc_split(year: int, name: str, expected: int) -> SplitCount:
    return SplitCount(f"images of {name}.txt with their XMLs", expected, f"VOCdevkit/VOC{year}", name)


# Sizes are those the host reports: Keras' guide to object detection with KerasHub logs all three. Counts come from the
# challenges' pages (dbstats.html), except the 17,125 images of all tasks of 2012, which come from YOLOv5's VOC.yaml.
VOC2007 = Collection(
    "voc2007",
    (
        _voc_archive(2007, "trainval", "06-Nov", "c52e279531787c972589f7e41ab4ae64", 460_032_000,
             (_voc_split(2007, "trainval", 5011),)),
        _voc_archive(2007, "test", "06-Nov", "b6e924de25625d8de591ea690078ad9f", 451_020_800,
             (_voc_split(2007, "test", 4952),)),
    ),
    folder=".",
    root="VOCdevkit/VOC2007",
)  # fmt: skip
VOC2012 = Collection(
    "voc2012",
    (
        _voc_archive(2012, "trainval", "11-May", "6cd6e144f989b92b3379bac3b3de84fd", 1_999_639_040,
             (
                 _voc_split(2012, "trainval", 11_540),
                 FileCount("images in JPEGImages", 17_125, "VOCdevkit/VOC2012/JPEGImages", ".jpg"),
                 FileCount("XMLs in Annotations", 17_125, "VOCdevkit/VOC2012/Annotations", ".xml"),
             )),
    ),
    folder=".",
    root="VOCdevkit/VOC2012",
)  # fmt: skip

# NVIDIA's and MLCommons' scripts for COCO verify their downloads with these checksums. Sizes are what the bucket
# reports. Of the unpacked annotations only instances_train2017.json, 469,785,474 bytes, has a known size, so
# `unpacked` is rounded up here. Each of the 118,287 and 5000 images is named once in its instances file.
COCO2017 = Collection(
    "coco2017",
    (
        _coco("annotations", "annotations/annotations_trainval2017.zip", "f4bbac642086de4f52a3fdda2de5fa2c",
              252_907_541, 840_000_000,
              (
                  TextCount("images in instances_train2017.json", 118_287,
                           "annotations/instances_train2017.json", b'"file_name"'),
                  TextCount("images in instances_val2017.json", 5000,
                           "annotations/instances_val2017.json", b'"file_name"'),
              )),
        _coco("val", "zips/val2017.zip", "442b8da7639aecaf257c1dceb8ba8c80", 815_585_330, 820_000_000,
              (FileCount("images in val2017", 5000, "val2017", ".jpg"),)),
        _coco("train", "zips/train2017.zip", "cced6f7f71b7629ddf16f17bbcfab6b2", 19_336_861_798, 19_500_000_000,
              (FileCount("images in train2017", 118_287, "train2017", ".jpg"),)),
    ),
    folder="coco2017",
    root="",
)  # fmt: skip

COLLECTIONS = {collection.name: collection for collection in (VOC2007, VOC2012, COCO2017)}
