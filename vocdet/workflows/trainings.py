"""Train detectors on several splits, each in a folder of its own, so that what is interrupted continues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from vocdet.data.digests import image_digests
from vocdet.errors import RunError
from vocdet.files import hasher
from vocdet.recipes.load import load_recipe
from vocdet.recipes.schema import changed
from vocdet.runs.facts import RunFacts, list_runs
from vocdet.runs.image_record import VALIDATION, recorded_images
from vocdet.runs.setup import RunOptions
from vocdet.workflows.load import Loaded
from vocdet.workflows.train_detector import DetectorResult, training_events
from vocdet.workflows.training_data import TrainingData

Watch = Callable[[Iterator[Any]], Any]  # exhausts the events of a training, and returns the last one


class Train(Protocol):
    """Trains a detector on a split of a dataset, in a folder, and returns its run."""

    def __call__(self, loaded: Loaded, split: str, folder: Path) -> Path: ...


def last_of(events: Iterator[Any]) -> Any:
    """The last event of a training."""
    return deque(events, maxlen=1)[0]


@dataclass(frozen=True, slots=True, eq=False)
class Trainings:
    """Trains by a recipe; a run that is finished is not trained again, and one that was interrupted is resumed.

    An interrupted run whose images or annotations have changed since cannot continue: another one begins.
    """

    recipe: Any  # SsdRecipe or MaskRcnnRecipe
    options: RunOptions
    watch: Watch = last_of

    def __call__(self, loaded: Loaded, split: str, folder: Path) -> Path:
        """The run of a split; a `RunError` if the training is interrupted.

        It is in a folder for this recipe beside `folder`, so that runs of another recipe are not taken for it.
        """
        folder = folder.with_name(f"{folder.name}-{hasher(repr(self.recipe).encode(), size=4).hexdigest()}")
        known = [run for run in list_runs(folder) if run.task] if folder.is_dir() else []
        for run in known:
            if run.state == "finished":
                return run.folder
        resumed = next((run for run in known if run.resumable and _is_of(run, loaded, split)), None)
        # a run continues with its own recipe, whose length and batch fit its images
        own: Any = load_recipe(resumed.task, str(resumed.folder)).recipe if resumed else None
        recipe = own or changed(self.recipe, split=split)
        options = replace(self.options, runs=folder, resume=resumed.folder if resumed else None)
        result: DetectorResult = self.watch(training_events(loaded, recipe, options))
        if result.summary.interrupted:
            raise RunError("interrupted", place=result.run, hint="the same command continues it")
        return result.run


def _is_of(run: RunFacts, loaded: Loaded, split: str) -> bool:
    """Whether a run was begun with the same labels, images and annotations."""
    data = TrainingData.of(loaded.dataset, split)
    splits = {"train": data.train} | ({VALIDATION: data.val} if data.is_measurable else {})
    digests = {name: image_digests(images) for name, images in splits.items()}
    return run.labels == loaded.dataset.labels and recorded_images(run.folder) == digests
