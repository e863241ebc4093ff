"""What commands that need torch begin with."""

from __future__ import annotations

import os
import signal

from vocdet.cpu import prepare_cpu


def load_torch() -> None:
    """Load torch, as training on a CPU wants it, and let OpenCV keep its remarks on odd files to itself.

    Ctrl-C meanwhile ends the process at once: torch swallows an interrupt that comes while it is imported, and the
    command would go on to its end.
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
