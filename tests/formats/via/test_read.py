"""Files of VIA; expected boxes are computed by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import save_image
from vocdet.data.findings import Finding
from vocdet.formats import registry
from vocdet.formats.scan import Scan, Source
from vocdet.formats.via import read as via

SIZE = (100, 80)
RECT = {"name": "rect", "x": 10, "y": 20, "width": 40, "height": 30.5}


def region(shape: Any = RECT, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(*regions: Any, name: str = "a.jpg") -> dict[str, Any]:
    return {"filename": name, "size": 1234, "regions": list(regions), "file_attributes": {}}


def make(root: Path, *entries: dict[str, Any], images: tuple[str, ...] = ("a.jpg",), **project: Any) -> Path:
    """A folder with images, and an export, or a project with these keys."""
    for name in images:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        save_image(root / name, SIZE, seed=len(name))
    whole: Any = {f"{one['filename']}{one['size']}": one for one in entries}
    if project:
        whole = {"_via_settings": {"ui": {}}, "_via_img_metadata": whole, **project}
    (root / "via.json").write_text(json.dumps(whole))
    return root


def one(root: Path, *regions: Any) -> Scan:
    return via.scan(Source(make(root, entry(*regions))))


def objects(scan: Scan) -> list[tuple[str, list[float]]]:
    found = scan.dataset.objects
    return [(scan.dataset.labels[label], box) for label, box in zip(found.label, found.box.tolist(), strict=True)]


def only(scan: Scan) -> Finding:
    (finding,) = scan.findings
    return finding


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        (RECT, [10, 20, 50, 50.5]),
        ({"name": "circle", "cx": 50, "cy": 40, "r": 10}, [40, 30, 60, 50]),
        ({"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 10}, [30, 30, 70, 50]),
        ({"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 10, "theta": math.pi / 2}, [40, 20, 60, 60]),
        ({"name": "polygon", "all_points_x": [10, 50, 30], "all_points_y": [20, 20, 60]}, [10, 20, 50, 60]),
    ],
)
def test_the_box_of_a_region(tmp_path: Path, shape: dict[str, Any], box: list[float]) -> None:
    found = one(tmp_path, region(shape, label="cup"))
    ((label, read),) = objects(found)
    assert label == "cup"
    np.testing.assert_allclose(read, box, atol=1e-6)
    assert bool(found.dataset.objects.segmentation[0]) == (shape["name"] != "rect")
    assert (found.findings, found.format) == ((), "via")
    assert registry.readings(tmp_path)[0].format == registry.readings(tmp_path / "via.json")[0].format == "via"


def test_regions_of_the_first_version_have_numbers_as_keys(tmp_path: Path) -> None:
    old = entry() | {"regions": {"0": region(label="cup")}}
    assert objects(via.scan(Source(make(tmp_path, old)))) == [("cup", [10, 20, 50, 50.5])]


def test_a_project_lists_the_labels(tmp_path: Path) -> None:
    options = {"region": {"kind": {"type": "dropdown", "options": {"vase": "", "cup": ""}}}, "file": {}}
    found = via.scan(Source(make(tmp_path, entry(region(kind="cup")), _via_attributes=options)))
    assert found.dataset.labels == ("vase", "cup")


@pytest.mark.parametrize("header", ["filename", "#filename"])
def test_csv_has_a_row_for_each_region(tmp_path: Path, header: str) -> None:
    make(tmp_path, images=("a.jpg", "b.jpg"))
    (tmp_path / "via.json").unlink()
    file = io.StringIO()
    names = [
        header,
        "file_size",
        "file_attributes",
        "region_count",
        "region_id",
        "region_shape_attributes",
        "region_attributes",
    ]
    csv.writer(file).writerows([
        names, ["a.jpg", 1, "{}", 1, 0, json.dumps(RECT), '{"name":"cup"}'], ["b.jpg", 1, "{}", 0, 0, "{}", "{}"],
    ])  # fmt: skip
    (tmp_path / "via.csv").write_text(file.getvalue())
    found = registry.scan(Source(tmp_path))
    assert (found.format, found.findings) == ("via", ())
    assert objects(found) == [("cup", [10, 20, 50, 50.5])]
    assert found.dataset.images.stems == ("a", "b")


@pytest.mark.parametrize(
    ("attributes", "label", "others"),
    [
        ({"name": "cup"}, "cup", {}),
        ({"anything": "cup"}, "cup", {}),
        ({"name": "cup", "color": "red"}, "cup", {"color": "red"}),
        ({"type": "cup", "name": "Jo"}, "Jo", {"type": "cup"}),  # the first of the preferred names
        ({"Class": "cup", "name": "Jo"}, "cup", {"name": "Jo"}),
        ({"kind": {"cup": True, "vase": False}}, "cup", {}),  # a checkbox
        ({"number": 7}, "7", {}),
    ],
)
def test_one_attribute_is_the_label(
    tmp_path: Path, attributes: dict[str, Any], label: str, others: dict[str, Any]
) -> None:
    found = one(tmp_path, region(**attributes))
    assert [name for name, _ in objects(found)] == [label]
    text = found.dataset.objects.extra[0]
    assert (json.loads(text)["attributes"] if text else {}) == others
    assert [finding.code for finding in found.findings] == (["via.label.attribute"] if others else [])


def test_regions_without_attributes_have_one_label(tmp_path: Path) -> None:
    found = one(tmp_path, region(), region())
    assert [label for label, _ in objects(found)] == ["object", "object"]
    assert only(found).code == "via.label.none"


@pytest.mark.parametrize("kind", ["point", "polyline"])
def test_shapes_without_area_are_left_out_with_a_finding(tmp_path: Path, kind: str) -> None:
    found = one(tmp_path, region(label="cup"), region({"name": kind, "cx": 1, "cy": 2}, label="cup"))
    assert len(found.dataset.objects) == 1
    finding = only(found)
    assert (finding.code, finding.place.inside) == ("via.region.no_area", "a.jpg: regions[1]")


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (region(), "has no label in the attribute 'label'"),
        (region(label={"a": True, "b": True}), "has no label in the attribute 'label'"),
        (region({"name": "rect", "x": "1"}, label="cup"), 'is a rect whose x is "1", not a number'),
        (region({"name": "rect", "x": float("nan"), "y": 1, "width": 1, "height": 1}, label="cup"),
         'is a rect whose x is "NaN", not a number'),
        (region({"name": "rect", "x": 1e300, "y": 1, "width": 1, "height": 1}, label="cup"),
         "is far outside an image of 100×80"),
        (region({"name": "rect", "x": 10**400, "y": 1, "width": 1, "height": 1}, label="cup"),
         "is far outside an image of 100×80"),
        (region({"name": "circle", "cx": 5, "cy": 5, "r": 0}, label="cup"), "is a circle without area"),
        (region({"name": "polygon", "all_points_x": [1, 2], "all_points_y": [1, 2]}, label="cup"),
         "is a polygon without three points of two numbers"),
        (region({"name": "star"}, label="cup"), 'has the unknown shape "star"'),
        (region([], label="cup"), "has the unknown shape null"),
    ],
)  # fmt: skip
def test_a_bad_region_is_an_error_with_its_place(tmp_path: Path, value: Any, problem: str) -> None:
    found = one(tmp_path, region(label="cup"), value)
    finding = only(found)
    assert (finding.severity, finding.problem, finding.place.inside) == ("error", problem, "a.jpg: regions[1]")
    assert objects(found) == [("cup", [10, 20, 50, 50.5])]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"x": {"filename": "a.jpg", "regions": []}', "json.syntax"),
        ('{"_via_img_metadata": [1], "regions": []}', "via.entries"),
        ('{"_via_img_metadata": {"a": 1}}', "via.entries"),
        (json.dumps({"a": entry(name="../../etc/passwd")}), "image.missing"),
        (json.dumps({"a": entry(name="")}), "path.empty"),
    ],
)
def test_a_bad_file_is_a_finding(tmp_path: Path, text: str, code: str) -> None:
    root = make(tmp_path)
    (root / "via.json").write_text(text)
    assert code in {finding.code for finding in via.scan(Source(root)).findings}
