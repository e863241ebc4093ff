"""What `bench` measures, ready to be timed: runs, exported files, and torchvision's published models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from vocdet.inference.bench import Work, noise, work
from vocdet.inference.predictor import load_predictor, predictor_of
from vocdet.inference.published import PublishedPredictor
from vocdet.inference.tiled import TiledPredictor
from vocdet.inputs.images import Image
from vocdet.models.checkpoint import load_checkpoint
from vocdet.models.folding import fused
from vocdet.models.rcnn.model import MaskRcnn
from vocdet.models.ssd.model import SsdLite
from vocdet.outputs import checkpoint_of
from vocdet.runtimes.description import is_exported
from vocdet.runtimes.detectors import ExportedPredictor
from vocdet.runtimes.predictor import Predictor
from vocdet.workflows.bench_memory import TORCHVISION
from vocdet.workflows.bench_scores import LatestScores, trained_scores
from vocdet.workflows.detector import RUNTIMES, backend_of, choose_file, exports_of

BenchBackend = Literal["torch", "onnx", "openvino", "all"]

COUNTED = 8  # images to count operations on; a Mask R-CNN needs more for more proposals
_PHOTO = (480, 640)  # pixels: noise for models that take images of any size


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A detector ready to be timed."""

    run: str
    name: str  # at the head of a column
    path: Path | None  # the checkpoint or exported file; None: a published model
    backend: str
    task: str
    net: str
    size: tuple[int, int]
    bytes: int
    work: Work | None  # None: an export, of which the layers are unknown
    pictures: list[Image]
    trained: LatestScores
    detector: Predictor
    on_one_thread: Callable[[], Predictor]  # called where torch and OpenCV have one thread
    network: Callable[[int], object] | None  # run the network alone on this number of images

    @property
    def target(self) -> Path | str:
        """For a process that measures the memory."""
        return self.path or f"{TORCHVISION}{self.net}"


def candidates(runs: Sequence[Path], backend: BenchBackend, pictures: list[Image], device: str) -> list[Candidate]:
    """Those of runs, checkpoints and exports; `backend` all: every run on torch, and then its exports."""
    ready = []
    for run in runs:
        if is_exported(run):
            name = run.parent.name if run.is_file() else run.name
            ready.append(_exported(choose_file(run), run, name, pictures, device))
            continue
        checkpoint, known, files = checkpoint_of(run), None, []
        if backend in ("torch", "all"):
            ready.append(_trained(checkpoint, run, pictures, device))
            known = ready[-1].work
        if backend == "all":
            files = [export.path for export in exports_of(checkpoint)]
        elif backend != "torch":
            files = [choose_file(run, backend)]
        ready += [_exported(file, run, f"{run.name} {file.parent.name}", pictures, device, known) for file in files]
    return ready


def _trained(path: Path, run: Path, pictures: list[Image], device: str) -> Candidate:
    detector = load_predictor(path, device=device)
    model, about = load_checkpoint(path)  # a second copy: the predictor's norms are folded
    images = pictures or [noise(about.size)]
    plain = predictor_of(model)
    counted = work(model, images[:COUNTED], TiledPredictor(plain, about.tiles) if about.tiles else plain)
    network = fused(model).to(device).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def alone(count: int) -> object:
        batch = torch.zeros(count, 3, *about.size, dtype=torch.uint8, device=device)
        if isinstance(network, MaskRcnn):
            return network.detect(batch, None)
        assert isinstance(network, SsdLite)
        return network(batch)

    trained = trained_scores(path, about.scores, about.dataset)
    return Candidate(
        str(run), run.name, path, "torch", about.task, about.backbone.name, about.size, path.stat().st_size, counted,
        images, trained, detector, lambda: detector, alone,
    )  # fmt: skip


def _exported(
    path: Path, run: Path, name: str, pictures: list[Image], device: str, known: Work | None = None
) -> Candidate:
    backend = backend_of(path)

    def load(threads: int) -> ExportedPredictor:
        return RUNTIMES[backend].load(path, device=device, threads=threads)

    def tiled(one: ExportedPredictor) -> Predictor:
        return TiledPredictor(one, one.description.tiles) if one.description.tiles else one

    exported = load(0)
    about = exported.description
    picture = noise(about.size)

    def alone(count: int) -> object:
        return [exported.run(picture) for _ in range(count)]

    files = (path, path.with_suffix(".bin")) if backend == "openvino" else (path,)
    size = sum(file.stat().st_size for file in files)
    precision = backend if about.precision == "fp32" else f"{backend} {about.precision}"
    return Candidate(
        str(path if run.is_file() else run), name, path, precision, about.task, about.net, about.size, size, known,
        pictures or [picture], trained_scores(path, about.metrics, about.dataset), tiled(exported),
        lambda: tiled(load(1)), alone,
    )  # fmt: skip


def published(name: str, pictures: list[Image], device: str) -> Candidate:
    """A model of torchvision, with random weights and its published average precision."""
    detector = PublishedPredictor(name, device=device)
    images = pictures or [noise(_PHOTO)]
    counted = work(detector.model, images[:COUNTED], detector)

    def alone(count: int) -> object:
        return detector.network(torch.zeros(count, 3, *detector.size))

    scores = LatestScores({"ap": detector.ap}, "COCO val2017, published", 5000, "COCO val2017")
    return Candidate(
        f"{TORCHVISION}{name}", name, None, "torch", "torchvision", name, detector.size, detector.bytes, counted,
        images, scores, detector, lambda: detector, alone if detector.separable else None,
    )  # fmt: skip
