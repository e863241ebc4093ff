"""The whole way from a dataset to an evaluated detector in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vocdet.api.dataset import Data, as_loaded
from vocdet.api.report import EvalReport
from vocdet.api.run import Run
from vocdet.api.training import as_run, plain_values
from vocdet.formats.scan import Source
from vocdet.recipes.load import load_recipe
from vocdet.recipes.plan import Plan, PlanRequest, Target
from vocdet.runs.setup import RunOptions, never
from vocdet.workflows.eval_options import EvalResult
from vocdet.workflows.train import Session, prepare
from vocdet.workflows.train_backbone import BackboneResult
from vocdet.workflows.train_detector import DetectorResult


@dataclass(frozen=True, slots=True, repr=False)
class TrainResult:
    """A detector that was trained by a plan."""

    run: Run  # of the detector; of the classifier if its training was interrupted
    plan: Plan  # `plan.choices` have a name, a value and a reason each; `plan.commands` carry them out
    report: EvalReport | None  # on test, or on val without a test split; None without either, or if it was interrupted

    def __repr__(self) -> str:
        return f"<training by a plan: {self.run!r}, {self.report!r}>"

    def _repr_html_(self) -> str:
        return self.run._repr_html_() + (self.report._repr_html_() if self.report else "")


def train(
    dataset: Data,
    *,
    minutes: float = 30.0,
    target: Target = "phone",
    classifier: float | None = None,
    masks: bool | None = None,
    seed: int = 0,
    runs: str | Path = "runs",
    device: str = "auto",
    stop: Callable[[], bool] = never,
    **values: Any,
) -> TrainResult:
    """Check a dataset, split it where it is not split, plan, train a classifier and a detector, and evaluate.

    The plan follows from the dataset, the speed of this machine, the `minutes` of training and the `target`: "phone",
    "pi", "cpu" or "gpu". `classifier` are the minutes for a classifier, `masks` chooses a Mask R-CNN; both are planned
    if they are None. `values` are settings of the detector's recipe by name, such as `size=256`; the plan keeps them.
    The splits of a dataset that is given as a path are written; for one in memory nothing is. When `stop()` is true,
    training ends after the step; `train_detector(dataset, resume=result.run)` continues that of the detector.

    >>> result = vocdet.train("shelf", minutes=0.1, net="mb1-0.25", size=64, epochs=1, runs="runs")
    >>> [choice.name for choice in result.plan.choices]
    ['split', 'detector', 'classifier', 'net', 'size', 'flip', 'rotate', 'images', 'epochs']
    >>> result.report
    <evaluation of 2 images, 4 objects, 2 labels, AP ..., AP50 ..., precision ..., recall ...>
    """
    task: Literal["ssd", "maskrcnn"] = "maskrcnn" if masks else "ssd"
    given = load_recipe(task, values=plain_values(task, values)).values()
    request = PlanRequest(target=target, minutes=minutes, classifier=classifier, masks=masks, seed=seed, values=given)
    options = RunOptions(runs=Path(runs), device=device, stop=stop)
    source = Source(Path(dataset)) if isinstance(dataset, str | Path) else as_loaded(dataset)
    prepared = prepare(source, request, options)
    session = Session.start(prepared.plan, source if isinstance(source, Source) else prepared.loaded, options.runs)
    run, report = None, None
    for command in session.remaining:
        for event in session.events(session.resolved(command), options):
            if isinstance(event, BackboneResult | DetectorResult):
                run = as_run(event)
            elif isinstance(event, EvalResult):
                report = EvalReport.of(event.report)
        if run and run.interrupted:
            break
    assert run is not None  # every plan trains a detector
    return TrainResult(run, session.plan, report)
