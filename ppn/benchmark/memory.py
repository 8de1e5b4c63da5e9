"""How much memory a piece of work takes at its peak."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIB = 2**20
_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


class Peak:
    """`mib`: MiB at the peak, beyond what was held before; None where it cannot be known."""

    mib: float | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the peak of what is allocated within the block, on a GPU or, on Linux, in memory."""
    peak = Peak()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.mib = (torch.cuda.max_memory_allocated(device) - before) / _MIB
        return
    held = _resident("VmRSS") if _forget_peak() else None
    yield peak
    most = _resident("VmHWM")
    if held is not None and most is not None:
        peak.mib = max(0.0, most - held)


def _forget_peak() -> bool:
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> float | None:
    """A field of this process's status, in MiB."""
    try:
        found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        return None
    return None if found is None else int(found[1]) / 1024
