"""Choose the weights that a training starts from: those that its recipe names, or the best at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vocdet.errors import CheckpointError, RunError, VocdetError
from vocdet.fetching.download import ServerUnavailableError
from vocdet.fetching.weights_files import (
    SILENT,
    WEIGHTS_VARIABLE,
    Downloads,
    by_hand,
    download_weights,
    folders,
    named_by_user,
    verified_digest,
    weights_in,
)
from vocdet.files import is_file, is_folder
from vocdet.models.backbones.backbone import BackboneSpec
from vocdet.models.checkpoint import SUFFIX, read_info
from vocdet.models.weights.published import COCO_NET, PublishedWeights, coco_weights, imagenet_weights
from vocdet.models.weights.transfer import fits, net_of
from vocdet.outputs import BEST
from vocdet.recipes.nets import RESNET
from vocdet.resources import bundled
from vocdet.runs.folders import newest_run, run_info
from vocdet.runs.start import StartingWeights, file_weights, with_heads_of
from vocdet.training.state import FINAL_STATE, STATE
from vocdet.wording import listed

STARTS = "starts"  # bundled folder of checkpoints to start from
MOST_FAULTS = 2  # named of the files in a folder
STATES = (STATE, FINAL_STATE)  # of trainings: files without weights to start from
NO_WEIGHTS = "holds the state of a training to resume, not its weights"
NETS_OF_IMAGENET = '`net="mb1"`, `net="mb2"`, `net="mb3-small"` or `net="mb3-large"`'


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """What is searched for, and what was found wrong on the way."""

    spec: BackboneSpec
    published: Sequence[PublishedWeights]  # the best first
    faults: list[tuple[Path, str]] = field(default_factory=list)  # of files that are not used

    def notes(self) -> tuple[str, ...]:
        return tuple(f"{path} is not used: {fault}" for path, fault in self.faults)


def find_weights(
    weights: str,
    spec: BackboneSpec,
    runs: Path,
    *,
    task: str = "ssd",
    complete: bool = True,
    neck: bool = False,
    downloads: Downloads = SILENT,
) -> StartingWeights:
    """The weights that a recipe names.

    `auto`: for a detector the newest backbone run of the same net in `runs`, else weights that the user's environment
    names, else published ones, on this disk or downloaded, else the backbone of a bundled start, else from scratch,
    with a warning. torchvision's detector for COCO precedes ImageNet weights if the model is `complete`: its layers are
    those of torchvision's. Where the model may have the `neck` of a bundled start, the start precedes published
    weights, and a classifier of vocdet's gets its neck and heads. `none`: from scratch. `last`: the newest run of this
    task in `runs`, which must have the same net. `imagenet` and `coco`: published weights, on this disk or downloaded.
    Else a run folder or a file. A checkpoint states the normalization of its images and the labels and anchors of its
    heads; for other files these are derived from the tensors where possible.
    """
    if weights == "none":
        return StartingWeights("none", "from scratch", spec)
    if weights == "auto":
        coco, imagenet = coco_weights(spec, task), imagenet_weights(spec)
        search = _Search(spec, (*coco, *imagenet) if complete else (*imagenet, *coco))
        return _auto(search, runs, task, downloads, neck=neck)
    if weights == "imagenet":
        return _requested(_checked_imagenet(spec), spec, downloads)
    if weights == "coco":
        return _requested(_checked_coco(spec, task), spec, downloads)
    if weights == "last":
        run = _last_run(runs, task, spec)
        return file_weights(run / BEST, f"the newest {task} run, {run}", spec)
    path = Path(weights)
    file = path / BEST if path.is_dir() else path
    if not file.is_file():
        hint = "give a file, a run folder, imagenet, coco, last, none or auto"
        raise CheckpointError("no such file of weights", place=file, hint=hint)
    if file.name in STATES:
        hint = f"give the run's folder, or its {BEST}"
        raise CheckpointError(NO_WEIGHTS, place=file, hint=hint)
    start = file_weights(file, f"the run {path}" if path.is_dir() else str(path), spec)
    return _with_neck(start) if neck else start


def _auto(search: _Search, runs: Path, task: str, downloads: Downloads, *, neck: bool) -> StartingWeights:
    spec, no_run = search.spec, ""
    if task != "backbone":
        try:
            run = newest_run(runs, "backbone", net=spec.name, reduced_tail=spec.reduced_tail)
        except RunError:
            no_run = f"no backbone run of {spec.name} in {runs}"
        else:
            newest = file_weights(run / BEST, f"the newest backbone run, {run}", spec)
            return _with_neck(newest) if neck else newest
    bundled_start, problem = _bundled_start(spec), ""
    start = _named_weights(search) or (bundled_start if neck else None) or _on_disk(search)
    if start is None:
        start, problem = _downloaded(search, downloads)
    if problem and bundled_start:
        downloads.note(f"no published weights ({problem}), so the start that is part of vocdet is used")
    start = start or bundled_start
    if start is None:
        return _from_scratch(search, no_run, problem, detector=task != "backbone")
    because = f" ({no_run})" if no_run else ""
    return replace(start, text=start.text + because, notes=search.notes())


def bundled_starts() -> dict[str, str]:
    """The detectors to start from that are part of vocdet: the names of their files, and their nets."""
    return {path.name: read_info(path).backbone.name for path in sorted(bundled(STARTS).glob(f"*{SUFFIX}"))}


def _bundled_start(spec: BackboneSpec) -> StartingWeights | None:
    """The detector of this net that is part of vocdet; None without one. None has a reduced tail."""
    name = next((name for name, net in bundled_starts().items() if net == spec.name), None)
    if name is None or spec.reduced_tail:
        return None
    return file_weights(bundled(STARTS) / name, f"{name}, which is part of vocdet", spec, name=name)


def _with_neck(start: StartingWeights) -> StartingWeights:
    """The weights, if they are those of a classifier, with the neck and the heads of the bundled detector."""
    if start.heads is None or start.heads.labels is None or start.anchors is not None:
        return start  # not a classifier of vocdet's
    detector = _bundled_start(start.backbone)
    return with_heads_of(detector, start) if detector else start


def _named_weights(search: _Search) -> StartingWeights | None:
    """Weights in a place that the user named."""
    named = named_by_user()
    return _in_named(named, search) if named else None


def _on_disk(search: _Search) -> StartingWeights | None:
    """Published weights in the usual folders."""
    for weights in search.published:
        for folder in folders():
            if start := _verified(folder / weights.name, weights, search):
                return start
    return None


def _in_named(place: Path, search: _Search) -> StartingWeights | None:
    """The weights in a folder or file of the user's: a published file by its name, any other by its tensors."""
    if is_folder(place) and is_file(place / BEST):
        place = place / BEST  # a run
    files = weights_in(place) if is_folder(place) else [place]
    names = {weights.name: weights for weights in search.published}
    known = [file for name in names for file in files if file.name == name]
    for file in known:
        if start := _verified(file, names[file.name], search):
            return start
    faults = []
    for file in files:
        if file in known:
            continue
        if file.name in STATES:
            faults += [f"it {NO_WEIGHTS}"] if file == place else []
            continue
        try:
            start = file_weights(file, f"{file}, found by {WEIGHTS_VARIABLE}", search.spec)
        except CheckpointError as error:
            fault = f"it {error.problem}" if file == place else error.problem
        else:
            if fits(start.tensors, start.backbone):
                return start
            net = net_of(start.tensors)
            fault = (
                f"it is for {net.name}, not {search.spec.name}" if net else "its tensors are not those of a known net"
            )
        faults.append(fault if file == place else f"{file.name} ({fault})")
    if is_folder(place):
        text = listed(faults, most=MOST_FAULTS) or ("it has no files of weights" if not known else "")
        faults = [f"no file in it fits {search.spec.name}: {text}"] if text else []
    search.faults.extend((place, f"{WEIGHTS_VARIABLE} names it, but {fault}") for fault in faults)
    return None


def _verified(path: Path, weights: PublishedWeights, search: _Search) -> StartingWeights | None:
    """A published file, if it is there and right; what is wrong with it is added to the faults."""
    if not is_file(path):
        return None
    try:
        digest = verified_digest(path, weights)
        start = file_weights(path, f"{weights.title}, {path}", search.spec, name=path.name, sha256=digest)
    except CheckpointError as error:
        fault = error.problem
    else:
        if fits(start.tensors, start.backbone):
            return start
        fault = f"its tensors are not those of {search.spec.name}"
    search.faults.append((path, fault))
    return None


def _downloaded(search: _Search, downloads: Downloads) -> tuple[StartingWeights | None, str]:
    """The first published weights that can be downloaded, and the problem with those that cannot."""
    problem = ""
    for weights in search.published:
        try:
            path = download_weights(weights, downloads)
        except VocdetError as error:
            cause = error.problem.removeprefix(f"{weights.pointer}: ").removeprefix(f"{weights.url}: ")
            problem = f"{error.place}: {cause}" if error.place else cause
            if isinstance(error, ServerUnavailableError):
                break  # another attempt would take as long
            continue
        if start := _verified(path, weights, search):
            return replace(start, text=f"{start.text}, downloaded now"), ""
    return None, problem


def _from_scratch(search: _Search, no_run: str, problem: str, *, detector: bool) -> StartingWeights:
    """From scratch, with a warning that says how to provide weights."""
    net = search.spec.name + (" with a reduced tail" if search.spec.reduced_tail else "")
    if search.published:
        absence, why = "no published weights on this disk", f" ({problem})"
        cure = f"{by_hand(search.published[0])}, or to the folder that {WEIGHTS_VARIABLE} names"
    else:
        absence, why = f"no weights are published for {net}", ""
        cure = f"none are published for it; they are for {NETS_OF_IMAGENET}"
    if detector and search.spec.kind != RESNET:
        cure += "; or train the classifier first: `vocdet.train_backbone(dataset)`"
    text = "from scratch: " + ", and ".join(absent for absent in (no_run, absence) if absent)
    warning = f"{net} starts from scratch, without pretrained weights{why}: {cure}"
    return StartingWeights("none", text, search.spec, notes=search.notes(), warning=warning)


def _requested(published: Sequence[PublishedWeights], spec: BackboneSpec, downloads: Downloads) -> StartingWeights:
    """Published weights that the recipe names: on this disk, or downloaded; else an error."""
    search = _Search(spec, published)
    named = named_by_user()
    for weights in published:
        mine = [named / weights.name if is_folder(named) else named] if named else []
        for file in (*mine, *(folder / weights.name for folder in folders())):
            if file.name != weights.name:
                continue
            if start := _verified(file, weights, search):
                return replace(start, notes=search.notes())
    best = published[0]
    try:
        path = download_weights(best, downloads)
    except VocdetError as error:
        hint = f'{by_hand(best)}, or name the file: `weights="{best.name}"`'
        if search.faults:
            place, fault = search.faults[0]
            raise CheckpointError(fault, place=place, hint=f"delete it; then {hint}") from error
        raise CheckpointError(f"{best.title} could not be downloaded: {error.problem}", hint=hint) from error
    start = _verified(path, best, search)
    if start is None:
        place, fault = search.faults[-1]
        raise CheckpointError(fault, place=place, hint="delete it")
    return replace(start, text=f"{start.text}, downloaded now", notes=search.notes())


def _checked_imagenet(spec: BackboneSpec) -> tuple[PublishedWeights, ...]:
    if published := imagenet_weights(spec):
        return published
    tail = " with a reduced tail" if spec.reduced_tail else ""
    hint = f'choose {NETS_OF_IMAGENET}, or `weights="none"`, or a file'
    raise CheckpointError(f"no ImageNet weights are published for {spec.name}{tail}", hint=hint)


def _checked_coco(spec: BackboneSpec, task: str) -> tuple[PublishedWeights, ...]:
    if task == "backbone":
        hint = 'use `weights="imagenet"`; `weights="coco"` is for detectors'
        raise CheckpointError("the COCO weights are those of a detector", hint=hint)
    if published := coco_weights(spec, task):
        return published
    if task == "maskrcnn":
        raise CheckpointError(
            f"the Mask R-CNN that torchvision trained on COCO is on {RESNET}, not on {spec.name}",
            hint=f'choose `net="{RESNET}"` with `heads="standard"`, or `weights="imagenet"`',
        )
    raise CheckpointError(
        f"the detector that torchvision trained on COCO is an SSD-lite on {COCO_NET.name}, not on {spec.name}",
        hint=f'choose `net="{COCO_NET.name}"`, or `weights="imagenet"`',
    )


def _last_run(runs: Path, task: str, spec: BackboneSpec) -> Path:
    run = newest_run(runs, task)
    net = run_info(run).backbone
    if net.name != spec.name:
        hint = f'use `net="{net.name}"`, or name another run'
        raise CheckpointError(f"the last run has the net {net.name}, not {spec.name}", place=run, hint=hint)
    return run
