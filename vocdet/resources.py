"""The files that vocdet hands to its users: the folder `templates`, in a wheel a part of the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def bundled_text(name: str) -> str:
    """The text of a file of `templates`, as findings.md."""
    inside = files("vocdet") / "templates" / name
    if inside.is_file():
        return inside.read_text(encoding="utf-8")
    return (Path(__file__).parents[1] / "templates" / name).read_text(encoding="utf-8")  # an editable install
