"""The files that a benchmark leaves."""

from __future__ import annotations

import csv
import io
import shutil
from typing import TYPE_CHECKING, Any

from ppn.benchmark.figures import draw
from ppn.benchmark.run import CELLS, TOKENS
from ppn.benchmark.tables import comma_separated, curve_table, latex, markdown
from ppn.io.files import replacing, write_bytes, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from ppn.benchmark.results import Outcome


def write(outcome: Outcome, folder: Path, command: str) -> list[Path]:
    """Write tables, figures, and a row for every prototype.

    Args:
        outcome: What was found.
        folder: The benchmark's directory.
        command: How it was run.

    Returns:
        The tables.
    """
    texts = {
        "results.csv": comma_separated(outcome.rows()),
        "results.md": markdown(outcome, command),
        "results.tex": latex(outcome),
    }
    curves = curve_table(outcome)
    if curves.count("\n") > 1:
        texts["curves.csv"] = curves
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    write_json(folder / "metrics.json", outcome.figures)
    draw(outcome, folder / "figures")
    return [*(folder / name for name in texts), _write_prototypes(outcome, folder)]


def tidy(folder: Path) -> None:
    """Delete what only a benchmark that is not done needs."""
    shutil.rmtree(folder / TOKENS, ignore_errors=True)
    for lock in (folder / CELLS).glob("*.lock"):
        lock.unlink(missing_ok=True)


def _write_prototypes(outcome: Outcome, folder: Path) -> Path:
    """Write Parquet where pyarrow is installed, else CSV."""
    rows: list[dict[str, Any]] = [
        {"explainer": cell.name, "seed": cell.seed, **row}
        for cell in outcome.cells
        if cell.evaluated is not None
        for row in cell.evaluated.prototypes()
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        path = folder / "prototypes.csv"
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_bytes(path, buffer.getvalue().encode())
        return path
    path = folder / "prototypes.parquet"
    table = pyarrow.table({column: [row.get(column) for row in rows] for column in columns})
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)
    return path
