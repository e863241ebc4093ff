"""A page that detects in a browser, on pictures and on the camera: the ONNX file, and ONNX Runtime for the web."""

from __future__ import annotations

import hashlib
import html
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from vocdet.errors import ArgumentError, DependencyError, DownloadError
from vocdet.exporting.graphs import Graph
from vocdet.exporting.onnx import check_onnx, onnx_bytes
from vocdet.files import is_file, read_limited, write_bytes
from vocdet.formats.cache import location
from vocdet.resources import bundled_text
from vocdet.runtimes.description import Description
from vocdet.wording import counted, listed

RUNTIME_VARIABLE = "VOCDET_ORT_WEB"  # environment variable: a folder with the files of the runtime
PACKAGE = "onnxruntime-web@1.22.0"
RUNTIME = {  # file in the package's dist: SHA-256
    "ort.wasm.min.js": "65e09376df69107e881b5c34d2d37aed333a366b6d941073ec518168e269b87d",
    "ort-wasm-simd-threaded.mjs": "30dd851d9c00622940500f71ddd2ff8820c5cb65270816080175b958705385a8",
    "ort-wasm-simd-threaded.wasm": "71aef04959c5c1b6de461b6538e2058e306610034a85aad2742d0c7fd4533fe4",
}
WEB_FILES = ("model.onnx", "index.html", *RUNTIME)
_LARGEST = 1 << 25  # bytes of a file of the runtime
_MINUTES = 10.0  # for npm


def check_web() -> None:
    """Have the files of the runtime on this disk; npm fetches them once, 20 MB, unless `VOCDET_OFFLINE` is set."""
    check_onnx()
    runtime_files()


def web_files(graph: Graph, description: Description) -> dict[str, bytes]:
    """The files of the page of a detector."""
    if description.task == "backbone" or description.raw:
        raise ArgumentError(
            "a page shows detections, and this model gives none", hint='use `vocdet.export(run, format="onnx")`'
        )
    values = {
        "name": html.escape(f"{description.task} {description.net}"),
        "count": counted(len(description.labels), "label"),
        "labels": html.escape(listed(description.labels, most=20)),
        "json": json.dumps(description.labels).replace("<", "\\u003c"),
    }
    page = bundled_text("export/web/index.html")
    for key, text in values.items():
        page = page.replace(f"@{key}@", text)
    return {"index.html": page.encode(), "model.onnx": onnx_bytes(graph, description), **runtime_files()}


def runtime_files() -> dict[str, bytes]:
    """The files of ONNX Runtime for the web, verified: from `VOCDET_ORT_WEB`, or fetched by npm into vocdet's cache."""
    given = os.environ.get(RUNTIME_VARIABLE)
    cache = location()
    folder = Path(given) if given else cache / PACKAGE.replace("@", "-") if cache else None
    if folder and all(is_file(folder / name) for name in RUNTIME):
        return _verified_files(folder)
    by_hand = f"run npm pack {PACKAGE}, unpack it, and set {RUNTIME_VARIABLE} to its folder package/dist"
    if given:
        raise DownloadError(f"lacks {listed(n for n in RUNTIME if not is_file(Path(given) / n))}", place=Path(given))
    if os.environ.get("VOCDET_OFFLINE"):
        raise DownloadError(f"{PACKAGE} is not on this disk, and VOCDET_OFFLINE is set", hint=by_hand)
    npm = shutil.which("npm")
    if npm is None:
        raise DependencyError(f"npm is not installed, which fetches {PACKAGE}", hint=by_hand)
    with tempfile.TemporaryDirectory() as temporary:
        _fetch(npm, Path(temporary), by_hand)
        found = _verified_files(Path(temporary))
    for name, data in found.items():
        if folder:
            write_bytes(folder / name, data)
    return found


def _fetch(npm: str, folder: Path, by_hand: str) -> None:
    """Let npm fetch the package, and unpack the files of the runtime."""
    try:
        subprocess.run([npm, "pack", PACKAGE, "-s"], cwd=folder, check=True, capture_output=True, timeout=60 * _MINUTES)
        (archive,) = folder.glob("*.tgz")
        with tarfile.open(archive) as packed:
            for name in RUNTIME:
                member = packed.extractfile(f"package/dist/{name}")
                (folder / name).write_bytes(member.read(_LARGEST) if member else b"")
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError, ValueError) as error:
        raise DownloadError(f"npm cannot fetch {PACKAGE}: {type(error).__name__}", hint=by_hand) from error


def _verified_files(folder: Path) -> dict[str, bytes]:
    files = {name: read_limited(folder / name, _LARGEST) for name in RUNTIME}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != RUNTIME[name]:
            hint = f"delete it, or take the files of {PACKAGE}"
            raise DownloadError("is another version of the file, or damaged", place=folder / name, hint=hint)
    return files
