"""Memory that stays with the process between the batches of a CPU run."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt
_LARGE = 1 << 30
_LARGEST_OLD = 32 << 20  # what older versions of glibc accept at most


def keep_memory() -> bool:
    """Let glibc keep large blocks instead of returning each to the system when it is freed.

    A forward pass frees and takes the same hundreds of megabytes with every batch; by default
    each block is a mapping of its own, whose pages the kernel has to clear again. On a CPU that
    costs more time than the arithmetic of a small network (docs/performance.md). Whoever has set
    one of glibc's `MALLOC_` variables is left alone.

    Returns:
        Whether it took effect; not outside of Linux with glibc.
    """
    if not sys.platform.startswith("linux") or any(n.startswith("MALLOC_") for n in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    kept = bool(mallopt(_MMAP_THRESHOLD, _LARGE) or mallopt(_MMAP_THRESHOLD, _LARGEST_OLD))
    return bool(mallopt(_TRIM_THRESHOLD, _LARGE)) and kept
