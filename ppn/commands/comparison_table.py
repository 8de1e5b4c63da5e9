"""Runs side by side as text: CSV, Markdown, LaTeX, and the lines of the terminal's table."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, NamedTuple

from ppn.report.columns import latex_text
from ppn.report.measured import ERROR, INTERVAL, SHARE, merged
from ppn.visualization.numbers import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.commands.finished_run import FinishedRun


class TableColumn(NamedTuple):
    """A column: its name, the unit of its values, and the direction that is good.

    `error_of` is the name of the column whose standard errors, or ends of intervals, these are,
    empty for others.
    """

    name: str
    unit: str = ""
    arrow: str = ""
    error_of: str = ""
    words: bool = False


Row = dict[str, Any]
"""Plain values of one run by the names of columns; None where not measured."""
_NETWORK = {
    "accuracy": "accuracy %",
    "blackbox_accuracy": "black box %",
    "agreement": "agreement %",
}
"""Shares of images, shown in percent: name in `metrics.json`, name of the column."""


def table(runs: Sequence[FinishedRun]) -> tuple[list[TableColumn], list[Row]]:
    """Return the columns of which any run knows something, and one row for each run.

    Every metric of the runs has a column, with its interval; floors, controls, the ceiling and the
    share of it beside it.
    """
    every = merged(run.measured for run in runs)
    rows: list[Row] = [_facts(run) for run in runs]
    columns = [TableColumn(name, words=True) for name in ("run", "data", "split", "model")]
    columns += [TableColumn("k"), TableColumn("refinement", words=True)]
    columns += [TableColumn(name, "%") for name in _NETWORK.values()]
    for metric in (m for m in every.metrics.values() if m.key not in _NETWORK):
        name, error = metric.name, f"{metric.name}, standard error"
        low, high = (f"{name}, 95 % {end}" for end in ("low", "high"))
        columns.append(TableColumn(name, metric.unit, metric.arrow))
        columns += [TableColumn(of, metric.unit, "", name) for of in (error, low, high)]
        share = TableColumn(f"{name}, share of the ceiling")
        for run, row in zip(runs, rows, strict=True):
            row[name] = run.figures.get(metric.key)
            row[error] = run.figures.get(f"{metric.key}{ERROR}")
            row[low], row[high] = run.figures.get(f"{metric.key}{INTERVAL}") or (None, None)
            row[share.name] = run.figures.get(f"{metric.key}{SHARE}")
        for level in every.levels if metric.of_maps else ():
            columns.append(TableColumn(f"{name}, {level.title}", metric.unit))
            for run, row in zip(runs, rows, strict=True):
                found = run.measured.explainers.get(level.name)
                row[columns[-1].name] = None if found is None else found.scores.get(metric.key)
        columns.append(share)
    columns += [TableColumn("exact", words=True), TableColumn("seconds")]
    return [c for c in columns if any(row[c.name] is not None for row in rows)], rows


def _facts(run: FinishedRun) -> Row:
    shares = {
        name: None if run.figures.get(key) is None else 100 * float(run.figures[key])
        for key, name in _NETWORK.items()
    }
    return {
        "run": run.name,
        "data": run.data or None,
        "split": run.split,
        "model": run.architecture or run.figures.get("model"),
        "k": run.prototypes,
        "refinement": run.measured.refinement,
        **shares,
        "exact": run.level,
        "seconds": run.seconds,
    }


def shown(columns: Sequence[TableColumn], rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Lay out as text: heads with directions, and cells with errors beside values."""
    errors: dict[str, list[str]] = {}
    for column in columns:
        if column.error_of:
            errors.setdefault(column.error_of, []).append(column.name)
    values = [column for column in columns if not column.error_of]
    lines = []
    for row in rows:
        cells = []
        for column in values:
            text = number(row[column.name], column.unit)
            text = text.removesuffix(f"\N{NARROW NO-BREAK SPACE}{column.unit}")
            spread = [row[error] for error in errors.get(column.name, ()) if row[error] is not None]
            if len(spread) > 1:  # an interval says more than a standard error
                text += f" [{number(spread[-2])}, {number(spread[-1])}]"
            elif spread:
                text += f" ± {spread[0]:.1f}"
            cells.append(text)
        lines.append(cells)
    return [f"{column.name} {column.arrow}".rstrip() for column in values], lines


def comma_separated(
    columns: Sequence[TableColumn], rows: Sequence[Row], notes: Sequence[str]
) -> str:
    """Return full precision; the notes in a column of their own, for they are about every row."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*(column.name for column in columns), "notes"])
    for row in rows:
        writer.writerow([*(row[column.name] for column in columns), " ".join(notes)])
    return buffer.getvalue()


def markdown(columns: Sequence[TableColumn], rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Return a table, and the notes as paragraphs."""
    heads, lines = shown(columns, rows)
    rule = ["---" if column.words else "---:" for column in columns if not column.error_of]
    text = [[cell.replace("|", r"\|") for cell in line] for line in (heads, *lines)]
    text.insert(1, rule)
    body = "\n".join(f"| {' | '.join(line)} |" for line in text)
    return "\n\n".join([body, *(f"Note: {note}" for note in notes)]) + "\n"


def latex(columns: Sequence[TableColumn], rows: Sequence[Row], notes: Sequence[str]) -> str:
    """Return a booktabs table, and the notes as comments."""
    heads, lines = shown(columns, rows)
    layout = "".join("l" if column.words else "r" for column in columns if not column.error_of)
    body = [" & ".join(map(latex_text, line)) + r" \\" for line in (heads, *lines)]
    body.insert(1, r"\midrule")
    head = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule"]
    tail = [r"\bottomrule", r"\end{tabular}", *(f"% Note: {note}" for note in notes)]
    return "\n".join(["% needs \\usepackage{booktabs}", *head, *body, *tail]) + "\n"
