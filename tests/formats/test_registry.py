"""Every format has the same functions, and none is loaded before it is used."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import get_args

import pytest

from tests.conftest import save_image
from vocdet.errors import DatasetError
from vocdet.formats import registry
from vocdet.formats.registry import FORMATS, Format, LayoutModule, ReadModule, WriteModule
from vocdet.formats.scan import FormatChoice, FormatName, Source
from vocdet.workflows.convert import WrittenFormat

EVERY = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
LOADED = """
import sys
from pathlib import Path
from vocdet.formats.scan import Source
from vocdet.workflows.convert import convert
convert(Source(Path(sys.argv[1])), Path(sys.argv[2]), to="coco")
print(*sorted(name for name in sys.modules if name == "yaml" or name.startswith("vocdet.formats.")))
"""


def parameters(function: object) -> list[tuple[str, str]]:
    """Names and kinds of a function's parameters but self; defaults may differ."""
    assert callable(function)
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind.description) for one in found if one.name != "self"]


def test_the_registry_names_every_format() -> None:
    assert tuple(FORMATS) == get_args(FormatName)
    assert ("auto", *FORMATS) == get_args(FormatChoice)
    assert {name for name, format in FORMATS.items() if format.writable} == set(get_args(WrittenFormat))


@EVERY
def test_every_format_is_recognized_and_read_by_the_same_functions(format: Format) -> None:
    assert len(parameters(format.layout.looks_like)) == len(parameters(LayoutModule.looks_like))
    assert parameters(format.reader.scan) == parameters(ReadModule.scan)
    assert parameters(format.layout.annotated) == parameters(LayoutModule.annotated)
    assert hasattr(format.layout, "find_layout")
    assert hasattr(format.layout, "Layout")


@EVERY
def test_every_format_is_written_by_the_same_functions(format: Format) -> None:
    if not format.writable:
        with pytest.raises(ModuleNotFoundError):
            _ = format.writer
        return
    assert parameters(format.writer.image_targets) == parameters(WriteModule.image_targets)
    assert parameters(format.writer.write) == parameters(WriteModule.write)


def test_a_conversion_loads_only_the_formats_it_uses(tmp_path: Path, make_voc: Callable[..., Path]) -> None:
    root = make_voc({"a": [("dog", (10, 20, 30, 40))]})
    command = [sys.executable, "-c", LOADED, str(root), str(tmp_path / "new")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "vocdet.formats.coco.write" in loaded
    unused = ("yaml", "vocdet.formats.yolo", "vocdet.formats.labelme", "vocdet.formats.coco.read")
    assert [name for name in loaded if name.startswith(unused)] == []


@pytest.mark.parametrize(
    ("name", "format"), [("a.json", "coco"), ("data.yaml", "yolo"), ("DATA.YML", "yolo"), (".", "voc")]
)
def test_a_file_is_recognized_by_its_suffix(tmp_path: Path, name: str, format: FormatName) -> None:
    (tmp_path / name).touch()
    assert registry.readings(tmp_path / name)[0].format == format


def test_other_files_are_not_datasets(tmp_path: Path) -> None:
    (tmp_path / "a.xml").touch()
    with pytest.raises(DatasetError, match=r"a\.xml: is a file, not a dataset \(use the folder, a COCO file,"):
        registry.scan(Source(tmp_path / "a.xml"))


# Files of a folder with images a, b and c in each format, and files that are of no format.
COCO_IMAGES = [{"id": i, "file_name": f"{name}.jpg", "width": 40, "height": 30} for i, name in enumerate("abc")]
COCO_OBJECTS = [{"id": i, "image_id": i, "category_id": 1, "bbox": [4, 5, 6, 7]} for i in range(3)]
COCO = {"images": COCO_IMAGES, "annotations": COCO_OBJECTS, "categories": [{"id": 1, "name": "cat"}]}
LABELME = {"imagePath": "", "shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[4, 5], [9, 9]]}]}
XML = "<annotation><object><name>cat</name><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
XML += "</object></annotation>"
VIA_REGION = {
    "shape_attributes": {"name": "rect", "x": 4, "y": 5, "width": 5, "height": 4},
    "region_attributes": {"label": "cat"},
}
CVAT_IMAGE = '<image name="{}.jpg" width="40" height="30"><box label="cat" xtl="4" ytl="5" xbr="9" ybr="9"/></image>'
DATASETS: dict[FormatName, dict[str, str]] = {
    "voc": {f"{name}.xml": XML for name in "abc"},
    "coco": {"annotations.json": json.dumps(COCO)},
    "yolo": {"classes.txt": "cat\n"} | {f"{name}.txt": "0 .5 .5 .2 .2\n" for name in "abc"},
    "csv": {
        "boxes.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        + "".join(f"{name}.jpg,40,30,cat,4,5,9,9\n" for name in "abc")
    },
    "via": {"via.json": json.dumps({name: {"filename": f"{name}.jpg", "regions": [VIA_REGION]} for name in "abc"})},
    "cvat": {"annotations.xml": f"<annotations>{''.join(map(CVAT_IMAGE.format, 'abc'))}</annotations>"},
    "labelme": {f"{name}.json": json.dumps(LABELME | {"imagePath": f"{name}.jpg"}) for name in "abc"},
}
STRAYS = {
    "calibration.xml": "<?xml version='1.0'?>\n<opencv_storage><K>1</K></opencv_storage>",
    "pom.xml": "<!-- <annotation> --><project><a/></project>",
    "docs/empty.xml": "",
    "example.xml": XML,  # of no image
    "notes.json": json.dumps({"categories": [{"id": 0, "name": "cat"}], "info": {"year": 2024}}),
    "results.json": json.dumps([{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]),
    "image_info.json": json.dumps({"images": COCO_IMAGES, "categories": []}),
    "template.json": json.dumps(COCO | {"annotations": []}),
    "package.json": '{"name": "x"}',
    "README.txt": "1 2 3 4 5 images\n",
    "anchors.txt": "10 13 16 30 33 23\n",
}


def folder_of(root: Path, *contents: Mapping[str, str]) -> Path:
    for name in "abc":
        save_image(root / f"{name}.jpg", (40, 30))
    for name, text in chain.from_iterable(content.items() for content in contents):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("stray", STRAYS)
@pytest.mark.parametrize("format", DATASETS)
def test_a_stray_file_never_decides(tmp_path: Path, format: FormatName, stray: str) -> None:
    root = folder_of(tmp_path, DATASETS[format], {stray: STRAYS[stray]})
    assert [reading.format for reading in registry.readings(root)] == [format]


@pytest.mark.parametrize("other", DATASETS)
@pytest.mark.parametrize("format", DATASETS)
def test_the_reading_with_the_most_annotated_images_is_used(
    tmp_path: Path, format: FormatName, other: FormatName
) -> None:
    if format == other:
        return
    texts = DATASETS[other]
    if other == "coco":
        texts = {"annotations.json": json.dumps(COCO | {"images": COCO_IMAGES[:1], "annotations": COCO_OBJECTS[:1]})}
    accident = {name: text for name, text in texts.items() if name.startswith("a")}
    root = folder_of(tmp_path, DATASETS[format], accident)
    scan = registry.scan(Source(root))
    if format != "coco" and other == "coco":
        assert (scan.format, scan.others) == (format, ("coco",))
    elif format == "coco" and other == "labelme":
        assert scan.others == ("labelme",)
    assert scan.format == format
    assert (len(scan.dataset), len(scan.dataset.objects)) == (3, 3)
    assert registry.scan(Source(root, format=format)).others == ()


def test_images_that_only_another_format_annotates_are_not_read_as_images_without_objects(tmp_path: Path) -> None:
    texts = {name: text for name, text in DATASETS["yolo"].items() if name != "c.txt"}
    scan = registry.scan(Source(folder_of(tmp_path, texts, {"c.xml": XML})))
    assert (scan.format, scan.others, scan.dataset.images.stems) == ("yolo", ("voc",), ("a", "b"))
    assert scan.left_out == {"c": "which only voc annotates"}
    (finding,) = scan.findings
    assert (finding.code, finding.severity, finding.place.path) == ("image.other_format", "warning", tmp_path)
    assert finding.problem == "1 image annotated only in VOC files, which are not read: c"
    assert finding.hint == (
        "open these in the tool that annotated them, and save them as YOLO like the others; "
        '`format="voc"` reads only the VOC files'
    )
    chosen = registry.scan(Source(tmp_path, format="yolo"))
    assert chosen.dataset.images.stems == ("a", "b", "c")
    assert [one.code for one in chosen.findings] == ["image.unannotated"]


def test_a_truncated_coco_file_is_still_named_beside_a_stray_xml(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {"annotations.json": json.dumps(COCO)[:-40], "calibration.xml": "<opencv_storage/>"})
    assert registry.readings(root)[0].format == "coco"


def test_an_annotation_element_is_found_in_other_encodings(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {"classes.txt": "cat\n", "a.txt": "0 .5 .5 .2 .2\n"})
    for name, encoding in (("a", "utf-16"), ("b", "utf-8-sig"), ("c", "utf-16")):
        text = f"<?xml version='1.0' encoding='{encoding.removesuffix('-sig')}'?><!-- note -->\n{XML}"
        (root / f"{name}.xml").write_bytes(text.encode(encoding))
    scan = registry.scan(Source(root))
    assert (scan.format, scan.others, len(scan.dataset)) == ("voc", ("yolo",), 3)
