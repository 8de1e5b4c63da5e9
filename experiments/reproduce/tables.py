"""Results as Markdown for people, CSV for programs and LaTeX for papers."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ppn.report.columns import (
    Column,
    latex_text,
    markdown_head,
    markdown_line,
    metric_columns,
)
from ppn.report.measured import SHARE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from experiments.reproduce.collect import Row, Spread, Summary
    from experiments.reproduce.plan import Chain, Lacking
    from ppn.report.measured import Measured, MeasuredExplainer

PUBLISHED = Path(__file__).with_name("published.yaml")


FIDELITY_COLUMNS = {
    "blackbox_accuracy": Column("accuracy of the black box %", 100, ".2f"),
    "accuracy": Column("of the prototypes %", 100, ".2f"),
    "agreement": Column("agreement %", 100, ".2f"),
    "max_logit_error": Column("largest logit error", 1, ".1e"),
    "completeness_error": Column("completeness error of maps", 1, ".1e"),
}
COMPACT_COLUMNS = {
    "negative_share": Column("negative contributions %", 100),
    "gini": Column("Gini", 1, ".3f"),
    "hoyer": Column("Hoyer", 1, ".3f"),
    "effective_prototypes": Column("prototypes for 90 % of the logit", 1, ".2f"),
}
COST_COLUMNS = {
    "seconds_classifier": Column("black box, s", 1, ".0f"),
    "seconds_prototypes": Column("prototypes, s", 1, ".0f"),
    "seconds_test": Column("evaluation, s", 1, ".0f"),
}


@dataclass(frozen=True)
class Circumstances:
    """Under which results came about.

    Attributes:
        preset: Name of the preset.
        command: The command line.
        machine: Processors in words.
        versions: Name and version of what matters.
        date: Day on which the last step ended.
        seeds: Number of seeds.
    """

    preset: str
    command: str
    machine: str
    versions: str
    date: str
    seeds: int


@dataclass(frozen=True)
class Ran:
    """A chain that ran: what its data are, and which head case its black box has.

    `benchmark` is the page of its explainers side by side, from the preset's folder; empty: none.
    """

    chain: Chain
    note: str
    case: str
    benchmark: str = ""


def map_columns(measured: Measured) -> dict[str, Column]:
    """Return a column for each metric of maps, and one for its share of the ceiling.

    Args:
        measured: Which metrics there are, and how to read them.
    """
    columns = {}
    for metric in measured.map_metrics:
        columns |= metric_columns([metric])
        ceiling = f"{metric.key}{SHARE}"
        if any(ceiling in explainer.scores for explainer in measured.explainers.values()):
            columns[ceiling] = Column(f"{metric.title}, share of the ceiling", 1, ".2f")
    return columns


def by_title(measured: Measured) -> dict[str, MeasuredExplainer]:
    """Return what is known of the explainer of each row."""
    return {explainer.title: explainer for explainer in measured.explainers.values()}


def maps_of(summary: Summary, chain: str) -> list[str]:
    """Return the titles of a chain's explainers in the order of evaluation."""
    return list(dict.fromkeys(maps for name, maps, _ in summary if name == chain and maps))


def published(data: Iterable[str]) -> list[dict[str, Any]]:
    """Return what others have published on some data sets."""
    wanted = set(data)
    return [group for group in yaml.safe_load(PUBLISHED.read_text()) if group["data"] in wanted]


def markdown(
    ran: Sequence[Ran],
    lacking: Sequence[Lacking],
    summary: Summary,
    measured: Measured,
    about: Circumstances,
) -> str:
    """Return the whole page."""
    lines = [
        f"# Results of the preset `{about.preset}`",
        "",
        f"{about.date}, {about.machine}; {about.versions}; `{about.command}`.",
        "",
        f"Mean ± sample standard deviation over {about.seeds} seeds, on test images; nothing is "
        "selected on them. Where seeds share a black box, they vary which training images "
        "discovery sees (all but a tenth, drawn anew), its random numbers, and the metrics' noise "
        "and chance maps; the spread says nothing of other black boxes.",
        "",
        "## What ran",
        "",
    ]
    for entry in ran:
        shared = "one black box for all seeds" if entry.chain.shared else "a black box per seed"
        recipe = f"recipe `{entry.chain.recipe}`, {shared}, head case `{entry.case}`"
        page = f"; [all explainers side by side]({entry.benchmark})" if entry.benchmark else ""
        lines.append(f"- `{entry.chain.name}` ({entry.note}): {recipe}{page}")
    lines += [] if ran else ["Nothing."]
    if lacking:
        lines += ["", "## What could not run, and how to get it", ""]
    for missing in lacking:
        waiting = ", ".join(f"`{name}`" for name in missing.chains)
        lines.append(f"- {missing.what}: {missing.how}. Waiting: {waiting}.")
    names = [entry.chain.name for entry in ran]
    told = {*FIDELITY_COLUMNS, *COMPACT_COLUMNS}
    further = {
        key: Column(metric.heading, 1, ".3g")
        for key, metric in measured.metrics.items()
        if not metric.of_maps and key not in told
    }
    for title, columns in (
        ("Accuracy and exactness", FIDELITY_COLUMNS | further),
        ("Compactness", COMPACT_COLUMNS),
        ("Cost", COST_COLUMNS),
    ):
        lines += ["", f"## {title}", "", *_network_table(names, columns, summary)]
    if any(maps_of(summary, name) for name in names):
        lines += ["", *_pictures("accuracy", "cost")]
    lines += ["", "## Explainers side by side", ""]
    lines += ["Read no score without what maps reach that know nothing of the image.", ""]
    lines += [f"- {metric.title}: {metric.help}" for metric in measured.map_metrics]
    for name in names:
        lines += ["", f"### {name}", "", *_part_table(name, summary, measured)]
    shown = dict.fromkeys(name.partition("/")[0] for name in names if maps_of(summary, name))
    lines += ["", *_pictures(*(f"parts-{data}" for data in shown))] if shown else []
    lines += _published_section(sorted({entry.chain.data for entry in ran}))
    return "\n".join(lines) + "\n"


def comma_separated(found: Iterable[Row]) -> str:
    """Return all numbers, one per line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("data", "backbone", "seed", "maps", "metric", "value"))
    for row in found:
        data, _, backbone = row.chain.partition("/")
        writer.writerow((data, backbone, row.seed, row.maps, row.metric, repr(row.value)))
    return buffer.getvalue()


def latex(names: Sequence[str], summary: Summary, measured: Measured) -> str:
    """Return a booktabs table of the explainers of all chains."""
    columns = map_columns(measured)
    headings = ("data set", "backbone", "maps", *(column.title for column in columns.values()))
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{tabular}{lll" + "r" * len(columns) + "}",
        "\\toprule",
        " & ".join(latex_text(text) for text in headings) + r" \\",
    ]
    for name in names:
        lines.append("\\midrule")
        data, _, backbone = name.partition("/")
        for maps in maps_of(summary, name):
            cells = [_cell(summary.get((name, maps, m)), c, "$\\pm$") for m, c in columns.items()]
            texts = [latex_text(text) for text in (data, backbone, maps)]
            lines.append(" & ".join([*texts, *cells]) + r" \\")
            data = backbone = ""
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _network_table(names: list[str], columns: dict[str, Column], summary: Summary) -> list[str]:
    shown = {m: c for m, c in columns.items() if any((n, "", m) in summary for n in names)}
    lines = markdown_head("data set / backbone", *(column.title for column in shown.values()))
    for name in names:
        cells = [_cell(summary.get((name, "", m)), c) for m, c in shown.items()]
        lines.append(markdown_line(f"`{name}`", *cells))
    return lines


def _part_table(name: str, summary: Summary, measured: Measured) -> list[str]:
    columns, explainers = map_columns(measured), by_title(measured)
    lines = markdown_head("maps", "exact", *(column.title for column in columns.values()))
    for maps in maps_of(summary, name):
        explainer = explainers[maps]
        exact = "" if explainer.kind == "floor" else "yes" if explainer.exact else "no"
        cells = [_cell(summary.get((name, maps, m)), c) for m, c in columns.items()]
        lines.append(markdown_line(maps, exact, *cells))
    return lines


def _published_section(data: list[str]) -> list[str]:
    groups = published(data)
    lines = ["", "## Published numbers", ""]
    if not groups:
        return [*lines, "None is known to us on these data sets."]
    measured = dict.fromkeys(m for group in groups for row in group["rows"].values() for m in row)
    lines += [
        "Other methods on other backbones and mostly the whole data set, often selected on test "
        "images. A cell is empty where the source gives no number or could not be read.",
        "",
        *markdown_head(
            "data set", "method", "backbone", *(f"{name} %" for name in measured), "source"
        ),
    ]
    for group in groups:
        for method, values in group["rows"].items():
            cells = [f"{values[name]:.2f}" if name in values else "" for name in measured]
            lines.append(
                markdown_line(group["data"], method, group["setting"], *cells, group["source"])
            )
    return lines


def _pictures(*names: str) -> list[str]:
    """Figures of `experiments.reproduce.figures.draw`, in the folder beside the page."""
    return [f"![{name}](figures/{name}.png)" for name in names]


def _cell(spread: Spread | None, column: Column, sign: str = "±") -> str:
    if spread is None:
        return ""
    mean = format(spread.mean * column.factor, column.form)
    if spread.std is None or column.form.endswith("e"):
        return mean
    return f"{mean} {sign} {format(spread.std * column.factor, column.form)}"
