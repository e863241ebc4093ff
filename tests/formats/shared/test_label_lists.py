"""One rule for the order of labels, whatever the format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import save_image
from vocdet.formats import registry
from vocdet.formats.scan import Source

MakeVoc = Callable[..., Path]
BOX = (10, 20, 30, 40)


def labelme(root: Path, labels: str) -> Path:
    for i, label in enumerate(labels.split()):
        save_image(root / f"{i}.jpg", (100, 80))
        shape = {"label": label, "shape_type": "rectangle", "points": [[1, 2], [30, 40]]}
        (root / f"{i}.json").write_text(json.dumps({"imagePath": f"{i}.jpg", "shapes": [shape]}))
    return root


@pytest.mark.parametrize("name", ["labels.txt", "classes.txt", "obj.names"])
@pytest.mark.parametrize("format", ["voc", "labelme"])
def test_a_complete_list_in_the_folder_orders_the_labels(
    tmp_path: Path, make_voc: MakeVoc, format: str, name: str
) -> None:
    root = make_voc({"0": [("dog", BOX)], "1": [("cat", BOX)]}) if format == "voc" else labelme(tmp_path, "dog cat")
    assert registry.scan(Source(root)).dataset.labels == ("cat", "dog")
    (root / name).write_text("dog\ncat\n")
    scan = registry.scan(Source(root))
    assert (scan.dataset.labels, scan.label_source, scan.findings) == (("dog", "cat"), name, ())
    given = tmp_path / "mine.txt"
    given.write_text("cat\ndog\n")
    scan = registry.scan(Source(root, labels=given))
    assert (scan.dataset.labels, scan.label_source) == (("cat", "dog"), "")


@pytest.mark.parametrize("format", ["voc", "labelme"])
def test_an_incomplete_list_is_named_and_not_used(tmp_path: Path, make_voc: MakeVoc, format: str) -> None:
    root = make_voc({"0": [("dog", BOX)], "1": [("cat", BOX)]}) if format == "voc" else labelme(tmp_path, "dog cat")
    (root / "classes.txt").write_text("dog\n")
    scan = registry.scan(Source(root))
    (finding,) = scan.findings
    assert (scan.dataset.labels, scan.label_source) == (("cat", "dog"), "")
    assert (finding.code, finding.problem) == ("label.list", "is ignored: it lacks the labels 'cat'")


@pytest.mark.parametrize(
    ("begin", "names"),
    [
        ("BACKGROUND\n", "'BACKGROUND'"),
        ("__background__\n", "'__background__'"),
        ("__ignore__\n_background_\n", "'__ignore__', '_background_'"),
    ],
)
@pytest.mark.parametrize("format", ["voc", "labelme", "yolo"])
def test_a_background_without_objects_is_dropped_with_a_finding(
    tmp_path: Path, make_voc: MakeVoc, format: str, begin: str, names: str
) -> None:
    if format == "voc":
        root = make_voc({"0": [("dog", BOX)], "1": [("cat", BOX)]})
    elif format == "labelme":
        root = labelme(tmp_path, "dog cat")
    else:
        root = tmp_path
        for i in (0, 1):
            save_image(root / f"{i}.jpg", (100, 80))
            (root / f"{i}.txt").write_text(f"{begin.count(chr(10)) + i} .5 .5 .2 .2\n")
    (root / "labels.txt").write_text(f"{begin}dog\ncat\n")
    scan = registry.scan(Source(root))
    (finding,) = scan.findings
    assert scan.dataset.labels == ("dog", "cat")
    assert [scan.dataset.labels[i] for i in scan.dataset.objects.label] == ["dog", "cat"]
    assert (finding.code, finding.place.path) == ("label.background", root / "labels.txt")
    assert finding.problem.startswith(f"the label {names} has no object: it is dropped")


def test_a_background_in_the_list_of_the_user_is_dropped_too(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("BACKGROUND\ndog\ncat\n")
    scan = registry.scan(Source(labelme(tmp_path, "dog cat"), labels=tmp_path / "mine"))
    assert scan.dataset.labels == ("dog", "cat")
    assert [finding.code for finding in scan.findings] == ["label.background"]


def test_a_background_with_objects_stays(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("__ignore__\ndog\n")
    scan = registry.scan(Source(labelme(tmp_path, "dog __ignore__")))
    assert scan.dataset.labels == ("__ignore__", "dog")
