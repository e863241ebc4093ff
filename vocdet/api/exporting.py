"""Exporting a trained model."""

from __future__ import annotations

from pathlib import Path

from vocdet.api.run import Run
from vocdet.formats.scan import Source
from vocdet.workflows.export import ExportOptions, ExportResult, export_run


def export(
    run: Run | str | Path,
    format: str = "onnx",
    *,
    out: str | Path | None = None,
    size: int | None = None,
    raw: bool = False,
    int8: bool = False,
    tolerance: float | None = None,
    data: str | Path | None = None,
    target: str = "",
) -> ExportResult:
    """Export a run, or a checkpoint, as files that run without vocdet, and check that they do the same.

    The model takes one image, uint8, RGB (H, W, 3), of any size: resizing, normalization, decoding, the thresholds of
    the labels and NMS are inside, and boxes are in pixels of the image. `raw` leaves decoding out. `size` is another
    input size, in pixels. `format` is onnx, openvino, web, litert, executorch, coreml or ncnn; `int8` quantizes an SSD
    for openvino, litert or executorch, calibrated on training images. The last four formats take a prepared image, and
    a decoder beside them selects the detections; so does an ONNX file with the `target` tensorrt. The targets
    tensorrt-nms and x-anylabeling have NMS inside. The folder `out`, by default `exports/<format>` in the run, also
    gets the labels, a model card, and the check: the export and the model detect on the same images, the validation
    split of the run's dataset or of `data`. `ExportError` for a difference of AP, AP50 or a score beyond `tolerance`;
    then nothing is written.

    >>> result = vocdet.export(run, "onnx")
    >>> result.file.name
    'model.onnx'
    >>> result.check.exported == result.check.model
    True
    >>> vocdet.load(result.file)("photo.jpg").label_names == detector("photo.jpg").label_names
    True
    """
    path = run.path if isinstance(run, Run) else Path(run)
    source = Source(Path(data)) if data is not None else None
    options = ExportOptions(format, size, raw, tolerance, int8, target)
    return export_run(path, options, out=None if out is None else Path(out), data=source)
