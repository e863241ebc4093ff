"""Datasets and scans for property tests.

`datasets` draws what every format can say, `scans` everything that columns in memory can hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as pycoco

from vocdet.data.dataset import Dataset, Images, Objects
from vocdet.data.findings import Finding
from vocdet.data.splits import SPLIT_ORDER, Rows
from vocdet.data.texts import Texts
from vocdet.errors import Place
from vocdet.formats.registry import FORMATS
from vocdet.formats.scan import Scan


def examples(many: int) -> int:
    """So many examples with `make fuzz`; a share of them, the same ones each time, in every other run of the tests."""
    return min(many, many * settings().max_examples // 100)


few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

Box = tuple[float, float, float, float]
Overlap = Literal["none", "apart", "any"]  # no splits, splits of which each image is in one at most, any rows

# What every format can hold. Where VOC has a tag for a text, the text has only characters of XML.

xml_text = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=8)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
tricky = st.sampled_from(
    ["a & b", "<b>", "]]>", "\"'", "größe", "犬", " x ", "a\tb", "&amp;", "a\r\nb", "0", "\u2028", "\ufeffx", "\x85"]
)
label = (xml_text | tricky).map(lambda text: " ".join(text.split())).filter(bool)
pose = (xml_text | tricky).map(str.strip).filter(lambda text: text not in ("", "Unspecified"))
number = (
    st.integers(-50, 4000).map(float)
    | st.decimals(-50, 4000, places=2).map(float)
    | st.decimals(0, 4000, places=7).map(float)
    | st.floats(-50, 4000)
    | st.floats(0, 4000, width=32)
)
from_one = number.map(abs).map(lambda value: value + 1 if value < 1 else value)  # a coordinate in a 1-based file
side = st.integers(0, 900).map(float) | st.decimals(0, 900, places=3).map(float) | st.floats(0, 900)


def boxes(one_based: bool) -> st.SearchStrategy[Box]:
    """Boxes that VOC can hold: not within the first pixel, and not empty if they come from a 1-based file."""
    low = from_one if one_based else number
    sides = (st.tuples(low, low, side, side)
             .map(lambda one: (one[0], one[1], one[0] + one[2], one[1] + one[3]))
             .filter(lambda one: max(one[2:]) > 2))  # fmt: skip
    return sides.map(lambda one: (less_one(one[0]), less_one(one[1]), one[2], one[3])) if one_based else sides


def as_extra(keys: Mapping[str, Any]) -> bytes:
    return json.dumps(keys, ensure_ascii=False, separators=(",", ":")).encode() if keys else b""


def less_one(value: float) -> float:
    """The 0-based coordinate of a 1-based one."""
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
any_tag = st.sampled_from(
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
    "voc": st.lists(any_tag, min_size=1, max_size=2).map(lambda tags: {"tags": tags}),
    "keypoints": st.lists(st.integers(0, 9), max_size=6),
    "num_keypoints": st.integers(0, 3),
    "score": st.floats(0, 1),
    "extra": json_value,
})  # fmt: skip
attribute = st.dictionaries(st.sampled_from(["verified", "größe", "n-1"]),
                            xml_text | tricky, min_size=1, max_size=3)  # fmt: skip
header = st.fixed_dictionaries({}, optional={
    "folder": st.none() | xml_text.filter(lambda text: text != "JPEGImages"),
    "path": st.none() | xml_text.map(lambda text: f"/home/{text}"),
    "source": st.none() | st.dictionaries(st.sampled_from(["database", "annotation", "image", "flickrid", "größe"]), xml_text | tricky, max_size=3)
              .filter(lambda source: source != {"database": "Unknown"}),
    "depth": st.none() | st.sampled_from(["1", "4", "", "three"]),
    "segmented": st.none() | st.sampled_from(["2", "yes", ""]),
    "attributes": attribute,
    "tags": st.lists(any_tag.filter(lambda text: not text.startswith(("<part", "<attributes"))), min_size=1, max_size=2),
})  # fmt: skip
image_extra = st.fixed_dictionaries({}, optional={
    "license": st.integers(1, 9), "flickr_url": any_text, "date_captured": any_text, "camera": json_value,
    "voc": header.filter(bool),
})  # fmt: skip


@st.composite
def segmentations(draw: st.DrawFn, width: int, height: int, one_based: bool) -> bytes:
    """Polygons as JSON with numbers written in various ways, an RLE of either kind, or nothing."""
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
def dataset_extras(draw: st.DrawFn, labels: Sequence[str], one_based: bool) -> bytes:
    """What COCO says of the whole and of its categories, and the coordinates of a VOC file."""
    extra: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={
        "info": st.dictionaries(any_text, json_leaf, min_size=1, max_size=2), "licenses": st.just([{"id": 1, "name": "CC: BY"}]),
        "mine": json_value,
    }))  # fmt: skip
    of_label = st.fixed_dictionaries({}, optional={
        "supercategory": any_text, "keypoints": st.just(["nose"]), "color": json_leaf,
    })  # fmt: skip
    of_labels = {name: draw(of_label) for name in labels}
    if any(of_labels.values()):
        extra["categories"] = {name: keys for name, keys in of_labels.items() if keys}
    if one_based:
        extra["voc"] = {"coordinates": "one"}
    return as_extra(extra)


any_name = st.text(st.characters(), max_size=8)  # also unpaired surrogates, as in file names that are not text
any_bytes = st.binary(max_size=12)
int32 = st.integers(-(2**31), 2**31 - 1)
any_number = (
    st.integers(-3, 3).map(float)
    | st.integers(-(2**40), 2**40).map(float)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.just(-0.0)
)


@dataclass(frozen=True)
class Values:
    """Strategies for what the columns of a dataset hold."""

    stems: st.SearchStrategy[str]
    files: st.SearchStrategy[str]  # put after the stem
    sides: tuple[st.SearchStrategy[int], st.SearchStrategy[int]]  # of an image
    labels: st.SearchStrategy[str]
    poses: st.SearchStrategy[str]
    boxes: Callable[[bool], st.SearchStrategy[Box]]  # by whether the coordinates come from a 1-based file
    areas: st.SearchStrategy[float]
    masks: Callable[[int, int, bool], st.SearchStrategy[bytes]]  # by width, height, and as for boxes
    object_extras: st.SearchStrategy[bytes]
    image_extras: st.SearchStrategy[bytes]
    extras: Callable[[Sequence[str], bool], st.SearchStrategy[bytes]]  # by labels, and as for boxes
    lines: st.SearchStrategy[int]
    entries: st.SearchStrategy[str]
    split_names: st.SearchStrategy[str]


PORTABLE = Values(  # what every format can hold
    stems=st.sampled_from(["a", "b c", "sub/x", "sub/deep/y", "犬.v2", "z_1", "é", "m.jpg"]),
    files=st.sampled_from([".jpg", ".PNG"]),
    sides=(st.integers(1, 40), st.integers(1, 30)),
    labels=label,
    poses=pose,
    boxes=boxes,
    areas=st.just(math.nan) | side.filter(bool),
    masks=segmentations,
    object_extras=object_extra.map(as_extra),
    image_extras=image_extra.map(as_extra),
    extras=dataset_extras,
    lines=st.integers(0, 2**31 - 1),
    entries=st.sampled_from(["", "annotations"]),
    split_names=st.sampled_from([*SPLIT_ORDER, "fold1_train", "fold1_val", "fold2_train", "fold2_val"]),
)
ANYTHING = Values(  # what columns in memory can hold
    stems=any_name,
    files=any_name,
    sides=(int32, int32),
    labels=any_name,
    poses=any_name,
    boxes=lambda _: st.tuples(any_number, any_number, any_number, any_number),
    areas=st.just(math.nan) | any_number,
    masks=lambda *_: any_bytes,
    object_extras=any_bytes,
    image_extras=any_bytes,
    extras=lambda *_: any_bytes,
    lines=int32,
    entries=any_name,
    split_names=any_name,
)


@st.composite
def datasets(
    draw: st.DrawFn,
    values: Values = PORTABLE,
    *,
    one_based: bool | None = None,
    splits: Overlap = "any",
    root: Path = Path(),
) -> Dataset:
    """A dataset with something in every column; images are in the order in which a VOC reader finds them."""
    stems = sorted(draw(st.lists(values.stems, max_size=4, unique=True)), key=lambda stem: f"{stem}.xml")
    sizes = [(draw(values.sides[0]), draw(values.sides[1])) for _ in stems]
    labels = draw(st.lists(values.labels, min_size=1, max_size=4, unique=True))
    poses = ("", *draw(st.lists(values.poses.filter(bool), max_size=2, unique=True)))
    rows = sorted(draw(st.lists(st.integers(0, len(stems) - 1), max_size=5))) if stems else []
    one_based = draw(st.booleans()) if one_based is None else one_based

    def column(each: st.SearchStrategy[Any], dtype: type[np.generic]) -> NDArray[Any]:
        return np.array([draw(each) for _ in rows], dtype)

    flags = {name: column(st.booleans(), np.bool_) for name in ("difficult", "truncated", "occluded", "crowd")}
    objects = Objects(
        image=np.array(rows, np.int32),
        label=column(st.integers(0, len(labels) - 1), np.int32),
        box=column(values.boxes(one_based), np.float64).reshape(-1, 4),
        line=column(values.lines, np.int32),
        pose=column(st.integers(0, len(poses) - 1), np.int16),
        area=column(values.areas, np.float64),
        segmentation=Texts.of([draw(values.masks(*sizes[row], one_based)) for row in rows]),
        extra=Texts.of([draw(values.object_extras) for _ in rows]),
        **flags,
    )
    widths, heights = (np.array([size[i] for size in sizes], np.int32) for i in (0, 1))
    images = Images(
        tuple(stems), tuple(f"images/{stem}{draw(values.files)}" for stem in stems), widths, heights,
        tuple(draw(st.sampled_from(["", f"{stem}.xml"])) for stem in stems), Texts.of([draw(values.image_extras) for _ in stems]),
    )  # fmt: skip
    return Dataset(
        root, tuple(labels), images, objects, poses, draw(values.extras(labels, one_based)), draw(values.entries),
        draw(_splits(values.split_names, len(stems), splits)),
    )  # fmt: skip


@st.composite
def _splits(draw: st.DrawFn, names: st.SearchStrategy[str], images: int, overlap: Overlap) -> dict[str, Rows]:
    """Splits in any order of rows, or ones that share no image, perhaps with a trainval, perhaps not of all images."""
    if overlap == "none" or not images:
        return {}
    if overlap == "any":
        some_rows = st.lists(st.integers(0, images - 1), unique=True, max_size=images)
        drawn = draw(st.dictionaries(names, some_rows, max_size=4))
        return {name: np.array(rows, np.int64) for name, rows in drawn.items()}
    split_of = [draw(st.sampled_from(["train", "val", "test", ""])) for _ in range(images)]
    splits: dict[str, Rows] = {
        name: np.array([row for row, split in enumerate(split_of) if split == name], np.int64)
        for name in ("train", "val", "test") if name in split_of
    }  # fmt: skip
    if {"train", "val"} <= splits.keys() and draw(st.booleans()):
        splits = {"trainval": np.sort(np.concatenate([splits["train"], splits["val"]])), **splits}
    return splits


findings = st.builds(
    Finding,
    code=any_name,
    severity=st.sampled_from(["error", "warning"]),
    problem=any_name,
    place=st.builds(Place, any_name.map(Path), st.integers(0, 2**40), any_name),
    hint=any_name,
    count=st.integers(1, 3) | st.integers(1, 2**40),
)


@st.composite
def scans(draw: st.DrawFn, values: Values = ANYTHING, *, root: Path | None = None) -> Scan:
    """A dataset with findings and with what its reader says about it."""
    return Scan(
        draw(datasets(values, root=Path(draw(any_name)) if root is None else root)),
        tuple(draw(st.lists(findings, max_size=5))),
        draw(st.sampled_from(["zero", "one"])),
        draw(any_name),
        draw(st.dictionaries(any_name, any_name, max_size=4)),
        draw(st.sampled_from(list(FORMATS))),
        draw(any_name),
    )


def plain(value: Any) -> Any:
    """Everything in a scan or dataset as plain values; arrays with their type, and bit for bit."""
    if isinstance(value, np.ndarray):
        nan = np.isnan(value) if value.dtype.kind == "f" else np.zeros(value.shape, np.bool_)
        return value.dtype.str, value.shape, np.where(nan, 0, value).tobytes(), nan.tolist(), value.flags.writeable
    if hasattr(value, "__slots__") and hasattr(value, "__dataclass_fields__"):
        return type(value).__name__, [(field.name, plain(getattr(value, field.name))) for field in fields(value)]
    if isinstance(value, Mapping):
        return [(key, plain(item)) for key, item in value.items()]
    return [plain(item) for item in value] if isinstance(value, tuple) else value
