"""What an export format needs."""

from __future__ import annotations

from importlib.util import find_spec

from vocdet.errors import DependencyError


def need(package: str, extra: str) -> None:
    """Raise a `DependencyError` without a package, which an extra of vocdet installs."""
    if find_spec(package) is None:
        raise DependencyError(f"{package} is not installed", hint=f'run pip install "vocdet[{extra}]"')
