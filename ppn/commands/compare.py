"""`ppn compare RUN RUN ...`: finished runs side by side, from their files alone."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.commands import parsing
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.commands.finished_run import FinishedRun

FIGURES = (".png", ".svg", ".pdf")
TABLES = (".csv", ".md", ".tex", ".json")
COLUMNS = (
    "run",
    "data",
    "split",
    "model",
    "k",
    "strategy",
    "accuracy %",
    "black box %",
    "agreement %",
    "consistency %",
    "standard error",
    "chance: centre %",
    "chance: random %",
    "stability %",
    "distinctiveness",
    "distinct_peaks",
    "exact",
    "seconds",
)
_WORDS = ("run", "data", "split", "model", "strategy", "exact")


def compare(runs: list[str], out: str | None = None) -> int:
    """Put finished runs side by side, from metrics.json and config.yaml alone.

    Args:
        runs: Directories of runs with metrics.json.
        out: File to write: a table (.csv, .md, .tex, .json) or a figure (.png, .svg, .pdf).

    Returns:
        Exit code 0.

    Raises:
        PPNError: If a run cannot be read, or the file to write is of another kind.
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
    rows = [summary(run) for run in found]
    _print(rows, notes)
    if file is not None:
        _write(file, found, rows, notes)
        print(file)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run `ppn compare`; see `compare`.

    Args:
        arguments: The command line after `ppn compare`.
    """
    return parsing.run("ppn compare", compare, arguments)


def summary(run: FinishedRun) -> dict[str, Any]:
    """Return one run's row: plain values by the names in `COLUMNS`, None where not measured."""
    figures = run.figures

    def percent(key: str) -> float | None:
        return None if figures.get(key) is None else 100 * float(figures[key])

    return {
        "run": run.name,
        "data": run.data or None,
        "split": run.split,
        "model": run.architecture or figures.get("model"),
        "k": run.prototypes,
        "strategy": figures.get("strategy"),
        "accuracy %": percent("accuracy"),
        "black box %": percent("blackbox_accuracy"),
        "agreement %": percent("agreement"),
        "consistency %": figures.get("consistency"),
        "standard error": figures.get("consistency_standard_error"),
        "chance: centre %": run.chance("centre", "consistency"),
        "chance: random %": run.chance("random", "consistency"),
        "stability %": figures.get("stability"),
        "distinctiveness": figures.get("distinctiveness"),
        "distinct_peaks": figures.get("distinct_peaks"),
        "exact": run.level,
        "seconds": run.seconds,
    }


def shown(rows: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Lay rows out as text: columns of which any run knows something, errors beside values."""
    from ppn.visualization.numbers import number

    columns = [name for name in COLUMNS if any(row[name] is not None for row in rows)]
    columns = [name for name in columns if name != "standard error"]
    lines = []
    for row in rows:
        cells = []
        for name in columns:
            text = number(row[name], "%" if name.endswith("%") else "")
            if name == "consistency %" and row["standard error"] is not None:
                text += f" ± {row['standard error']:.1f}"
            cells.append(text.replace("\N{NARROW NO-BREAK SPACE}%", ""))
        lines.append(cells)
    return columns, lines


def _print(rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> None:
    from rich.table import Table

    from ppn.io.terminal import console

    columns, lines = shown(rows)
    terminal = console()
    # One run per column reads better where the terminal is narrow: there are more facts than runs.
    table = Table(title="Finished runs", title_justify="left")
    table.add_column("")
    for line in lines:
        table.add_column(line[0], overflow="fold", justify="right")
    for index, name in enumerate(columns[1:], 1):
        table.add_row(name, *(line[index] for line in lines))
    terminal.print(table)
    for note in notes:
        terminal.print(f"Note: {note}")


def _write(
    out: Path, runs: Sequence[FinishedRun], rows: Sequence[dict[str, Any]], notes: Sequence[str]
) -> None:
    from ppn.io.files import write_bytes, write_json

    kind = out.suffix.lower()
    if kind == ".json":
        strategies = [{n: run.rows(n) for n in ("strategies", "chance")} for run in runs]
        merged = [{**row, **more} for row, more in zip(rows, strategies, strict=True)]
        write_json(out, {"runs": merged, "notes": list(notes)})
    elif kind in FIGURES:
        from ppn.commands.comparison_figure import draw

        write_bytes(out, draw(runs, notes, kind[1:]))
    else:
        text = {".csv": _csv, ".md": _markdown, ".tex": _latex}[kind](rows, notes)
        write_bytes(out, text.encode())


def _csv(rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    """Full precision; the notes in a column of their own, for they are about every row."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*COLUMNS, "notes"])
    for row in rows:
        writer.writerow([*(row[name] for name in COLUMNS), " ".join(notes)])
    return buffer.getvalue()


def _markdown(rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    columns, lines = shown(rows)
    rule = ["---" if name in _WORDS else "---:" for name in columns]
    text = [columns, rule, *([cell.replace("|", r"\|") for cell in line] for line in lines)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in text)
    return "\n\n".join([table, *(f"Note: {note}" for note in notes)]) + "\n"


def _latex(rows: Sequence[dict[str, Any]], notes: Sequence[str]) -> str:
    columns, lines = shown(rows)
    layout = "".join("l" if name in _WORDS else "r" for name in columns)
    body = [" & ".join(map(_escaped, line)) + r" \\" for line in (columns, *lines)]
    body.insert(1, r"\midrule")
    head = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule"]
    tail = [r"\bottomrule", r"\end{tabular}", *(f"% Note: {note}" for note in notes)]
    return "\n".join(["% needs \\usepackage{booktabs}", *head, *body, *tail]) + "\n"


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: "\\" + sign for sign in "&%$#_{}"}
    special |= {"±": r"$\pm$", "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--"}
    return "".join(special.get(sign, sign) for sign in text)
