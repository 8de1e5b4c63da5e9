"""The support table: every architecture of timm, each examined apart, some at the same time."""

from __future__ import annotations

import csv
import re
from fnmatch import fnmatch
from io import StringIO
from typing import TYPE_CHECKING, Any

import timm
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from experiments.zoo.apart import apart
from ppn.commands.examination import COLUMNS, Examination
from ppn.errors import CheckpointError, PPNError
from ppn.io.terminal import console

if TYPE_CHECKING:
    from pathlib import Path

    from experiments.zoo.apart import Limits

_LARGE = (r"enormous|gigantic|giant|_g_", r"huge|xxlarge|_h_", r"large|_l_|so\d+m|large")
"""What the names of large architectures hold, the largest first."""


def architectures(pattern: str | None) -> list[str]:
    """Return timm's architectures whose name matches a pattern such as `vit_*`.

    Raises:
        CheckpointError: If there is none.
    """
    names = [name for name in timm.list_models() if pattern is None or fnmatch(name, pattern)]
    if not names:
        raise CheckpointError(f"timm has no architecture like '{pattern}': see timm.list_models().")
    return names


def fill(
    names: list[str], table: Path, limit: int | None, jobs: int, limits: Limits, again: bool
) -> None:
    """Examine architectures that a table does not have yet, and append a row for each.

    Args:
        names: Architectures wanted.
        table: CSV file; made if it does not exist.
        limit: Most architectures to examine now; None for no limit.
        jobs: How many to examine at the same time.
        limits: What each may take.
        again: Whether to examine those again that could not be examined.

    Raises:
        PPNError: If the file is another kind of table.
    """
    rows = read(table) if table.exists() else []
    known = {row.model for row in rows if not (again and row.unsettled)}
    # The largest first: what takes longest is not to begin last.
    wanted = sorted((name for name in names if name not in known), key=_rank)[:limit]
    if not table.exists():
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(",".join(COLUMNS) + "\n")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console(stderr=True)) as progress:
        task = progress.add_task("", total=len(wanted))
        for row in apart(wanted, jobs, limits):
            _append(table, row)
            progress.update(task, description=row.model, advance=1)


def read(table: Path) -> list[Examination]:
    """Return the rows of a table, the last of each architecture.

    Raises:
        PPNError: If the file is another kind of table.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            if reader.fieldnames == COLUMNS:
                rows = [Examination(**{**row, **_numbers(row)}) for row in reader]
                return list({row.model: row for row in rows}.values())
    # TypeError: a line of more columns than the first
    except (OSError, ValueError, TypeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        raise PPNError(f"{table} cannot be read ({reason}): name a new file.") from None
    raise PPNError(
        f"{table} has other columns than a support table of this version: name a new file."
    )


def _rank(name: str) -> int:
    """Return how early an architecture is examined, by the words for size in its name."""
    found = (index for index, words in enumerate(_LARGE) if re.search(words, f"{name}_"))
    return next(found, len(_LARGE))


def _append(table: Path, row: Examination) -> None:
    """Add a line in one write, so that a killed run leaves whole lines."""
    line = StringIO()
    csv.DictWriter(line, COLUMNS).writerow(row.to_dict())
    with table.open("a", newline="") as file:
        file.write(line.getvalue())


def _numbers(row: dict[str, str]) -> dict[str, Any]:
    kinds = {
        "places": float,
        "width": int,
        "memory": int,
        "logit_error": float,
        "completeness_error": float,
        "complete_error": float,
        "complete_nodes": int,
        "elsewhere": float,
        "parameters": float,
        "seconds": float,
    }
    return {key: kind(row[key]) if row[key] else None for key, kind in kinds.items()}
