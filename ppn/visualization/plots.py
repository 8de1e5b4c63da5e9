"""The look of plots of results, and their files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from ppn.io.files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHANCE = "#6b7280"
"""Colour of what knows nothing of the image."""
INK = "#16181d"
GRID = "#e5e7eb"
_STYLE: Any = {
    "font.size": 9,
    "svg.hashsalt": "ppn",
    "pdf.fonttype": 42,  # text that can be searched and edited, as many venues ask for
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the package within the block."""
    with mpl.rc_context(_STYLE):
        yield


def horizontal(axes: Axes, names: Sequence[str]) -> None:
    """Give each name a line of its own, the first one at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def save(figure: Figure, stem: Path, suffixes: Sequence[str] = (".png", ".svg")) -> list[Path]:
    """Write a figure; the same numbers give the same files.

    Args:
        figure: The figure.
        stem: Path without suffix.
        suffixes: One file each: ".png", ".svg", ".pdf".
    """
    files = [stem.with_suffix(suffix) for suffix in suffixes]
    dated: dict[str, dict[str, Any]] = {
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
        ".png": {"Software": None},
    }
    for file in files:
        with replacing(file) as temporary:
            figure.savefig(temporary, format=file.suffix[1:], dpi=160, metadata=dated[file.suffix])
    return files
