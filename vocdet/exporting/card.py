"""The `README.md` of an export: a model card as Hugging Face reads it."""

from __future__ import annotations

import re

import yaml

from vocdet.exporting.parity import Check
from vocdet.resources import bundled_text
from vocdet.runtimes.description import Description
from vocdet.wording import counted, listed

_PIPELINES = {"ssd": "object-detection", "maskrcnn": "image-segmentation", "backbone": "image-classification"}
_MODELS = {"ssd": "An SSD", "maskrcnn": "A Mask R-CNN", "backbone": "A classifier"}
_METRICS = {"ap": "AP", "ap50": "AP50", "mask_ap": "mask AP"}


def card(description: Description, file: str, check: Check | None, *, name: str) -> str:
    """The card of an export of the run `name`: front matter in YAML, then Markdown."""
    front: dict[str, object] = {
        "library_name": "vocdet",
        "pipeline_tag": _PIPELINES[description.task],
        "tags": ["vocdet", file.rpartition(".")[2], description.net],
    }
    if rows := _metric_rows(check):
        metrics = [{"type": key, "name": title, "value": round(value, 4)} for key, title, value, _ in rows]
        result = {
            "task": {"type": _PIPELINES[description.task]},
            "dataset": {"type": "custom", "name": f"training data of {name}", "split": check.split if check else ""},
            "metrics": metrics,
        }
        front["model-index"] = [{"name": name, "results": [result]}]
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{_body(description, file, check, name)}"


def _body(description: Description, file: str, check: Check | None, name: str) -> str:
    about = bundled_text("export/card.md")
    values = {
        "name": _plain(name),
        "model": _MODELS[description.task],
        "net": description.net + ", in 8 bits," * (description.precision == "int8"),
        "count": counted(len(description.labels), "label"),
        "labels": listed(map(_plain, description.labels), most=50),
        "metrics": _metrics(description, check),
        "input": _input(description),
        "outputs": bundled_text(f"export/outputs_{_kind(description)}.md").strip(),
        "code": _code(description, f"{_kind(description)}_{file.rpartition('.')[2]}"),
        "thresholds": _thresholds(description),
        "version": description.version,
        "file": file,
    }
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], about)  # once: a label may look like a name


def _plain(text: str) -> str:
    """Text escaped for Markdown, table cells included."""
    return re.sub(r"[\\`*\[\]<>|]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", " ".join(text.split()))


_KINDS = {"tensorrt": "prepared", "decoder": "prepared", "tensorrt-nms": "selected", "x-anylabeling": "x-anylabeling"}


def _kind(description: Description) -> str:
    if description.target or description.raw:
        return _KINDS.get(description.target, "raw")
    return "classifier" if description.task == "backbone" else "detector"


def _code(description: Description, name: str) -> str:
    height, width = map(str, description.size)
    return bundled_text(f"export/run_{name}.md").strip().replace("{width}", width).replace("{height}", height)


def _input(description: Description) -> str:
    first, second = description.size
    if description.target:
        return bundled_text("export/input_prepared.md").strip().replace("{shape}", f"{second}×{first}")
    size = (
        f"with a shorter side of {first} pixels, unless the longer one would exceed {second}"
        if description.task == "maskrcnn"
        else f"{second}×{first} pixels"
    )
    mean, std = (listed(f"{value:g}" for value in values) for values in (description.mean, description.std))
    size += f"; as RGB in [0, 1] with the mean ({mean}) and the standard deviation ({std})"
    if description.tiles:
        size += (
            f". Trained on tiles of {description.tiles.size} pixels: `detect.py` and vocdet divide larger images; "
            "other programs give it one tile at a time"
        )
    if description.levels:
        size += f". Of images with more than 8 bits a sample, values from {description.levels} become 0 to 255"
    return bundled_text("export/input_image.md").strip().replace("{size}", size)


def _metric_rows(check: Check | None) -> list[tuple[str, str, float, str]]:
    """Key, title, value and interval of every known metric of the export; none on images that were trained on."""
    rows: list[tuple[str, str, float, str]] = []
    if check is None or check.trained_on:
        return rows
    for key, title in _METRICS.items():
        value, bounds = getattr(check.exported, key), check.interval.get(title)
        if value is not None:
            rows.append((key, title, value, f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "–"))
    return rows


def _metrics(description: Description, check: Check | None) -> str:
    if check and (rows := _metric_rows(check)):
        lines = [f"| {title} | {value:.3f} | {bounds} |" for _, title, value, bounds in rows]
        table = ["| metric | value | 95 % of resamples |", "|---|---|---|", *lines]
        images = counted(check.images, "image")
        return "\n".join([f"On the {check.split} split, {images}, by the rules of COCO:", "", *table])
    if description.metrics:
        return "In the validation of the training: " + listed(f"{k} {v:.3f}" for k, v in description.metrics.items())
    return "Not measured on images that it was not trained on."


def _thresholds(description: Description) -> str:
    if not description.thresholds:
        return ""
    pairs = zip(description.labels, description.thresholds, strict=True)
    rows = "\n".join(f"| {_plain(label)} | {value:.3f} |" for label, value in pairs)
    return (
        "\n## Thresholds\n\nThe score from which a detection of each label counts, as training chose it.\n\n"
        f"| label | threshold |\n|---|---|\n{rows}\n"
    )
