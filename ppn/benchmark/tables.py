"""What a benchmark has found, as CSV for programs, Markdown for people and LaTeX for papers."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from typing import TYPE_CHECKING

from ppn.benchmark.results import Curve, Row
from ppn.report.columns import (
    Column,
    latex_text,
    markdown_head,
    markdown_line,
    metric_columns,
)
from ppn.visualization.numbers import NONE, number, percent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ppn.benchmark.results import Outcome, Score
    from ppn.report.measured import MeasuredMetric

CHOSEN = 6
"""Columns of the LaTeX table, unless they are named."""
KINDS = {"method": "", "control": "control", "ceiling": "ceiling", "floor": "floor"}
LOGIT_ERROR = "max_logit_error"
COST = {
    "fit_seconds": Column("fit, s", 1, ".1f"),
    "seconds_per_image": Column("explain, ms an image", 1000, ".3g"),
    "peak_mib": Column("peak, MiB", 1, ".0f"),
    "parameters": Column("numbers learned", 1, ",.0f"),
}


def comma_separated(rows: Iterable[Row]) -> str:
    """Return all numbers, one a line, in full precision."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    return buffer.getvalue()


def curve_table(outcome: Outcome) -> str:
    """Return the curves of all metrics that have such, one point a line, with their bands."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("explainer", "metric", "step", *Curve._fields))
    for name in outcome.names:
        for metric in outcome.metrics:
            curve = outcome.curve(name, metric.key)
            points = [] if curve is None else zip(*(line.tolist() for line in curve), strict=True)
            writer.writerows((name, metric.key, step, *at) for step, at in enumerate(points))
    return buffer.getvalue()


def markdown(outcome: Outcome, command: str) -> str:
    """Return the whole page.

    Args:
        outcome: What was found.
        command: How it was run.
    """
    benchmark, figures = outcome.benchmark, outcome.figures
    seeds = ", ".join(map(str, benchmark.seeds))
    lines = [
        f"# {type(benchmark.data).__name__.removesuffix('DataModule')}: explainers side by side",
        "",
        f"`{command}`",
        "",
        f"{figures['images']} test images, {len(benchmark.data.class_names)} classes, "
        f"k = {benchmark.k}, seeds {seeds}. Accuracy of the black box: "
        f"{percent(figures['accuracy'])}, the same for all rows but those whose explanation "
        "has logits of its own (below).",
        "",
        "Numbers are means over seeds; in brackets the 95 % bootstrap interval over classes. Of "
        "the methods the **best** is bold and the <ins>second</ins> underlined. Read no score "
        "without the floors, which know nothing of the image, and the controls: random directions "
        "that are made exact are as exact as any method.",
        "",
        *_scores(outcome),
    ]
    lines += _shares(outcome)
    lines += ["", "## Ranks", "", *_ranks(outcome)]
    lines += ["", "## Predictions and cost", "", *_costs(outcome)]
    if outcome.empty:
        lines += ["", "## Empty rows", ""]
        lines += [f"- `{name}`: {why}" for name, why in outcome.empty.items()]
    lines += ["", "## What is measured", ""]
    lines += [
        f"- {m.title}: {m.help} Protocol `{m.protocol}`, {m.constants}." for m in outcome.metrics
    ]
    return "\n".join(lines) + "\n"


def latex(outcome: Outcome) -> str:
    """Return a booktabs table of the chosen columns, as wide as a line of text."""
    metrics = chosen(outcome)
    columns = metric_columns(metrics)
    marks = {m.key: _best(outcome, m, columns[m.key]) for m in metrics}
    heads = ["explainer", *(_stacked(column.title) for column in columns.values())]
    lines = [
        "% needs \\usepackage{booktabs,graphicx}",
        "\\resizebox{\\linewidth}{!}{%",
        "\\setlength{\\tabcolsep}{4pt}%",
        "\\begin{tabular}{l" + "r" * len(columns) + "}",
        "\\toprule",
        " & ".join(heads) + r" \\",
    ]
    kind = ""
    for name in outcome.names:
        explainer = outcome.measured.explainers[name]
        if explainer.kind != kind:
            lines.append("\\midrule")
            kind = explainer.kind
        cells = [latex_text(explainer.title)]
        for key, column in columns.items():
            score = outcome.score(name, key)
            text = "--" if score is None else column.text(score.value)
            place = marks[key].get(text) if kind == "method" else None
            text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(place or 0, text)
            if score is not None and score.interval is not None:
                low, high = (column.text(end) for end in score.interval)
                text += rf" {{\scriptsize [{low}, {high}]}}"
            cells.append(text.replace("-", "$-$") if text != "--" else text)
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}}"]) + "\n"


def _stacked(title: str) -> str:
    """Return a head in narrow lines: a wide one would make all numbers of the table small."""
    glued = title.replace("% ", "%\N{NO-BREAK SPACE}")
    lines = textwrap.wrap(glued, 15, break_long_words=False)
    text = r" \\ ".join(latex_text(line).replace("\N{NO-BREAK SPACE}", "~") for line in lines)
    return rf"\shortstack[r]{{{text}}}"


def chosen(outcome: Outcome) -> list[MeasuredMetric]:
    """Return the metrics of papers: those named, else the first that floors have too."""
    maps = outcome.measured.map_metrics
    directed = [metric for metric in maps if metric.higher_is_better is not None]
    keys = outcome.benchmark.columns
    if keys is None:
        return directed[:CHOSEN]
    known = {metric.key: metric for metric in outcome.metrics}
    return [known[key] for key in keys if key in known]


def _scores(outcome: Outcome) -> list[str]:
    columns = metric_columns(outcome.metrics)
    marks = {m.key: _best(outcome, m, columns[m.key]) for m in outcome.metrics}
    lines = markdown_head("explainer", "kind", "exact", "k", *(c.title for c in columns.values()))
    for name in outcome.names:
        explainer = outcome.measured.explainers[name]
        exact = "" if explainer.kind == "floor" else "yes" if explainer.exact else "no"
        cells = [explainer.title, KINDS[explainer.kind], exact, str(explainer.k or "")]
        for key, column in columns.items():
            place = None
            score = outcome.score(name, key)
            if score is not None and explainer.kind == "method":
                place = marks[key].get(column.text(score.value))
            cells.append(_cell(score, column, place))
        lines.append(markdown_line(*cells))
    return lines


def _cell(score: Score | None, column: Column, place: int | None) -> str:
    if score is None:
        return ""
    text = column.text(score.value)
    text = {1: f"**{text}**", 2: f"<ins>{text}</ins>"}.get(place or 0, text)
    if score.interval is None:
        return text
    low, high = (column.text(end) for end in score.interval)
    return f"{text} [{low}, {high}]"


def _best(outcome: Outcome, metric: MeasuredMetric, column: Column) -> dict[str, int]:
    """Return the printed numbers of the best and the second of all methods, with their place."""
    if metric.higher_is_better is None:
        return {}
    methods = [n for n in outcome.names if outcome.measured.explainers[n].kind == "method"]
    scores = [score.value for n in methods if (score := outcome.score(n, metric.key)) is not None]
    texts = [column.text(v) for v in sorted(scores, reverse=metric.higher_is_better)]
    places = list(dict.fromkeys(texts))
    return {text: place for place, text in enumerate(places[:2], 1)} if len(places) > 1 else {}


def _shares(outcome: Outcome) -> list[str]:
    columns = metric_columns(outcome.metrics)
    found = {
        (name, key): score.share
        for name in outcome.names
        for key in columns
        if (score := outcome.score(name, key)) is not None and score.share is not None
    }
    if not found:
        return []
    keys = [key for key in columns if any(other == key for _, other in found)]
    names = [name for name in outcome.names if any(other == name for other, _ in found)]
    lines = ["", "## Share of the ceiling", ""]
    lines += [
        "0 % is the best floor, 100 % parts taken from annotations and split in the same way.",
        "",
        *markdown_head("explainer", *(outcome.measured.metrics[key].title for key in keys)),
    ]
    for name in names:
        cells = [percent(found.get((name, key))) for key in keys]
        lines.append(markdown_line(outcome.measured.explainers[name].title, *cells))
    return lines


def _ranks(outcome: Outcome) -> list[str]:
    lines = [
        "Methods and controls, ranked on each class; 1 is the best. Friedman's test asks whether "
        "all are alike; mean ranks closer than Nemenyi's critical difference (CD, 5 %) cannot be "
        "told apart. Further back than the best: significantly worse by Wilcoxon's signed ranks, "
        "corrected by Holm over all pairs.",
        "",
        *markdown_head(
            *("metric", "classes", "p (Friedman)", "CD", "best", "mean rank", "further back")
        ),
    ]
    for metric in outcome.metrics:
        ranked = outcome.ranked(metric)
        if ranked is None:
            continue
        names, found = ranked
        first = min(range(len(names)), key=lambda i: found.mean[i].mean)
        worse = int((found.holm[first] < 0.05).sum())
        best = found.mean[first]
        lines.append(
            markdown_line(
                metric.title,
                str(len(found.ranks)),
                NONE if math.isnan(found.p_value) else f"{found.p_value:.2g}",
                f"{found.critical_difference:.2f}",
                outcome.measured.explainers[names[first]].title,
                f"{best.mean:.2f} [{best.low:.2f}, {best.high:.2f}]",
                f"{worse} of {len(names) - 1}",
            )
        )
    return lines


def _costs(outcome: Outcome) -> list[str]:
    lines = [
        "Whether the sum of the explanation predicts what the black box predicts, and how far its "
        "logits are off; empty where an explanation is maps alone. Fitting and explaining are "
        "without the classifier's own pass over the images, which all share.",
        "",
        *markdown_head(
            "explainer", "agreement", "largest logit error", *(c.title for c in COST.values())
        ),
    ]
    for name in outcome.names:
        agreement, error = (outcome.figures_of(name, key) for key in ("agreement", LOGIT_ERROR))
        cells = [percent(min(agreement), 2) if agreement else ""]
        cells.append(number(max(error)) if error else "")
        for key, column in COST.items():
            cost = outcome.cost(name, key)
            cells.append(NONE if cost is None else column.text(cost))
        lines.append(markdown_line(outcome.measured.explainers[name].title, *cells))
    return lines
