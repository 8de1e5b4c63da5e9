"""The study's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from experiments.shares.scores import METRICS
from ppn.metrics.intervals import paired_difference

if TYPE_CHECKING:
    from experiments.shares.study import Table


def table(found: Table, reference: str) -> list[str]:
    """Return lines of Markdown: each way's figures, and their difference from a reference.

    Differences are paired over classes, after the mean over seeds or draws; in brackets the 95 %
    bootstrap interval over classes.

    Args:
        found: The scores.
        reference: A way of them.
    """
    means = {way: torch.stack(each).nanmean(0) for way, each in found.items()}
    lines = [
        f"| shares | {' | '.join(METRICS)} |".replace("_", " "),
        f"| --- |{' --- |' * len(METRICS)}",
    ]
    for way, values in means.items():
        cells = []
        for own, base in zip(values, means[reference], strict=True):
            text = f"{float(own.nanmean()):.1f}"
            if way != reference:
                mean, low, high, _ = paired_difference(own.numpy(), base.numpy())
                text += f" ({mean:+.1f} [{low:+.1f}, {high:+.1f}])"
            cells.append(text)
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines
