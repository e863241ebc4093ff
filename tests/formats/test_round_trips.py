"""What is read, written and read again is the same: VOC, COCO, and each by way of the other."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as pycoco

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.mask_areas import mask_areas
from vocdet.data.texts import Texts
from vocdet.formats import coco_json, coco_write, image_sets, voc_tree, voc_write
from vocdet.formats.losses import Loss
from vocdet.formats.scan import Scan

Parts = Mapping[str, NDArray[np.int64]]
Write = Callable[..., list[Loss]]

many = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

# What a dataset can say. Texts are such as XML has characters for where VOC has a tag for them, else any.

xml_text = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=8)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
odd = st.sampled_from(
    ["a & b", "<b>", "]]>", "\"'", "größe", "犬", " x ", "a\tb", "&amp;", "a\r\nb", "0", "\u2028", "\ufeffx", "\x85"]
)
label = (xml_text | odd).map(lambda text: " ".join(text.split())).filter(bool)
pose = (xml_text | odd).map(str.strip).filter(lambda text: text not in ("", "Unspecified"))
number = (
    st.integers(-50, 4000).map(float)
    | st.decimals(-50, 4000, places=2).map(float)
    | st.decimals(0, 4000, places=7).map(float)
    | st.floats(-50, 4000)
    | st.floats(0, 4000, width=32)
)
from_one = number.map(abs).map(lambda value: value + 1 if value < 1 else value)  # as it is in a 1-based file
side = st.integers(0, 900).map(float) | st.decimals(0, 900, places=3).map(float) | st.floats(0, 900)
Box = tuple[float, float, float, float]


def boxes(*, one_based: bool) -> st.SearchStrategy[Box]:
    """Boxes that VOC can say: not within the first pixel, and from a 1-based file none that is empty."""
    low = from_one if one_based else number
    sides = (st.tuples(low, low, side, side)
             .map(lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3]))
             .filter(lambda one: max(one[2:]) > 2))  # fmt: skip
    return sides.map(lambda one: (less_one(one[0]), less_one(one[1]), one[2], one[3])) if one_based else sides


def less_one(value: float) -> float:
    """What a number of a 1-based file is in a dataset."""
    return float(Decimal(repr(value)) - 1)


json_leaf = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | any_text
)
json_value = st.recursive(
    json_leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3), max_leaves=4
)
own_key = st.sampled_from(["track", "a:b", "ü", "zz top", "</coco>", "\x07"])
tag = st.sampled_from(
    ["<shot/>", '<shot light="d&amp;m">x</shot>', "<a><b>1</b> and <b>2</b></a>", "<id>5</id>", "<größe>é</größe>",
     "<actions><jumping>1</jumping></actions>", "<robndbox><cx>1</cx></robndbox>", "<part><name>x</name></part>",
     "<attributes><attribute><name>a</name></attribute></attributes>"]
)  # fmt: skip
part = st.fixed_dictionaries({
    "name": any_text, "bbox": st.tuples(number, number, side, side).map(list),
})  # fmt: skip
object_extra = st.fixed_dictionaries({}, optional={
    "attributes": st.dictionaries(any_text, any_text | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9), max_size=3),
    "parts": st.lists(part, max_size=2),
    "voc": st.lists(tag, min_size=1, max_size=2).map(lambda tags: {"tags": tags}),
    "keypoints": st.lists(st.integers(0, 9), max_size=6),
    "num_keypoints": st.integers(0, 3),
    "score": st.floats(0, 1),
    "extra": json_value,
})  # fmt: skip
attribute = st.dictionaries(st.sampled_from(["verified", "größe", "n-1"]),
                            xml_text | odd, min_size=1, max_size=3)  # fmt: skip
header = st.fixed_dictionaries({}, optional={
    "folder": st.none() | xml_text.filter(lambda text: text != "JPEGImages"),
    "path": st.none() | xml_text.map(lambda text: f"/home/{text}"),
    "source": st.none() | st.dictionaries(st.sampled_from(["database", "annotation", "image", "flickrid", "größe"]), xml_text | odd, max_size=3)
              .filter(lambda source: source != {"database": "Unknown"}),
    "depth": st.none() | st.sampled_from(["1", "4", "", "three"]),
    "segmented": st.none() | st.sampled_from(["2", "yes", ""]),
    "attributes": attribute,
    "tags": st.lists(tag.filter(lambda text: not text.startswith(("<part", "<attributes"))), min_size=1, max_size=2),
})  # fmt: skip
image_extra = st.fixed_dictionaries({}, optional={
    "license": st.integers(1, 9), "flickr_url": any_text, "date_captured": any_text, "camera": json_value,
    "voc": header.filter(bool),
})  # fmt: skip


@st.composite
def segmentation(draw: st.DrawFn, width: int, height: int, *, one_based: bool) -> bytes:
    """Polygons as JSON in various ways to write numbers, or an RLE of either kind."""
    kind = draw(st.sampled_from(["none", "polygons", "runs", "text"]))
    if kind == "none":
        return b""
    if kind == "polygons":
        count = draw(st.integers(1, 2))
        each = from_one.map(less_one) if one_based else number
        points = [draw(st.lists(each, min_size=6, max_size=6)) for _ in range(count)]
        style: Callable[[float], str] = draw(st.sampled_from([repr, "{:.2f}".format, "{:e}".format, "{:.3E}".format]))
        space = draw(st.sampled_from(["", " ", "\n "]))
        return f"[{f',{space}'.join('[' + f',{space}'.join(map(style, one)) + ']' for one in points)}]".encode()
    drawn = np.zeros((height, width), np.uint8)
    x, y = draw(st.integers(0, width)), draw(st.integers(0, height))
    drawn[y : y + draw(st.integers(0, 9)), x : x + draw(st.integers(0, 9))] = 1
    if kind == "text":
        counts: object = pycoco.encode(np.asfortranarray(drawn))["counts"].decode()
    else:
        flat = drawn.T.ravel().astype(int).tolist()
        edges = [0, *(i for i in range(1, len(flat)) if flat[i] != flat[i - 1]), len(flat)]
        counts = [0] * flat[0] + [after - before for before, after in zip(edges, edges[1:], strict=False)]
    return json.dumps({"size": [height, width], "counts": counts}).encode()


@st.composite
def datasets(draw: st.DrawFn, *, one_based: bool | None = None) -> Dataset:
    """A dataset that says a bit of everything. Rows are in the order in which a VOC reader finds them."""
    stem = st.sampled_from(["a", "b c", "sub/x", "sub/deep/y", "犬.v2", "z_1", "é", "m.jpg"])
    stems = sorted(draw(st.lists(stem, max_size=4, unique=True)), key=lambda one: f"{one}.xml")
    files = tuple(f"images/{one}{draw(st.sampled_from(['.jpg', '.PNG']))}" for one in stems)
    sizes = [(draw(st.integers(1, 40)), draw(st.integers(1, 30))) for _ in stems]
    labels = tuple(draw(st.lists(label, min_size=1, max_size=4, unique=True)))
    poses = ("", *draw(st.lists(pose, max_size=2, unique=True)))
    rows = sorted(draw(st.lists(st.integers(0, len(stems) - 1), max_size=5))) if stems else []
    n = len(rows)
    one_based = draw(st.booleans()) if one_based is None else one_based
    flags = [np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), np.bool_) for _ in range(4)]
    objects = Objects(
        np.array(rows, np.int32),
        np.array([draw(st.integers(0, len(labels) - 1)) for _ in rows], np.int32),
        np.array([draw(boxes(one_based=one_based)) for _ in rows], np.float64).reshape(-1, 4),
        flags[0],
        flags[1],
        flags[2],
        flags[3],
        np.zeros(n, np.int32),
        np.array([draw(st.integers(0, len(poses) - 1)) for _ in rows], np.int16),
        np.array([draw(st.just(math.nan) | side.filter(bool)) for _ in rows], np.float64),
        Texts.of([draw(segmentation(*sizes[row], one_based=one_based)) for row in rows]),
        Texts.of([as_extra(draw(object_extra)) for _ in rows]),
    )
    images = Images(tuple(stems), files, np.array([w for w, _ in sizes], np.int32), np.array([h for _, h in sizes], np.int32),
                    ("",) * len(stems), Texts.of([as_extra(draw(image_extra)) for _ in stems]))  # fmt: skip
    extra: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={
        "info": st.dictionaries(any_text, json_leaf, min_size=1, max_size=2), "licenses": st.just([{"id": 1, "name": "CC: BY"}]),
        "mine": json_value,
    }))  # fmt: skip
    said = {one: draw(st.fixed_dictionaries({}, optional={"supercategory": any_text, "keypoints": st.just(["nose"]),
                                                          "colour": json_leaf})) for one in labels}  # fmt: skip
    if any(said.values()):
        extra["categories"] = {one: what for one, what in said.items() if what}
    if one_based:
        extra["voc"] = {"coordinates": "one"}
    return Dataset(Path(), labels, images, objects, poses, as_extra(extra))


def as_extra(keys: Mapping[str, Any]) -> bytes:
    return json.dumps(keys, ensure_ascii=False, separators=(",", ":")).encode() if keys else b""


@st.composite
def divided(draw: st.DrawFn, dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """Parts that share no image, perhaps with a trainval, perhaps not of all images, perhaps none at all."""
    part_of = [draw(st.sampled_from(["train", "val", "test", ""])) for _ in range(len(dataset))]
    parts: dict[str, NDArray[np.int64]] = {
        name: np.array([row for row, part in enumerate(part_of) if part == name], np.int64)
        for name in ("train", "val", "test") if name in part_of
    }  # fmt: skip
    if {"train", "val"} <= parts.keys() and draw(st.booleans()):
        parts = {"trainval": np.sort(np.concatenate([parts["train"], parts["val"]])), **parts}
    return parts


# Writing and reading.


def written(write: Write, folder: Path, dataset: Dataset, parts: Parts) -> list[Loss]:
    folder.mkdir()
    targets = {coco_write.write: coco_write, voc_write.write: voc_write}[write].image_targets(dataset, parts)
    return write(folder, dataset, parts, targets, mask_areas(dataset.objects.segmentation).area)


def read(folder: Path) -> tuple[Scan, Parts]:
    found = (coco_json if (folder / "annotations").is_dir() else voc_tree).scan(folder, bare=True)
    assert [finding for finding in found.findings if finding.code not in ("voc.tag.unknown", "imagesets.empty")] == []
    parts, findings = image_sets.read_parts(found)
    assert [finding for finding in findings if finding.severity == "error"] == []
    return found, parts


def content(dataset: Dataset, parts: Parts | None = None) -> dict[str, Any]:
    """All that a dataset says, whatever the order of its images."""
    objects, images = dataset.objects, dataset.images
    measured = mask_areas(objects.segmentation).area
    usual = np.where(np.isnan(measured), (objects.box[:, 2:] - objects.box[:, :2]).prod(axis=1), measured)
    found: dict[str, Any] = {"labels": dataset.labels, "extra": decoded(dataset.extra)}
    found["images"] = {
        stem: ((int(images.widths[i]), int(images.heights[i])), images.files[i].rpartition(".")[2], decoded(images.extra[i]),
               [one(dataset, usual, row) for row in np.flatnonzero(objects.image == i).tolist()])
        for i, stem in enumerate(images.stems)
    }  # fmt: skip
    if parts is not None:
        found["parts"] = {name: sorted(images.stems[row] for row in rows) for name, rows in parts.items() if len(rows)}
    return found


def one(dataset: Dataset, usual: NDArray[np.float64], row: int) -> list[Any]:
    """What is said of an object. An area that is what its mask or its box has is as good as none."""
    objects = dataset.objects
    area = float(objects.area[row])
    said = not math.isnan(area) and abs(area - usual[row]) > 1e-6 * max(1, usual[row])
    flags = [bool(column[row]) for column in (objects.difficult, objects.truncated, objects.occluded, objects.crowd)]
    return [dataset.labels[objects.label[row]], objects.box[row].tolist(), flags, dataset.poses[objects.pose[row]],
            area if said else None, decoded(objects.segmentation[row]), decoded(objects.extra[row])]  # fmt: skip


def decoded(text: bytes) -> Any:
    return json.loads(text) if text else None


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@many
@given(datasets())
def test_coco_gives_back_every_column(dataset: Dataset) -> None:
    with scratch() as folder:
        assert written(coco_write.write, folder / "coco", dataset, {}) == []
        assert content(read(folder / "coco")[0].dataset) == content(dataset)


@many
@given(datasets())
def test_voc_gives_back_every_column(dataset: Dataset) -> None:
    if not len(dataset):
        return
    with scratch() as folder:
        assert written(voc_write.write, folder / "voc", dataset, {}) == []
        assert content(read(folder / "voc")[0].dataset) == content(dataset)


@many
@given(st.data())
def test_voc_by_way_of_coco_is_the_same_to_the_last_byte(data: st.DataObject) -> None:
    dataset = data.draw(datasets())
    if not len(dataset):
        return
    parts: Parts = data.draw(divided(dataset))
    with scratch() as folder:
        written(voc_write.write, folder / "voc1", dataset, parts)
        for i in (1, 2):
            found, parts = read(folder / f"voc{i}")
            losses = written(coco_write.write, folder / f"coco{i}", found.dataset, parts)
            assert losses == []
            again, parts = read(folder / f"coco{i}")
            assert content(again.dataset) == content(found.dataset)
            assert written(voc_write.write, folder / f"voc{i + 1}", again.dataset, parts) == []
        assert files(folder / "voc2") == files(folder / "voc3")  # on the first trip keys of JSON may change places
        assert files(folder / "coco1") == files(folder / "coco2")
