"""Settings of the process that speed up training on a CPU, made before torch is loaded."""

from __future__ import annotations

import ctypes
import os
import sys

OFF = "VOCDET_CPU_TUNING"  # set to 0 to leave the process unchanged
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


def prepare_cpu() -> bool:
    """Let waiting threads sleep, and let glibc retain freed memory. Returns whether anything was changed.

    OpenMP's threads spin while they wait, which slows training several times when other programs run; and glibc
    returns large blocks to the system after every step, only to allocate them again in the next. Both settings apply
    to the whole process, so the command line makes them and the library does not. Call this before torch is imported.
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
