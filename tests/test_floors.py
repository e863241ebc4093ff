"""The floors of the package: which folder may import which, and what library code never does."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPO = Path(__file__).parents[1]

FLOORS = (
    ("data", "recipes"),
    ("formats", "inputs", "models", "evaluation"),
    ("runtimes",),
    ("inference", "training", "plots", "fetching"),
    ("runs", "exporting", "viewing"),
    ("workflows",),
    ("api",),
)
LEVEL = {folder: level for level, folders in enumerate(FLOORS, 1) for folder in folders}  # files of vocdet/ itself: 0
WITHOUT_TORCH = {"data", "recipes", "formats", "evaluation", "runtimes"}
SEPARATE_FORMATS = {"voc", "coco", "yolo", "labelme", "csv", "cvat", "via"}
SLOW_TO_IMPORT = {"torch", "torchvision", "sklearn", "lxml", "cv2", "pycocotools", "numpy"}
CONSOLE = {"cli", "vocdet_cli", "tests", "typer", "rich", "click"}
BEFORE_A_COMMAND = {"", "recipes"}  # folders of vocdet that the command line may import at start

LIBRARY = sorted((REPO / "vocdet").rglob("*.py"))
COMMANDS = sorted((REPO / "cli").rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and name of every import; `from vocdet.data import texts` is vocdet.data.texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def module_of(path: Path) -> str:
    """The dotted name of a file: vocdet.data for vocdet/data/__init__.py."""
    root = REPO / "cli" if path.is_relative_to(REPO / "cli") else REPO
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module: str) -> str:
    """The folder of vocdet that holds a module; "" for the files of vocdet/ itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "vocdet" and len(parts) > 1 and parts[1] in LEVEL else ""


def library_imports() -> Iterator[tuple[str, str, str]]:
    """Every import of the library but those of its front door, vocdet/__init__.py: place, importer, imported."""
    for path in LIBRARY:
        if path != REPO / "vocdet" / "__init__.py":
            for line, module in imports(parsed(path)):
                yield f"{path.relative_to(REPO).as_posix()}:{line} imports {module}", module_of(path), module


def test_every_import_is_absolute() -> None:
    assert [where for where, _, module in library_imports() if module.startswith(".")] == []


def test_a_file_imports_from_lower_floors_or_its_own_folder() -> None:
    assert [
        where
        for where, importer, module in library_imports()
        if module.split(".")[0] == "vocdet" and folder_of(module) != folder_of(importer)
        if LEVEL.get(folder_of(module), 0) >= LEVEL.get(folder_of(importer), 0)
    ] == []


def test_no_format_imports_another() -> None:
    def format_of(module: str) -> str:
        parts = module.split(".")
        return parts[2] if parts[1:2] == ["formats"] and parts[2] in SEPARATE_FORMATS else ""

    assert [
        where
        for where, importer, module in library_imports()
        if module.startswith("vocdet.formats.") and format_of(importer) and format_of(module)
        if format_of(importer) != format_of(module)
    ] == []


def test_no_two_files_import_each_other() -> None:
    modules = {module_of(path) for path in LIBRARY}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for _, importer, module in library_imports():
        name = module if module in modules else module.rpartition(".")[0]
        if name in modules and name != importer:
            graph[importer].add(name)
    while leaves := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in leaves}
    assert sorted(graph) == []


def test_the_library_never_imports_the_console() -> None:
    assert [where for where, _, module in library_imports() if module.split(".")[0] in CONSOLE] == []


def test_datasets_evaluation_and_runtimes_never_import_torch() -> None:
    assert [
        where
        for where, importer, module in library_imports()
        if folder_of(importer) in WITHOUT_TORCH and module.split(".")[0] in {"torch", "torchvision"}
    ] == []


def test_the_library_never_prints_and_never_exits() -> None:
    assert [
        f"{path.relative_to(REPO).as_posix()}:{node.lineno} calls {ast.unparse(node.func)}"
        for path in LIBRARY
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call)
        if ast.unparse(node.func) in {"print", "exit", "quit", "sys.exit", "os._exit"}
    ] == []


def test_the_command_line_imports_nothing_slow_before_a_command_runs() -> None:
    assert [
        f"{path.relative_to(REPO).as_posix()}:{line} imports {module}"
        for path in COMMANDS
        for node in parsed(path).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for line, module in imports(ast.Module([node], []))
        if module.split(".")[0] in SLOW_TO_IMPORT or folder_of(module) not in BEFORE_A_COMMAND
    ] == []


def test_every_folder_of_the_library_is_on_a_floor() -> None:
    folders = {path.relative_to(REPO / "vocdet").parts[0] for path in LIBRARY if path.parent != REPO / "vocdet"}
    assert folders <= LEVEL.keys()


def test_help_loads_none_of_the_slow_packages() -> None:
    code = "import sys; from vocdet_cli.app import app; print(*sorted(m for m in sys.modules if '.' not in m))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not SLOW_TO_IMPORT & set(result.stdout.split())
