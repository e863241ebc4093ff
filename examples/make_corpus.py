"""Make a large annotated dataset twice, as a VOC folder and as a COCO file, to measure tools with.

    python examples/make_corpus.py corpus [--images 20000] [--objects 120000] [--seed 0]

    corpus/voc/Annotations/*.xml      alternately in the style of labelImg, VOC2012 and Roboflow; 51 MB
    corpus/voc/JPEGImages/*.jpg
    corpus/coco/annotations/instances.json    the same boxes, with polygons and some RLE; 47 MB
    corpus/coco/images/*.jpg
    corpus/labels.txt                 the labels that occur, sorted

The same seed gives the same annotations, byte for byte, on any machine. Coordinates are 0-based and half-open. The
images are gray JPEGs of the annotated sizes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Kind = Literal["labelimg", "devkit", "roboflow"]

KINDS: tuple[Kind, ...] = ("labelimg", "devkit", "roboflow")

# COCO's categories by id from 1; the ids without a name are those that COCO left out.
_NAMES = """person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,,stop sign,
parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,,backpack,umbrella,,,handbag,tie,
suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,
bottle,,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,
chair,couch,potted plant,bed,,dining table,,,toilet,,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,
toaster,sink,refrigerator,,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"""
CATEGORIES = {i: name for i, name in enumerate(_NAMES.replace("\n", "").split(","), 1) if name}
LABELS = tuple(CATEGORIES.values())

_SIZES = ((500, 375), (375, 500), (640, 480), (480, 640), (640, 427), (427, 640), (500, 333), (333, 500), (640, 640),
          (416, 416), (1280, 720), (720, 1280), (800, 600), (600, 800), (1024, 768), (640, 360), (500, 500), (640, 426),
          (426, 640), (1920, 1080))  # fmt: skip
_POSES = ("Unspecified", "Left", "Right", "Frontal", "Rear")
_CROWD_EVERY = 50  # of so many objects one is a crowd, its mask an RLE, every second of them compressed


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What is in the corpus, as columns: the first three of the images, the others of the objects."""

    kinds: tuple[Kind, ...]
    stems: tuple[str, ...]
    sizes: Ints  # (N, 2) width, height
    image: Ints  # (M,) rising
    label: Ints  # (M,) index into LABELS
    box: Ints  # (M, 4) xmin, ymin, xmax, ymax; 0-based, half-open
    polygons: tuple[tuple[tuple[int, ...], ...], ...]  # (M,) of polygons of x, y, x, y ... in hundredths of a pixel
    area: NDArray[np.float64]  # (M,) of the polygons together, square pixels
    odds: NDArray[np.float64]  # (M, 5) in [0, 1), for all that is left to chance


def uniform(seed: int, purpose: str, *shape: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), the same for a seed and purpose in all versions of NumPy, which vouches for raw bits alone."""
    bits = np.random.PCG64([seed, zlib.crc32(purpose.encode())]).random_raw(int(np.prod(shape)))
    return (np.asarray(bits, np.uint64) >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


def plan_corpus(images: int, objects: int, seed: int) -> Plan:
    """Draw the corpus: labels with counts like 1/rank, few objects in most images, many in some, none in a few."""
    kinds = tuple(KINDS[i % 3] for i in range(images))
    sizes = np.array(_SIZES)[(uniform(seed, "size", images) * len(_SIZES)).astype(np.int64)]
    draw = uniform(seed, "objects of an image", images)
    weight = np.where(draw < 0.01, 0, 4 + (draw * draw * draw * 20).astype(np.int64))
    weight[0] = max(weight[0], 1)  # somewhere the objects must be
    ends = np.cumsum(weight)
    image = np.searchsorted(ends, np.sort((uniform(seed, "owner", objects) * ends[-1]).astype(np.int64)), "right")
    label = np.repeat(np.arange(len(LABELS)), zipf(objects, len(LABELS)))
    label = label[np.argsort(uniform(seed, "label", objects), kind="stable")]
    devkit = np.array([kind == "devkit" for kind in kinds])
    box = draw_boxes(sizes[image], devkit[image].astype(np.int64), seed)
    polygons, area = draw_polygons(box, seed)
    stems = tuple(_stem(kind, i, seed) for i, kind in enumerate(kinds))
    return Plan(kinds, stems, sizes, image, label, box, polygons, area, uniform(seed, "odds", objects, 5))


def zipf(total: int, count: int) -> Ints:
    """(count,) whole numbers in proportion to 1, 1/2, 1/3 ..., together `total`."""
    share = total / np.arange(1, count + 1)
    share *= total / share.sum()
    counts = np.floor(share).astype(np.int64)
    counts[np.argsort(counts - share, kind="stable")[: total - counts.sum()]] += 1
    return counts


def draw_boxes(sizes: Ints, lowest: Ints, seed: int) -> Ints:
    """(M, 4) boxes in images of these sizes, from `lowest` (M,) on: many small, some large, some at the edges."""
    draw = uniform(seed, "box", len(sizes), 2, 2)  # (M, side or place, x or y)
    side = np.maximum(6, (sizes * (0.03 + 0.9 * draw[:, 0] * draw[:, 0])).astype(np.int64))
    place = np.clip((draw[:, 1] - 0.03) / 0.94, 0, 1)
    low = np.maximum((place * (sizes - side + 1)).astype(np.int64), lowest[:, None])
    return np.concatenate([low, np.minimum(low + side, sizes)], axis=1)


def draw_polygons(boxes: Ints, seed: int) -> tuple[tuple[tuple[tuple[int, ...], ...], ...], NDArray[np.float64]]:
    """One polygon in every box, touching its sides, in every tenth box two, and the area of each box's polygons."""
    split = np.arange(len(boxes)) % 10 == 3
    owner = np.repeat(np.arange(len(boxes)), 1 + split)
    part = boxes[owner] * 100
    second = np.append(False, owner[1:] == owner[:-1])
    middle = part[:, 0] + (part[:, 2] - part[:, 0]) // 2
    part[:, 0] = np.where(second, middle, part[:, 0])
    part[:, 2] = np.where(np.append(second[1:], False), middle, part[:, 2])
    draw = uniform(seed, "corners", len(part))
    corners = 7 + (draw * draw * 26).astype(np.int64)
    area = np.zeros(len(boxes), np.int64)
    points: list[tuple[int, ...]] = [()] * len(part)
    for count in np.unique(corners).tolist():
        rows = np.flatnonzero(corners == count)
        rings = _rings(part[rows], count, uniform(seed, f"radius {count}", len(rows), count))
        following = np.roll(rings, -1, axis=1)
        twice = (rings[:, :, 0] * following[:, :, 1] - following[:, :, 0] * rings[:, :, 1]).sum(axis=1)
        np.add.at(area, owner[rows], np.abs(twice))
        for row, ring in zip(rows.tolist(), rings.reshape(len(rows), -1).tolist(), strict=True):
            points[row] = tuple(ring)
    first = np.flatnonzero(~second).tolist()
    spans = zip(first, [*first[1:], len(points)], strict=True)
    return tuple(tuple(points[start:end]) for start, end in spans), area / 20000


def _rings(boxes: Ints, count: int, draw: NDArray[np.float64]) -> Ints:
    """(m, count, 2) corners, touching the sides of each (m, 4) box; whole numbers, which round alike everywhere."""
    angle = np.arange(count) * (2 * np.pi / count)
    around = np.round(np.stack([np.cos(angle), np.sin(angle)], axis=1) * 10000).astype(np.int64)  # (count, 2)
    ring: Ints = around * (600 + (draw * 400).astype(np.int64))[:, :, None]
    low, high = ring.min(axis=1, keepdims=True), ring.max(axis=1, keepdims=True)
    corner, size = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    corners: Ints = corner + (ring - low) * size // (high - low)
    return corners


def _stem(kind: Kind, number: int, seed: int) -> str:
    if kind == "labelimg":
        return f"IMG_2019{1 + number % 12:02d}{1 + number % 28:02d}_{number:06d}"
    if kind == "devkit":
        return f"{2008 + number % 5}_{number:06d}"
    return f"shelf-{number}_jpg.rf.{blake2b(f'{seed} {number}'.encode(), digest_size=16).hexdigest()}"


def xml_files(plan: Plan) -> Iterator[tuple[str, str]]:
    """Stem and text of every annotation."""
    bounds = np.searchsorted(plan.image, np.arange(len(plan.stems) + 1)).tolist()
    labels, boxes, odds = plan.label.tolist(), plan.box.tolist(), plan.odds.tolist()
    for i, (stem, kind, size) in enumerate(zip(plan.stems, plan.kinds, plan.sizes.tolist(), strict=True)):
        objects = range(bounds[i], bounds[i + 1])
        if kind == "labelimg":
            texts: Iterable[str] = (_labelimg(LABELS[labels[k]], boxes[k], size) for k in objects)
            head = _labelimg_head(f"{stem}.jpg")
        elif kind == "devkit":
            texts = (_devkit(LABELS[labels[k]], boxes[k], odds[k]) for k in objects)
            head = _devkit_head(f"{stem}.jpg")
        else:
            texts = (_roboflow(LABELS[labels[k]], boxes[k], odds[k], plan.polygons[k]) for k in objects)
            head = _roboflow_head(f"{stem}.jpg")
        width, height = size
        depth = f"<width>{width}</width>\n\t\t<height>{height}</height>\n\t\t<depth>3</depth>"
        text = f"<annotation>\n{head}\t<size>\n\t\t{depth}\n\t</size>\n\t<segmented>0</segmented>\n"
        text += f"{''.join(texts)}</annotation>\n"
        yield stem, text.replace("\t", "    ") if kind == "devkit" and i % 2 else text


def _labelimg_head(file: str) -> str:
    return (
        f"\t<folder>shop_cameras_spring</folder>\n\t<filename>{file}</filename>\n"
        f"\t<path>/home/annotator/projects/shelf_audit/raw_pictures/shop_cameras_spring/{file}</path>\n"
        "\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n"
    )


def _labelimg(label: str, box: list[int], size: list[int]) -> str:
    cut = int(0 in box[:2] or box[2] == size[0] or box[3] == size[1])
    return (
        f"\t<object>\n\t\t<name>{label}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>{cut}</truncated>\n"
        f"\t\t<difficult>0</difficult>\n{_bndbox(box)}\t</object>\n"
    )


def _bndbox(box: list[int], indent: str = "\t\t") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inner = "".join(f"{indent}\t<{name}>{value}</{name}>\n" for name, value in sides)
    return f"{indent}<bndbox>\n{inner}{indent}</bndbox>\n"


def _devkit_head(file: str) -> str:
    year = file[:4]
    return (
        f"\t<folder>VOC2012</folder>\n\t<filename>{file}</filename>\n\t<source>\n"
        f"\t\t<database>The VOC{year} Database</database>\n\t\t<annotation>PASCAL VOC{year}</annotation>\n"
        "\t\t<image>flickr</image>\n\t</source>\n"
    )


def _devkit(label: str, box: list[int], odds: list[float]) -> str:
    pose = _POSES[int(odds[0] * len(_POSES))]
    parts = _parts(box) if label == "person" and odds[1] < 0.4 else ""
    return (
        f"\t<object>\n\t\t<name>{label}</name>\n\t\t<pose>{pose}</pose>\n\t\t<truncated>{odds[2] < 0.3:d}</truncated>\n"
        f"\t\t<occluded>{odds[3] < 0.3:d}</occluded>\n{_bndbox(box)}"
        f"\t\t<difficult>{odds[4] < 0.1:d}</difficult>\n{parts}\t</object>\n"
    )


def _parts(box: list[int]) -> str:
    low_x, low_y, high_x, high_y = box
    width, height = (high_x - low_x) // 3, (high_y - low_y) // 3
    places = (("head", low_x + width, low_y), ("hand", low_x, low_y + height), ("foot", low_x, high_y - height))
    return "".join(
        f"\t\t<part>\n\t\t\t<name>{name}</name>\n" + _bndbox([x, y, x + width, y + height], "\t\t\t") + "\t\t</part>\n"
        for name, x, y in places
    )


def _roboflow_head(file: str) -> str:
    return (
        f"\t<folder></folder>\n\t<filename>{file}</filename>\n\t<path>{file}</path>\n"
        "\t<source>\n\t\t<database>roboflow.com</database>\n\t</source>\n"
    )


def _roboflow(label: str, box: list[int], odds: list[float], polygons: tuple[tuple[int, ...], ...]) -> str:
    low_x, low_y, high_x, high_y = box
    sides = (("xmin", low_x), ("xmax", high_x), ("ymin", low_y), ("ymax", high_y))
    inner = "".join(f"\t\t\t<{name}>{value}</{name}>\n" for name, value in sides)
    polygon = ""
    if odds[1] < 0.5 and len(polygons) == 1:
        numbered = (f"{axis}{k}" for k in range(1, len(polygons[0]) // 2 + 1) for axis in "xy")
        values = zip(numbered, polygons[0], strict=True)
        points = "".join(f"\t\t\t<{name}>{value / 100}</{name}>\n" for name, value in values)
        polygon = f"\t\t<polygon>\n{points}\t\t</polygon>\n"
    return (
        f"\t<object>\n\t\t<name>{label}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n"
        f"\t\t<difficult>0</difficult>\n\t\t<occluded>{odds[3] < 0.2:d}</occluded>\n"
        f"\t\t<bndbox>\n{inner}\t\t</bndbox>\n{polygon}\t</object>\n"
    )


def coco_text(plan: Plan, seed: int) -> str:
    """The corpus as one COCO file in COCO's own style: ids with gaps, images and objects in no order."""
    image_ids = (139 + 29 * np.arange(len(plan.stems))).tolist()
    sizes = plan.sizes.tolist()
    images = [
        f'{{"license": {1 + i % 8},"file_name": "{stem}.jpg","height": {height},"width": {width},'
        f'"date_captured": "2013-11-{1 + i % 28:02d} {i % 24:02d}:{i % 60:02d}:{i % 59:02d}","id": {image_ids[i]}}}'
        for i, (stem, (width, height)) in enumerate(zip(plan.stems, sizes, strict=True))
    ]
    category_ids = list(CATEGORIES)
    annotations = []
    for k, (image, label, box) in enumerate(
        zip(plan.image.tolist(), plan.label.tolist(), plan.box.tolist(), strict=True)
    ):
        crowd = k % _CROWD_EVERY == 7
        mask, area = _rle(box, sizes[image], k) if crowd else (_polygon_text(plan.polygons[k]), plan.area[k].item())
        low_x, low_y, high_x, high_y = box
        annotations.append(
            f'{{"segmentation": {mask},"area": {area},"iscrowd": {crowd:d},"image_id": {image_ids[image]},'
            f'"bbox": [{low_x},{low_y},{high_x - low_x},{high_y - low_y}],"category_id": {category_ids[label]},'
            f'"id": {900100000000 + k if crowd else 1000 + 3 * k}}}'
        )
    categories = [f'{{"supercategory": "thing","id": {i},"name": "{name}"}}' for i, name in CATEGORIES.items()]
    licenses = [f'{{"url": "http://example.org/licence/{i}","id": {i},"name": "Licence {i}"}}' for i in range(1, 9)]
    tables = {
        "licenses": licenses,
        "images": _shuffled(images, seed, "images"),
        "annotations": _shuffled(annotations, seed, "annotations"),
        "categories": categories,
    }
    body = ",".join(f'"{name}": [{",".join(rows)}]' for name, rows in tables.items())
    return f'{{"info": {{"description": "Made by make_corpus.py","version": "1.0","year": 2026}},{body}}}'


def _polygon_text(polygons: tuple[tuple[int, ...], ...]) -> str:
    return str([[value / 100 for value in polygon] for polygon in polygons]).replace(" ", "")


def _rle(box: list[int], size: list[int], number: int) -> tuple[str, int]:
    """The mask of a crowd that fills its box but for a wavy upper edge, and its area."""
    from pycocotools import mask

    (low_x, low_y, high_x, high_y), (width, height) = box, size
    tops = [low_y + (x - low_x) * 7 % max(1, (high_y - low_y) // 3) for x in range(low_x, high_x)]
    counts = [low_x * height + tops[0]]
    for top, following in zip(tops, [*tops[1:], None], strict=True):
        counts += [high_y - top, height - high_y + (following or 0)]
    counts[-1] += (width - high_x) * height
    if counts[-1] == 0:
        counts.pop()
    text = str(counts).replace(" ", "")
    if number // _CROWD_EVERY % 2:
        packed: Any = mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
        text = '"' + packed["counts"].decode().replace("\\", "\\\\") + '"'
    return f'{{"counts": {text},"size": [{height},{width}]}}', sum(counts[1::2])


def _shuffled(rows: list[str], seed: int, purpose: str) -> list[str]:
    return [rows[i] for i in np.argsort(uniform(seed, f"order of {purpose}", len(rows)), kind="stable")]


def save_images(plan: Plan, folder: Path, masters: Path) -> None:
    """A grey JPEG of its size for every image: one is encoded for each size, the others are links to it or copies."""
    from PIL import Image

    for width, height in set(map(tuple, plan.sizes.tolist())):
        master = masters / f"{width}x{height}.jpg"
        if not master.exists():
            Image.new("RGB", (width, height), (128, 128, 128)).save(master, quality=50)
    folder.mkdir(parents=True)
    for stem, (width, height) in zip(plan.stems, plan.sizes.tolist(), strict=True):
        master, file = masters / f"{width}x{height}.jpg", folder / f"{stem}.jpg"
        try:
            os.link(master, file)
        except OSError:  # no links on this disk, or too many of this file
            shutil.copyfile(master, file)


def make_corpus(target: Path, *, images: int = 20_000, objects: int = 120_000, seed: int = 0) -> None:
    """Write the corpus as the new folder `target`, which appears whole; FileExistsError where there is one already."""
    if target.exists():
        raise FileExistsError(f"{target} exists already")
    plan = plan_corpus(images, objects, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as work:
        made, masters = Path(work, "made"), Path(work, "masters")
        for folder in (made / "voc" / "Annotations", made / "coco" / "annotations", masters):
            folder.mkdir(parents=True)
        for stem, text in xml_files(plan):
            Path(made, "voc", "Annotations", f"{stem}.xml").write_bytes(text.encode())
        Path(made, "coco", "annotations", "instances.json").write_bytes(coco_text(plan, seed).encode())
        labels = sorted(LABELS[i] for i in set(plan.label.tolist()))
        Path(made, "labels.txt").write_bytes("".join(f"{label}\n" for label in labels).encode())
        save_images(plan, made / "voc" / "JPEGImages", masters)
        save_images(plan, made / "coco" / "images", masters)
        made.rename(target)


def main() -> None:
    """Make the corpus and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path, help="a folder that is not there yet")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--objects", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.images < 1 or options.objects < 1 or options.seed < 0:
        parser.error("it takes one image and one object at least, and a seed from 0 on")
    try:
        make_corpus(options.target, images=options.images, objects=options.objects, seed=options.seed)
    except OSError as error:
        parser.error(str(error))
    for name, files in (("XML", "voc/Annotations/*.xml"), ("JSON", "coco/annotations/*.json")):
        size = sum(file.stat().st_size for file in options.target.glob(files))
        print(f"{options.target}: {size / 1e6:.1f} MB of {name}")


if __name__ == "__main__":
    main()
