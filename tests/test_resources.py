from __future__ import annotations

from pathlib import Path

import pytest

from vocdet import resources
from vocdet.resources import bundled_text


def test_a_file_is_found_beside_the_checkout() -> None:
    assert bundled_text("findings.md").startswith("# Findings of `vocdet check`")


def test_a_file_is_found_inside_an_installed_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "findings.md").write_text("of the wheel: é", encoding="utf-8")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert bundled_text("findings.md") == "of the wheel: é"
