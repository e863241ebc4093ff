"""The memory of a process that opens one detector and detects with it once, and does nothing else."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from vocdet.data.decoding import Image

_PROGRAM = "import sys; from vocdet.workflows.bench_memory import measure; print(measure(*sys.argv[1:]))"
_SECONDS = 300.0
TORCHVISION = "torchvision:"  # before the name of a published model


def peak_memory(target: Path | str, picture: Image) -> int:
    """Bytes of resident memory at the most, libraries included; 0 if it could not be measured.

    `target` is a checkpoint, an exported file, or `torchvision:` and the name of a published model.
    """
    height, width = (str(side) for side in picture.shape[:2])
    command = [sys.executable, "-c", _PROGRAM, str(target), height, width]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        return int(subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout)
    return 0


def measure(target: str, height: str, width: str) -> int:
    """Detect once in this process, and return its peak of resident memory, bytes."""
    import numpy as np

    from vocdet.runtimes.predictor import Predictor
    from vocdet.workflows.detector import backend_of, open_detector

    detector: Predictor
    if target.startswith(TORCHVISION):
        from vocdet.inference.published import PublishedPredictor

        detector = PublishedPredictor(target.removeprefix(TORCHVISION))
    else:
        path = Path(target)
        detector = open_detector(path, device="cpu", backend=backend_of(path))
    detector.detect([np.random.default_rng(0).integers(0, 256, (int(height), int(width), 3), np.uint8)])
    return _peak()


def _peak() -> int:
    """The peak of resident memory of this process; where the system does not tell it, the present value."""
    with suppress(OSError):  # of this program alone: getrusage counts that of the process that started it
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
