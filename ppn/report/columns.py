"""What tables of results have in common: columns, and lines of Markdown and LaTeX."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ppn.report.measured import MeasuredMetric


class Column(NamedTuple):
    """How a metric is shown: heading, factor, and format."""

    title: str
    factor: float = 1.0
    form: str = ".1f"

    def text(self, value: float) -> str:
        """Print a value."""
        return format(value * self.factor, self.form)


def metric_columns(metrics: Iterable[MeasuredMetric]) -> dict[str, Column]:
    """Return a column for each metric: scales of 0 to 1 in percent, like those of 0 to 100."""
    columns = {}
    for metric in metrics:
        share = metric.bounds == (0, 1) and not metric.unit
        name = f"{metric.title} %" if share else metric.name
        form = ".1f" if share or metric.unit == "%" else ".3g"
        columns[metric.key] = Column(f"{name} {metric.arrow}".rstrip(), 100 if share else 1, form)
    return columns


def markdown_head(*cells: str) -> list[str]:
    """Return the first two lines of a Markdown table."""
    return [markdown_line(*cells), markdown_line(*("---" for _ in cells))]


def markdown_line(*cells: str) -> str:
    """Return a line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def latex_text(text: str) -> str:
    """Return text as LaTeX prints it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: "\\" + sign for sign in "&%$#_{}"}
    special |= {"±": r"$\pm$", "\N{MINUS SIGN}": "$-$", "\N{EN DASH}": "--"}
    special |= {"\N{UPWARDS ARROW}": r"$\uparrow$", "\N{DOWNWARDS ARROW}": r"$\downarrow$"}
    return "".join(special.get(sign, sign) for sign in text)
