"""The runs of one request with several seeds: which are finished, and how their metrics spread."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from vocdet.files import make_folder, write_bytes
from vocdet.formats.scan import Source
from vocdet.recipes.schema import R, changed
from vocdet.runs.facts import read_run
from vocdet.training.state import FINAL_STATE, STATE


class _Record(msgspec.Struct, frozen=True):
    task: str
    recipe: dict[str, Any]  # its seed is 0
    source: dict[str, Any]
    runs: dict[int, str] = {}  # names of run folders by seed


@dataclass(frozen=True, slots=True)
class SeedRuns:
    """The runs of a recipe on a dataset, by seed; recorded in `seeds-<digest>.json` in the folder of the runs."""

    path: Path
    _known: _Record

    @classmethod
    def of(cls, runs: Path, task: str, recipe: R, source: Source) -> SeedRuns:
        """Those of the same request; none yet for a new one, or if the record cannot be read."""
        plain = msgspec.to_builtins(asdict(changed(recipe, seed=0)))
        known = _Record(task, plain, dict(source.record()))
        digest = hashlib.sha256(msgspec.json.encode(known, order="deterministic")).hexdigest()
        path = runs / f"seeds-{digest[:8]}.json"
        return cls(path, msgspec.structs.replace(known, runs=_recorded(path)))

    def run(self, seed: int) -> Path | None:
        """The run of a seed that is finished, or can be resumed."""
        name = self._known.runs.get(seed, "")
        folder = self.path.parent / name
        there = name and ((folder / STATE).is_file() or (folder / FINAL_STATE).is_file())
        return folder if there else None

    def is_finished(self, seed: int) -> bool:
        """Whether the training with this seed is complete."""
        folder = self.run(seed)
        return folder is not None and not (folder / STATE).is_file()

    def with_run(self, seed: int, run: Path) -> SeedRuns:
        """The record with a run that has begun, written."""
        make_folder(self.path.parent)
        runs = self._known.runs | _recorded(self.path)  # another process may train other seeds
        known = msgspec.structs.replace(self._known, runs={**runs, seed: run.name})
        write_bytes(self.path, msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")
        return SeedRuns(self.path, known)


def _recorded(path: Path) -> dict[int, str]:
    """The runs in a record; none without one that can be read."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(path.read_bytes(), type=_Record).runs
    return {}


@dataclass(frozen=True, slots=True)
class Spread:
    """A metric of several runs."""

    name: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of the runs."""
        return statistics.mean(self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation of the runs, as a sample; 0 of one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def spreads(folders: Sequence[Path]) -> tuple[Spread, ...]:
    """The validation metrics that all these runs have."""
    scores = [read_run(folder).scores for folder in folders]
    names = [name for name in scores[0] if all(name in one for one in scores)]
    return tuple(Spread(name, tuple(one[name] for one in scores)) for name in names)
