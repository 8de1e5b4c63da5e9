"""How a benchmark is timed, and what it says."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What is done.
        against: What it is compared with.
        ours: Our seconds (or MiB).
        theirs: Their seconds (or MiB).
        ratio: The number that the goal is about.
        goal: ">= 5" or "<= 1.1".
        limit: What bounds the work from below.
    """

    name: str
    against: str
    ours: float
    theirs: float
    ratio: float
    goal: str
    limit: str

    @property
    def met(self) -> bool:
        """Whether the ratio reaches the goal."""
        sign, value = self.goal.split()
        return self.ratio >= float(value) if sign == ">=" else self.ratio <= float(value)


def side_by_side(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int = 5
) -> tuple[float, float]:
    """Time two pieces of work in turns, so that a noisy machine hits both.

    Returns:
        Median seconds of each, after one untimed round.
    """
    ours()
    theirs()
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for work, times in zip((ours, theirs), spent, strict=True):
            _synchronise()
            began = time.perf_counter()
            work()
            _synchronise()
            times.append(time.perf_counter() - began)
    return statistics.median(spent[0]), statistics.median(spent[1])


def _synchronise() -> None:
    """Wait for what a GPU still has to do, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
