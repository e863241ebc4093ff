"""What training on a CPU needs from the process, to be said before torch is loaded."""

from __future__ import annotations

import ctypes
import os
import sys

OFF = "VOCDET_CPU_TUNING"  # set to 0 to leave the process as it is
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def prepare_cpu() -> bool:
    """Let waiting threads sleep, and let glibc keep the memory it has; whether anything was changed.

    OpenMP's threads spin while they wait, which slows training several times when other programs run; and glibc
    gives large blocks back to the system after every step, to ask for them again in the next. Both are process-wide,
    so the command line calls this and the library never does by itself. Call it before the first import of torch.
    """
    if os.environ.get(OFF) == "0":
        return False
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        except (OSError, AttributeError):  # another C library than glibc
            return True
    return True
