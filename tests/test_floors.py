"""The floors of the house: who may import whom, and what no library code may do."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]

FLOORS = (
    ("data", "recipes"),
    ("formats", "inputs", "models", "evaluation"),
    ("inference", "training"),
    ("workflows",),
)
LEVEL = {folder: level for level, folders in enumerate(FLOORS, 1) for folder in folders}  # files of vocdet/ itself: 0
WITHOUT_TORCH = {"data", "recipes", "formats", "evaluation"}
SLOW_TO_IMPORT = {"torch", "torchvision", "sklearn", "lxml", "cv2", "pycocotools", "numpy"}

LIBRARY = sorted((REPO / "vocdet").rglob("*.py"))
COMMANDS = sorted((REPO / "cli").rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module a file imports, `from vocdet.data import splits` as vocdet.data.splits."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder_of(module: str) -> str:
    """The folder of vocdet a module is in; "" for the files of vocdet/ itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL else ""


def name(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", LIBRARY, ids=name)
def test_a_file_imports_from_lower_floors_or_its_own_folder(path: Path) -> None:
    own = folder_of(".".join(path.relative_to(REPO).with_suffix("").parts))
    for module in imports(parsed(path)):
        top = module.split(".")[0]
        assert top not in {"cli", "vocdet_cli", "tests", "typer", "rich", "click"}, f"imports {module}"
        assert not (own in WITHOUT_TORCH and top in {"torch", "torchvision"}), f"imports {module}"
        if top == "vocdet" and folder_of(module) != own:
            assert LEVEL.get(folder_of(module), 0) < LEVEL.get(own, 0), f"imports {module} from the floor {own!r} is on"


@pytest.mark.parametrize("path", LIBRARY, ids=name)
def test_the_library_never_prints_and_never_exits(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"print", "exit", "quit", "sys.exit", "os._exit"}, f"line {node.lineno}: {called}()"


@pytest.mark.parametrize("path", COMMANDS, ids=name)
def test_the_command_line_imports_nothing_slow_before_a_command_runs(path: Path) -> None:
    tree = parsed(path)
    for node in tree.body:
        for module in imports(ast.Module([node], [])) if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            top = module.split(".")[0]
            assert top not in SLOW_TO_IMPORT, f"line {node.lineno}: imports {module}"
            assert folder_of(module) in {"", "recipes"}, f"line {node.lineno}: imports {module}"  # the defaults


def test_every_folder_of_the_library_is_on_a_floor() -> None:
    folders = {path.parent.name for path in LIBRARY if path.parent != REPO / "vocdet"}
    assert folders <= LEVEL.keys()


def test_help_loads_none_of_the_slow_packages() -> None:
    import subprocess

    code = "import sys; from vocdet_cli.app import app; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not SLOW_TO_IMPORT & set(done.stdout.split())
