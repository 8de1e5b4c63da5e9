"""Tables and figures of the study."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments.refinement.cells import (
    COST,
    DISCOVERERS,
    HELD_OUT,
    JUDGE,
    METRICS,
    REFINEMENT,
    RIDGES,
)
from ppn.io.files import replacing
from ppn.visualization.palette import identity_colour

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ppn.metrics import Metric

Rows = list[dict[str, Any]]
Way = tuple[str, str, float | None]
"""Parts, maps and lambda."""
DEFAULT: Way = (next(iter(DISCOVERERS)), REFINEMENT.key, REFINEMENT.ridge)
"""Parts, maps and lambda that all others are held against."""
_MARKS = "osD^vP"
_CHANCE = "#6b7280"


def head(metric: type[Metric]) -> str:
    """Return the name of a metric, of which the study shows all in percent."""
    return f"{metric.title} %"


def percent(metric: type[Metric]) -> float:
    """Return the factor that makes a score a percentage."""
    return 100 / metric.bounds[1] if metric.bounds else 1.0


def floors(rows: Rows) -> set[str]:
    """Return the maps that know nothing of the image."""
    return {row["maps"] for row in rows if row["kind"] == "floor"}


def mean_std(rows: Rows, metric: str, **wanted: object) -> tuple[float, float] | None:
    """Return mean and sample standard deviation over seeds of the rows that are as wanted."""
    names = {name.replace("ridge", "lambda"): value for name, value in wanted.items()}
    values = [
        row[metric]
        for row in rows
        if all(row[name] == value for name, value in names.items()) and row[metric] is not None
    ]
    if not values:
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def markdown(title: str, rows: Rows, seeds: int) -> str:
    """Return the page: every combination, with chance, and what is best on held-out images."""
    lines = [
        f"# Refinement study: {title}",
        "",
        f"Mean ± sample standard deviation over {seeds} seeds. In each, {HELD_OUT:.0%} of the "
        "training images of every class are held out of discovery and scored; test images are not "
        "touched. The black box was trained on images of both halves, so its own fit is the same "
        "for all rows. With k = 1 there is nothing to split: one exact strategy stands for all.",
        "",
        *_best(rows),
        *_summary(rows),
        "",
        f"![{JUDGE.title} over k](strategies.png)",
        f"![{JUDGE.title} over lambda](ridge.png)",
        f"![{JUDGE.title} over {COST.title}](tradeoff.png)",
    ]
    shown = METRICS[:3]
    for k in sorted({row["k"] for row in rows}):
        lines += ["", f"## k = {k}", ""]
        lines.append(_line("parts", "maps", "lambda", *map(head, shown)))
        lines.append(_line(*["---"] * (3 + len(shown))))
        for discoverer, maps, ridge in _combinations(rows, k):
            wanted = {"k": k, "discoverer": discoverer, "maps": maps, "ridge": ridge}
            cells = []
            for metric in shown:
                found = mean_std(rows, metric.key, **wanted)
                cells.append(
                    "" if found is None else " ± ".join(f"{percent(metric) * x:.1f}" for x in found)
                )
            name = "" if maps in floors(rows) else discoverer
            lines.append(_line(name, maps, _lambda(ridge), *cells))
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _lambda(ridge: float | None) -> str:
    return "" if ridge is None else f"{ridge:g}"


def _summary(rows: Rows) -> list[str]:
    """Every way over all k > 1, best first, and how far it is from the default, seed by seed."""
    default = _by_seed(rows, DEFAULT, JUDGE)
    if not default:
        return []
    lines = [
        "",
        "## All k > 1 together",
        "",
        "The difference is from `cam_split` with lambda 3, the default before `compact_split`, in "
        "the same seed, thus on the same images; ± is the standard error over seeds.",
        "",
        _line("parts", "maps", "lambda", head(JUDGE), "difference", *map(head, METRICS[2:])),
        _line(*["---"] * 7),
    ]
    scored = [(_by_seed(rows, way, JUDGE), way) for way in _ways(rows)]
    for values, way in sorted(scored, key=lambda entry: -statistics.fmean(entry[0])):
        gained = [ours - theirs for ours, theirs in zip(values, default, strict=True)]
        error = statistics.stdev(gained) / len(gained) ** 0.5 if len(gained) > 1 else 0.0
        apart = "default" if way == DEFAULT else f"{statistics.fmean(gained):+.1f} ± {error:.1f}"
        others = [f"{statistics.fmean(_by_seed(rows, way, metric)):.1f}" for metric in METRICS[2:]]
        name = "" if way[1] in floors(rows) else way[0]
        judged = f"{statistics.fmean(values):.1f}"
        lines.append(_line(name, way[1], _lambda(way[2]), judged, apart, *others))
    return lines


def _ways(rows: Rows) -> set[Way]:
    """Every way with k > 1; chance levels once."""
    ways = {(row["discoverer"], row["maps"], row["lambda"]) for row in rows if row["k"] > 1}
    return {way for way in ways if way[0] == DEFAULT[0] or way[1] not in floors(rows)}


def _by_seed(rows: Rows, way: Way, metric: type[Metric]) -> list[float]:
    """A metric's mean over k > 1 in percent, for each seed."""
    wanted = [r for r in rows if r["k"] > 1 and (r["discoverer"], r["maps"], r["lambda"]) == way]
    seeds = sorted({row["seed"] for row in rows})
    found = [[r[metric.key] for r in wanted if r["seed"] == seed] for seed in seeds]
    means = [statistics.fmean(values) for values in found if values and None not in values]
    return [percent(metric) * mean for mean in means]


def draw(title: str, rows: Rows, folder: Path) -> list[Path]:
    """Draw what judges over k for each way to find parts, over lambda, and over what it costs."""
    style = {"font.size": 9, "svg.hashsalt": "ppn"}
    style |= {"axes.spines.top": False, "axes.spines.right": False}  # type: ignore[dict-item]
    files = []
    with mpl.rc_context(style):  # type: ignore[arg-type]
        figures = {
            "strategies": _over_k(rows),
            "ridge": _over_ridge(rows),
            "tradeoff": _tradeoff(rows),
        }
        for name, figure in figures.items():
            figure.suptitle(f"{title}, held-out training images", x=0.01, ha="left")
            for suffix in ("png", "svg"):
                file = folder / f"{name}.{suffix}"
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                with replacing(file) as temporary:
                    figure.savefig(temporary, format=suffix, dpi=160, metadata=metadata)
                files.append(file)
    return files


def _combinations(rows: Rows, k: int) -> list[tuple[str, str, float | None]]:
    """All rows of a table; chance levels once, as they do not depend on the parts."""
    first, levels = next(iter(DISCOVERERS)), floors(rows)
    found: dict[tuple[str, str, float | None], None] = dict.fromkeys(
        (row["discoverer"], row["maps"], row["lambda"])
        for row in rows
        if row["k"] == k and (row["maps"] not in levels or row["discoverer"] == first)
    )
    if k == 1:  # nothing to split: one of the exact ones stands for all
        exact = {row["maps"] for row in rows if row["exact"]}
        found = {c: None for c in found if c[1:] == DEFAULT[1:] or c[1] not in exact}
    return sorted(found, key=lambda entry: entry[1] in levels)


def _best(rows: Rows) -> list[str]:
    lines = []
    exact = {row["maps"] for row in rows if row["exact"]}
    for k in sorted({row["k"] for row in rows}):
        scored = []
        for discoverer, maps, ridge in _combinations(rows, k):
            if maps not in exact:
                continue
            wanted = {"k": k, "discoverer": discoverer, "maps": maps, "ridge": ridge}
            found = mean_std(rows, JUDGE.key, **wanted)
            if found is not None:
                shown = "" if ridge is None else f", lambda {ridge:g}"
                scored.append((found[0], f"`{maps}`{shown}, {discoverer}"))
        if scored and k > 1:
            value, name = max(scored)
            lines.append(f"- k = {k}: {name} has the highest {JUDGE.title}, {value:.1f} %.")
    return lines


def _over_k(rows: Rows) -> Figure:
    names = [name for name in DISCOVERERS if any(row["discoverer"] == name for row in rows)]
    ks = sorted({row["k"] for row in rows})
    levels = floors(rows)
    every = list(dict.fromkeys(row["maps"] for row in rows))
    shown = [maps for maps in every if maps not in levels]
    known = {maps: mean_std(rows, JUDGE.key, maps=maps) or (0.0, 0.0) for maps in every}
    shown += sorted((m for m in every if m in levels), key=known.__getitem__)[-1:]
    figure = Figure(figsize=(3.1 * len(names) + 1.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for axes, name in zip(panels, names, strict=True):
        for number, maps in enumerate(shown):
            ridge = DEFAULT[2] if maps == DEFAULT[1] else None
            wanted = {"discoverer": name, "maps": maps, "ridge": ridge}
            points = [(k, mean_std(rows, JUDGE.key, k=k, **wanted)) for k in ks]
            _draw_line(
                axes,
                # Side by side: points of equal height would hide each other.
                [(k + 0.09 * (number - 3), found) for k, found in points if found is not None],
                maps if ridge is None else f"{maps}, lambda {ridge:g}",
                _CHANCE if maps in levels else identity_colour(number),
                None if maps in levels else _MARKS[number % len(_MARKS)],
            )
        axes.set_title(name, loc="left")
        axes.set_xlabel("prototypes per class, k")
        axes.set_xticks(ks)
        axes.set_ylim(0, 100)
    panels[0].set_ylabel(head(JUDGE))
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


def _over_ridge(rows: Rows) -> Figure:
    parts, maps, _ = DEFAULT
    ks = [k for k in sorted({row["k"] for row in rows}) if k > 1]
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for number, k in enumerate(ks):
        points = [
            (s, mean_std(rows, JUDGE.key, k=k, discoverer=parts, maps=maps, ridge=s))
            for s in RIDGES
        ]
        seen = [(s * 1.06 ** (number - 1), found) for s, found in points if found is not None]
        _draw_line(axes, seen, f"k = {k}", identity_colour(number), _MARKS[number])
    axes.set_xscale("log")
    axes.set_xticks(RIDGES, [f"{s:g}" for s in RIDGES])
    axes.minorticks_off()
    axes.set_ylim(0, 100)
    axes.set_xlabel(f"lambda of {maps} ({parts})")
    axes.set_ylabel(head(JUDGE))
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)
    return figure


def _tradeoff(rows: Rows) -> Figure:
    """What a score may cost: maps that all point at one place are consistent too."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    levels = floors(rows)
    strategies = [m for m in dict.fromkeys(row["maps"] for row in rows) if m not in levels]
    for number, discoverer in enumerate(DISCOVERERS):
        for maps, mark in zip(strategies, _MARKS, strict=True):
            ways = [way for way in _ways(rows) if way[:2] == (discoverer, maps)]
            points = [
                (
                    statistics.fmean(_by_seed(rows, way, COST)),
                    statistics.fmean(_by_seed(rows, way, JUDGE)),
                )
                for way in sorted(ways, key=lambda way: way[2] or 0)
            ]
            label = f"{discoverer}, {maps}" if maps == DEFAULT[1] else None
            style = {"marker": mark, "color": identity_colour(number), "markersize": 4.5}
            axes.plot(*zip(*points, strict=True), linewidth=1.0, label=label, **style)
    for maps, mark in list(zip(strategies, _MARKS, strict=True))[1:]:
        axes.plot([], [], mark, color=_CHANCE, markersize=4.5, label=maps)
    axes.set_xlabel(f"{head(COST)}, mean over k > 1")
    axes.set_ylabel(head(JUDGE))
    axes.set_ylim(0, 100)
    title = f"{DEFAULT[1]}: lambda {RIDGES[0]:g} (right) to {RIDGES[-1]:g}"
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, title=title)
    return figure


def _draw_line(
    axes: Any,  # noqa: ANN401 - matplotlib's axes
    points: Sequence[tuple[float, tuple[float, float]]],
    label: str,
    colour: str,
    mark: str | None,
) -> None:
    axes.errorbar(
        [x for x, _ in points],
        [mean for _, (mean, _) in points],
        yerr=[std for _, (_, std) in points],
        marker=mark,
        linestyle="--" if mark is None else "-",
        markersize=4.5,
        linewidth=1.3,
        capsize=2,
        color=colour,
        label=label,
    )
