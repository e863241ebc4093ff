"""What the tests of all formats share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose files a test writes anew for every example."""
    return tmp_path_factory.mktemp("anew")
