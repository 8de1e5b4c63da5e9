"""`ppn compare RUN RUN ...`: finished runs side by side, from their files alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.commands.finished_run import FinishedRun

FIGURES = (".png", ".svg", ".pdf")
TABLES = (".csv", ".md", ".tex", ".json")


def compare(runs: list[str], out: str | None = None) -> int:
    """Put finished runs side by side, from metrics.json and config.yaml alone.

    Args:
        runs: Directories of runs with metrics.json, benchmarks among them.
        out: File to write: a table (.csv, .md, .tex, .json) or a figure (.png, .svg, .pdf).

    Returns:
        Exit code 0.

    Raises:
        PPNError: If a run cannot be read, the file to write is of another kind, or benchmarks that
            were not made alike would be drawn on one axis.
    """
    file = None if out is None else Path(out)
    if file is not None and file.suffix.lower() not in (*TABLES, *FIGURES):
        raise PPNError(
            f"--out {file} is neither a table nor a figure: name a file that ends in "
            f"{', '.join((*TABLES, *FIGURES))}."
        )

    from ppn.commands.finished_run import differences, read_runs

    found = read_runs(runs)
    notes = differences(found)
    drawn = file is not None and file.suffix.lower() in FIGURES
    if drawn and notes and any(run.benchmark for run in found):
        raise PPNError(
            f"{file} would put on one axis what cannot be compared, for {notes[0][0].lower()}"
            f"{notes[0][1:].rstrip('.')}: name a table, which says so, or run them alike."
        )
    _print(found, notes)
    if file is not None:
        _write(file, found, notes)
        print(file)
    return 0


def _print(runs: Sequence[FinishedRun], notes: Sequence[str]) -> None:
    from rich.table import Table

    from ppn.commands.comparison_table import shown, table
    from ppn.io.terminal import console

    heads, lines = shown(*table(runs))
    # One run per column reads better where the terminal is narrow: there are more facts than runs.
    grid = Table(title="Finished runs", title_justify="left")
    grid.add_column("")
    for line in lines:
        grid.add_column(line[0], overflow="fold", justify="right")
    for index, head in enumerate(heads[1:], 1):
        grid.add_row(head, *(line[index] for line in lines))
    terminal = console()
    terminal.print(grid)
    for note in notes:
        terminal.print(f"Note: {note}")


def _write(out: Path, runs: Sequence[FinishedRun], notes: Sequence[str]) -> None:
    from ppn.commands.comparison_table import comma_separated, latex, markdown, table
    from ppn.io.files import write_bytes, write_json

    kind = out.suffix.lower()
    columns, rows = table(runs)
    if kind == ".json":
        more = [{key: run.figures.get(key) for key in ("metrics", "explainers")} for run in runs]
        both = [{**row, **others} for row, others in zip(rows, more, strict=True)]
        write_json(out, {"runs": both, "notes": list(notes)})
    elif kind in FIGURES:
        from ppn.commands.comparison_figure import draw

        write_bytes(out, draw(runs, notes, kind[1:]))
    else:
        text = {".csv": comma_separated, ".md": markdown, ".tex": latex}[kind](columns, rows, notes)
        write_bytes(out, text.encode())
