"""Bundled resources: the folder `templates`, which a wheel contains as part of the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def bundled_text(name: str) -> str:
    """The text of a bundled file, such as findings.md."""
    return bundled(name).read_text(encoding="utf-8")


def bundled(name: str) -> Path:
    """The path of a bundled file or folder, which may not exist."""
    path = Path(str(files("vocdet") / "templates" / name))
    return path if path.exists() else Path(__file__).parents[1] / "templates" / name  # an editable install
