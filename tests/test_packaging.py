"""What goes into the wheel, and what must stay out of it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import vocdet

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    builders = pytest.importorskip("hatchling.builders.wheel")
    built = builders.WheelBuilder(str(ROOT)).build(
        directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]
    )
    with zipfile.ZipFile(next(iter(built))) as archive:
        yield archive


def test_the_wheel_holds_the_library_and_the_command_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"vocdet", "vocdet_cli", f"vocdet-{vocdet.__version__}.dist-info"}


def test_every_module_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vocdet").rglob("*.py")}
    here |= {path.relative_to(ROOT / "cli").as_posix() for path in (ROOT / "cli" / "vocdet_cli").rglob("*.py")}
    modules = {name for name in wheel.namelist() if name.endswith(".py") and not name.startswith("vocdet/templates/")}
    assert modules == here


def test_templates_lie_inside_the_package(wheel: zipfile.ZipFile) -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "templates").rglob("*") if path.is_file()]
    here = {f"vocdet/{path.as_posix()}" for path in files if "__pycache__" not in path.parts}  # of decode.py, when used
    assert {name for name in wheel.namelist() if name.startswith("vocdet/templates/")} == here


def test_the_wheel_brings_types_licence_and_command(wheel: zipfile.ZipFile) -> None:
    about = f"vocdet-{vocdet.__version__}.dist-info"
    assert "vocdet/py.typed" in wheel.namelist()
    assert "Apache License" in wheel.read(f"{about}/licenses/LICENSE").decode()
    assert "vocdet = vocdet_cli.app:main" in wheel.read(f"{about}/entry_points.txt").decode()
    metadata = wheel.read(f"{about}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.10" in metadata


def test_make_and_continuous_integration_have_what_they_call() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test", "check", "bench", "exports", "clean"):
        assert f"\n{target}:" in makefile
    assert "\nmake test" in (ROOT / ".ci" / "run").read_text()
    assert (ROOT / "examples" / "bench_training.py").is_file()
