"""Train a small, fast detector of your own from a folder of annotated images.

    import vocdet

    dataset = vocdet.read("shelf/")
    report = vocdet.check(dataset)
    dataset = vocdet.split(dataset, trainval=0.9, seed=0)
    run = vocdet.train_detector(dataset, recipe="ssdlite-mb3-small", minutes=10)
    detections = vocdet.load(run)("photo.jpg")

A name is imported at its first use: `import vocdet` alone loads neither NumPy nor torch.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take it for true; importing it from typing takes longer than all the rest
if TYPE_CHECKING:
    from vocdet.api.annotated import AnnotatedImage
    from vocdet.api.audit import audit, learning_curve
    from vocdet.api.checks import Repair, check, repair
    from vocdet.api.comparison import Comparison, compare
    from vocdet.api.conversion import convert, crop, merge, remap, sample
    from vocdet.api.dataset import Dataset, read, split, write, write_splits
    from vocdet.api.detections import Detection, Detections
    from vocdet.api.detector import Detector, load
    from vocdet.api.evaluation import choose_thresholds, evaluate, write_report
    from vocdet.api.exporting import export
    from vocdet.api.fetching import fetch
    from vocdet.api.predict import PredictResult, predict
    from vocdet.api.prelabel import frames, prelabel, progress
    from vocdet.api.report import EvalReport
    from vocdet.api.run import Run
    from vocdet.api.serving import live, serve
    from vocdet.api.statistics import Statistics, statistics
    from vocdet.api.train import TrainResult, train
    from vocdet.api.training import train_backbone, train_detector, training_events
    from vocdet.cpu import prepare_cpu
    from vocdet.errors import (
        AnnotationError,
        ArgumentError,
        CheckpointError,
        DatasetError,
        DependencyError,
        DeviceError,
        DownloadError,
        ExportError,
        ImageError,
        ManyErrors,
        MediaError,
        OutputError,
        Place,
        RecipeError,
        RunError,
        SplitError,
        TrainingError,
        VocdetError,
    )
    from vocdet.models.backbones.backbone import register_backbone
    from vocdet.training.loop import Epoch, Step
    from vocdet.workflows.audit import AuditResult
    from vocdet.workflows.check import CheckReport
    from vocdet.workflows.export import ExportResult
    from vocdet.workflows.train_detector import DetectorResult, DetectorStart

__all__ = [
    "AnnotatedImage",
    "AnnotationError",
    "ArgumentError",
    "AuditResult",
    "CheckReport",
    "CheckpointError",
    "Comparison",
    "Dataset",
    "DatasetError",
    "DependencyError",
    "Detection",
    "Detections",
    "Detector",
    "DetectorResult",
    "DetectorStart",
    "DeviceError",
    "DownloadError",
    "Epoch",
    "EvalReport",
    "ExportError",
    "ExportResult",
    "ImageError",
    "ManyErrors",
    "MediaError",
    "OutputError",
    "Place",
    "PredictResult",
    "RecipeError",
    "Repair",
    "Run",
    "RunError",
    "SplitError",
    "Statistics",
    "Step",
    "TrainResult",
    "TrainingError",
    "VocdetError",
    "__version__",
    "audit",
    "check",
    "choose_thresholds",
    "compare",
    "convert",
    "crop",
    "evaluate",
    "export",
    "fetch",
    "frames",
    "learning_curve",
    "live",
    "load",
    "merge",
    "predict",
    "prelabel",
    "prepare_cpu",
    "progress",
    "read",
    "register_backbone",
    "remap",
    "repair",
    "sample",
    "serve",
    "split",
    "statistics",
    "train",
    "train_backbone",
    "train_detector",
    "training_events",
    "write",
    "write_report",
    "write_splits",
]

_EXPORTS = {  # module: its public names, as the imports above have them
    "vocdet.api.annotated": "AnnotatedImage",
    "vocdet.api.audit": "audit learning_curve",
    "vocdet.api.checks": "Repair check repair",
    "vocdet.api.comparison": "Comparison compare",
    "vocdet.api.conversion": "convert crop merge remap sample",
    "vocdet.api.dataset": "Dataset read split write write_splits",
    "vocdet.api.detections": "Detection Detections",
    "vocdet.api.detector": "Detector load",
    "vocdet.api.evaluation": "choose_thresholds evaluate write_report",
    "vocdet.api.exporting": "export",
    "vocdet.api.fetching": "fetch",
    "vocdet.api.predict": "PredictResult predict",
    "vocdet.api.prelabel": "frames prelabel progress",
    "vocdet.api.report": "EvalReport",
    "vocdet.api.run": "Run",
    "vocdet.api.serving": "live serve",
    "vocdet.api.statistics": "Statistics statistics",
    "vocdet.api.train": "TrainResult train",
    "vocdet.api.training": "train_backbone train_detector training_events",
    "vocdet.cpu": "prepare_cpu",
    "vocdet.errors": (
        "AnnotationError ArgumentError CheckpointError DatasetError DependencyError DeviceError DownloadError "
        "ExportError ImageError ManyErrors MediaError OutputError Place RecipeError RunError SplitError TrainingError "
        "VocdetError "
    ),
    "vocdet.models.backbones.backbone": "register_backbone",
    "vocdet.training.loop": "Epoch Step",
    "vocdet.workflows.audit": "AuditResult",
    "vocdet.workflows.check": "CheckReport",
    "vocdet.workflows.export": "ExportResult",
    "vocdet.workflows.train_detector": "DetectorResult DetectorStart",
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import a public name at its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
