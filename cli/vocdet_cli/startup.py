"""The start of commands that need torch."""

from __future__ import annotations

import os
import signal

from vocdet.cpu import prepare_cpu


def load_torch() -> None:
    """Load torch with the CPU settings for training, and silence OpenCV's messages about invalid files.

    Ctrl-C meanwhile ends the process at once: torch swallows interrupts during its import, so that the command would
    continue.
    """
    prepare_cpu()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        import torchvision  # noqa: F401 with torch
    finally:
        signal.signal(signal.SIGINT, handler)
