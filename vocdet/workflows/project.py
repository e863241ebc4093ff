"""Create a project folder: recipes, a label list, a Slurm script and a README."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from vocdet.errors import DatasetError, OutputError, raise_all
from vocdet.files import unwritable
from vocdet.formats import cache
from vocdet.formats.scan import Source
from vocdet.resources import bundled_text

DETECTOR_RECIPES = {  # the recipe of each net
    "mb3-small": "ssdlite-mb3-small",
    "mb3-large": "ssdlite-mb3-large",
    "mb2": "ssdlite-mb2",
    "mb1": "ssd-mb1",
}
SEGMENTERS = {  # the same with masks; mb2 uses the recipe of mb3-large
    "mb3-small": "maskrcnn-mb3-small",
    "mb3-large": "maskrcnn-mb3-large",
    "mb2": "maskrcnn-mb3-large",
    "mb1": "mobile-mask-rcnn",
}
PROJECT_TASKS = ("ssd", "maskrcnn", "backbone")
EXECUTABLE = "slurm.sh"
_WITH_FORMAT = re.compile("<<(.*?)>>")  # only in projects whose dataset has a format
_DETECTOR = "@DETECTOR@"  # begins the lines of a template that a project without a detector leaves out


def init_project(
    folder: Path, *, net: str = "mb3-small", task: str = "ssd", data: Source | Path | None = None
) -> list[Path]:
    """Write recipes, labels.txt, slurm.sh and README.md into a folder, and return the files.

    Task backbone has only the recipe of a classifier; ssd and maskrcnn also have the recipe of a detector on `net`.
    labels.txt lists the labels of the dataset `data`, and the commands use it; by default they use the folder `data` in
    the project. Existing files are raised together as `OutputError`s, and nothing is written.
    """
    if net not in DETECTOR_RECIPES or task not in PROJECT_TASKS:
        raise ValueError(f"net {net}, task {task}")
    source = Source(data) if isinstance(data, Path) else data
    texts = {folder / name: text for name, text in _file_texts(folder, net, task, source).items()}
    try:
        existing = [path for path in texts if path.is_symlink() or path.exists()]
    except OSError as error:
        raise unwritable(folder, error) from error
    hint = "choose a new folder, or move the file away"
    raise_all([OutputError("exists already", place=path, hint=hint) for path in existing])
    _write_all(texts)
    return list(texts)


def _file_texts(folder: Path, net: str, task: str, source: Source | None) -> dict[str, str]:
    """The content of every file of a project."""
    dataset = shlex.quote("data" if source is None else _from_inside(folder, source.path))

    format = "" if source is None or source.format == "auto" else source.format

    def filled(name: str) -> str:
        lines = bundled_text(name).splitlines(keepends=True)
        kept = [line.removeprefix(_DETECTOR) for line in lines if task != "backbone" or not line.startswith(_DETECTOR)]
        text = _WITH_FORMAT.sub(r"\1" if format else "", "".join(kept))
        return text.replace("@TASK@", task).replace("@FORMAT@", format).replace("@DATA@", dataset)

    texts = {"README.md": filled("project_README.md")}
    texts["labels.txt"] = (
        bundled_text("labels.txt") if source is None else "".join(f"{one}\n" for one in _labels_of(source))
    )
    texts["recipes/backbone.toml"] = bundled_text("recipes/backbone.toml").replace('"mb3-small"', f'"{net}"')
    if task != "backbone":
        texts[f"recipes/{task}.toml"] = _recipe_text(DETECTOR_RECIPES if task == "ssd" else SEGMENTERS, net)
    return texts | {EXECUTABLE: filled("slurm.sh")}


def _recipe_text(known: Mapping[str, str], net: str) -> str:
    """The recipe of a detector that starts from the project's classifier."""
    text = bundled_text(f"recipes/{known[net]}.toml")
    if known is SEGMENTERS:
        text = re.sub(r"^net = .*$", f'net = "{net}"', text, flags=re.MULTILINE)
        text = re.sub(r"^weights = .*$", 'weights = "auto"', text, flags=re.MULTILINE)
    return text


def _labels_of(source: Source) -> tuple[str, ...]:
    labels = cache.read(replace(source, skip_bad=True)).dataset.labels
    if not labels:
        raise DatasetError(
            "the annotations contain no objects", place=source.path, hint="annotate some images in labelImg first"
        )
    return labels


def _from_inside(folder: Path, data: Path) -> str:
    """The path of a dataset for commands that run in a folder."""
    inside, root = data.absolute(), folder.absolute()
    return inside.relative_to(root).as_posix() if inside.is_relative_to(root) else str(inside)


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write new files and their parent folders; if one fails, delete all of them."""
    with ExitStack() as undo:
        for path, text in texts.items():
            try:
                for above in reversed([above for above in path.absolute().parents if not above.exists()]):
                    above.mkdir()
                    undo.callback(_try_delete, above.rmdir)
                path.touch(0o777 if path.name == EXECUTABLE else 0o666, exist_ok=False)
                undo.callback(_try_delete, path.unlink)
                path.write_bytes(text.encode())
            except OSError as error:
                raise unwritable(path, error) from error
        undo.pop_all()


def _try_delete(delete: Callable[[], None]) -> None:
    with suppress(OSError):  # changed by another process
        delete()
