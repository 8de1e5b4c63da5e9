"""The terminal, on which a name is shown as it is."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDE = 240
"""Columns of a file or pipe, which has no width of its own: no line of a table is broken there."""


def console(stderr: bool = False) -> Console:
    """Return a console that reads neither markup nor emoji in what it prints.

    A class may be called `[red]`, and a package `ppn[bench]`.

    Args:
        stderr: Whether to print to standard error.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
