"""Several processes start from the weights that the first one finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from vocdet.errors import CheckpointError, RunError
from vocdet.models.backbones.backbone import parse_net
from vocdet.runs import setup
from vocdet.runs.setup import RunOptions, starting_weights
from vocdet.runs.start import StartingWeights
from vocdet.training.distributed import Group

T = TypeVar("T")
SMALL = parse_net("mb1-0.25")


@dataclass(frozen=True, slots=True)
class Peers(Group):
    """Two processes, of which the first one sends these values."""

    sent: tuple[str, str] | None = None

    def gather(self, value: T) -> list[T]:
        return [value, value] if self.first else [self.sent, value]  # type: ignore[list-item]


def found(name: str, sha256: str) -> Callable[..., StartingWeights]:
    return lambda *_, **__: StartingWeights(name, name, SMALL, name=name, sha256=sha256)


def test_every_process_starts_from_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_weights", found("a.pth", "12ab"))
    for rank in (0, 1):
        options = RunOptions(runs=tmp_path, group=Peers(rank, 2, ("a.pth", "12ab")))
        assert starting_weights("auto", SMALL, options, "ssd").name == "a.pth"


@pytest.mark.parametrize(("first", "names"), [(("a.pth", "34cd"), "a.pth"), (("", ""), "scratch")])
def test_a_process_with_another_file_ends_the_training(
    first: tuple[str, str], names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "find_weights", found("b.pth", "12ab"))
    options = RunOptions(runs=tmp_path, group=Peers(1, 2, first))
    with pytest.raises(CheckpointError, match=rf"process 2 starts from b\.pth, the first from {names}"):
        starting_weights("auto", SMALL, options, "ssd")


def test_the_error_of_the_first_process_is_that_of_all(tmp_path: Path) -> None:
    for rank in (0, 1):
        with pytest.raises(RunError, match="no ssd run in this folder"):
            starting_weights("last", SMALL, RunOptions(runs=tmp_path, group=Peers(rank, 2)), "ssd")
