"""Bundled resources: the folder `templates`, which a wheel contains as part of the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def bundled_text(name: str) -> str:
    """The text of a bundled file, such as findings.md."""
    bundled = files("vocdet") / "templates" / name
    if bundled.is_file():
        return bundled.read_text(encoding="utf-8")
    return (Path(__file__).parents[1] / "templates" / name).read_text(encoding="utf-8")  # an editable install
