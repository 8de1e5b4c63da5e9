"""`ppn compare RUN RUN ...`: finished runs side by side, from their files alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppn.commands.arguments import Parser
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.commands.finished_run import FinishedRun

FIGURES = (".png", ".svg", ".pdf")
TABLES = (".csv", ".md", ".tex", ".json")


def parser() -> Parser:
    """Return the parser of `ppn compare`."""
    found = Parser(
        prog="ppn compare",
        description="Put finished runs side by side, from metrics.json and config.yaml alone.",
    )
    found.add_argument(
        "runs", nargs="+", metavar="RUN", help="directory of a run with metrics.json"
    )
    found.add_argument(
        "--out",
        metavar="FILE",
        help=f"write a table ({', '.join(TABLES)}) or a figure ({', '.join(FIGURES)})",
    )
    return found


def main(arguments: Sequence[str]) -> int:
    """Compare runs.

    Args:
        arguments: The command line after `ppn compare`.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If a run cannot be read, or the file to write is of another kind.
    """
    try:
        given = parser().parse_args(arguments)
    except SystemExit:  # --help
        return 0
    out = None if given.out is None else Path(given.out)
    if out is not None and out.suffix.lower() not in (*TABLES, *FIGURES):
        raise PPNError(
            f"--out {out} is neither a table nor a figure: name a file that ends in "
            f"{', '.join((*TABLES, *FIGURES))}."
        )

    from ppn.commands.finished_run import differences, read_runs

    runs = read_runs(given.runs)
    notes = differences(runs)
    _print(runs, notes)
    if out is not None:
        _write(out, runs, notes)
        print(out)
    return 0


def _print(runs: Sequence[FinishedRun], notes: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from ppn.commands.comparison_table import shown, table

    heads, lines = shown(*table(runs))
    console = Console()
    if not console.is_terminal:
        console = Console(width=240)
    # One run per column reads better where the terminal is narrow: there are more facts than runs.
    grid = Table(title="Finished runs", title_justify="left")
    grid.add_column("")
    for line in lines:
        grid.add_column(escape(line[0]), overflow="fold", justify="right")
    for index, head in enumerate(heads[1:], 1):
        grid.add_row(escape(head), *(escape(line[index]) for line in lines))
    console.print(grid)
    for note in notes:
        console.print(f"Note: {note}", markup=False, highlight=False)


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
