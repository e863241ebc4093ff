"""Every format has the same functions, and none is loaded before it is used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from vocdet.errors import DatasetError
from vocdet.formats import registry
from vocdet.formats.registry import FORMATS, Format, LayoutModule, ReadModule, WriteModule
from vocdet.formats.source import FormatChoice, FormatName, Source
from vocdet.workflows.convert import Target

EVERY = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
LOADED = """
import sys
from pathlib import Path
from vocdet.formats.source import Source
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
    assert {name for name, format in FORMATS.items() if format.writable} == set(get_args(Target))


@EVERY
def test_every_format_is_recognized_and_read_by_the_same_functions(format: Format) -> None:
    assert len(parameters(format.layout.looks_like)) == len(parameters(LayoutModule.looks_like))
    assert parameters(format.reader.scan) == parameters(ReadModule.scan)
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
    assert registry.recognize(tmp_path / name) == format


def test_other_files_are_not_datasets(tmp_path: Path) -> None:
    (tmp_path / "a.xml").touch()
    with pytest.raises(DatasetError, match=r"a\.xml: is a file, not a dataset \(use the folder, a COCO file,"):
        registry.scan(Source(tmp_path / "a.xml"))
