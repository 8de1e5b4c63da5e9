"""What `ppn test` and `ppn validate` have measured, as a person reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from ppn.io.files import parse_json
from ppn.io.terminal import console
from ppn.report.measured import measured

if TYPE_CHECKING:
    from pathlib import Path

    from ppn.report.measured import Measured


def show(path: Path) -> None:
    """Print the scores of maps beside their levels, and the accuracy.

    Args:
        path: `metrics.json`; nothing is printed where it is not there.
    """
    if not path.is_file():
        return
    found = measured(parse_json(path.read_text(encoding="utf-8")), str(path))
    terminal, figures = console(), found.figures
    if found.explainers:
        terminal.print(results_table(found))
    if "blackbox_accuracy" in figures:
        terminal.print(
            f"accuracy: black box {figures['blackbox_accuracy']:.2%}, prototypes "
            f"{figures['accuracy']:.2%}; agreement {figures['agreement']:.2%}; largest logit error "
            f"{figures['max_logit_error']:.1e}"
        )
    elif "accuracy" in figures:
        terminal.print(f"accuracy: {figures['accuracy']:.2%}")
    terminal.print(f"every number: {path}")


def results_table(found: Measured) -> Table:
    """Return the table of explainers, levels among them."""
    table = Table()
    for column in ("maps", "exact"):
        table.add_column(column)
    for metric in found.map_metrics:
        table.add_column(metric.heading, justify="right")
    for explainer in found.explainers.values():
        exact = "" if explainer.kind == "floor" else "yes" if explainer.exact else "no"
        scores = []
        for metric in found.map_metrics:
            value = explainer.scores.get(metric.key)
            shown = "" if value is None else f"{value:.{1 if metric.unit == '%' else 3}f}"
            scores.append(shown)
        table.add_row(explainer.title, exact, *scores)
    return table
