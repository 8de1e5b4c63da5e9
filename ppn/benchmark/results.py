"""From cells to numbers: scores with their intervals, share of the ceiling, mean over seeds."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ppn.metrics.compared import IMAGE_INTERVAL, INTERVAL, SHARE, compared
from ppn.metrics.intervals import bootstrap_interval
from ppn.metrics.ranks import ranking
from ppn.report.measured import measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ppn.benchmark.cells import Cell
    from ppn.benchmark.config import Benchmark
    from ppn.metrics.ranks import Ranking
    from ppn.report.measured import Measured, MeasuredMetric

KINDS = ("method", "ceiling", "control", "floor")
"""In the order of tables."""
Ends = tuple[float, float]


class Row(NamedTuple):
    """One number: a line of `results.csv`; empty ends where there is no interval."""

    explainer: str
    kind: str
    seed: int
    metric: str
    value: float
    class_low: float | None = None
    class_high: float | None = None
    image_low: float | None = None
    image_high: float | None = None
    share_of_ceiling: float | None = None


class Curve(NamedTuple):
    """`mean` (n,) over seeds and classes; `low` and `high` (n,), 95 % intervals over classes."""

    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One metric of one explainer over all seeds.

    Attributes:
        value: Mean over seeds.
        interval: Ends of the 95 % interval of the mean over classes, whose values are means over
            seeds; None where the metric has no value of a class.
        per_class: (C,) those values, NaN where there is none; None as before.
        share: Mean share of the ceiling; None where it means nothing.
    """

    value: float
    interval: Ends | None
    per_class: NDArray[np.float64] | None
    share: float | None


class Outcome:
    """Everything that a benchmark has found.

    Args:
        benchmark: What is compared.
        cells: Its cells, of all seeds.
    """

    def __init__(self, benchmark: Benchmark, cells: Sequence[Cell]) -> None:
        self.benchmark = benchmark
        by_kind = sorted(benchmark.explainers, key=lambda one: KINDS.index(one.kind))
        order = {explainer.name: place for place, explainer in enumerate(by_kind)}
        self.cells = sorted(cells, key=lambda cell: (order[cell.name], cell.seed))
        self.further = {seed: self._compared(seed) for seed in benchmark.seeds}
        self.names = list(dict.fromkeys(c.name for c in self.cells if c.evaluated is not None))
        self.empty = {
            cell.name: cell.why_empty for cell in self.cells if cell.name not in self.names
        }
        self.figures = self._figures()
        self.measured: Measured = measured(self.figures, "the benchmark")

    @property
    def metrics(self) -> list[MeasuredMetric]:
        """What is measured of maps, in the order of tables."""
        return [metric for metric in self.measured.metrics.values() if metric.of_maps]

    def of(self, name: str) -> list[Cell]:
        """Return the cells of an explainer that hold something, seed after seed."""
        return [cell for cell in self.cells if cell.name == name and cell.evaluated is not None]

    def rows(self) -> list[Row]:
        """Return every number of every cell."""
        found = []
        for cell in self.cells:
            if cell.evaluated is None:
                continue
            kind = cell.evaluated.about["kind"]
            known = cell.evaluated.figures | self.further[cell.seed][cell.name]
            for key, value in {**known, **(cell.cost or {})}.items():
                if not _is_number(value) or key.endswith(SHARE):
                    continue
                ends = known.get(f"{key}{INTERVAL}"), known.get(f"{key}{IMAGE_INTERVAL}")
                low, high = ends[0] or (None, None)
                image_low, image_high = ends[1] or (None, None)
                share = known.get(f"{key}{SHARE}")
                found.append(
                    Row(
                        *(cell.name, kind, cell.seed, key, float(value)),
                        *(low, high, image_low, image_high, share),
                    )
                )
        return found

    def score(self, name: str, key: str) -> Score | None:
        """Return a metric of an explainer over all seeds; None where it was not measured."""
        cells = [
            c for c in self.of(name) if c.evaluated and _is_number(c.evaluated.figures.get(key))
        ]
        if not cells:
            return None
        found = [c.evaluated.figures[key] for c in cells if c.evaluated]
        classes = [
            c.evaluated.values[key].classes.numpy()
            for c in cells
            if c.evaluated and key in c.evaluated.values
        ]
        shares = [self.further[c.seed][name].get(f"{key}{SHARE}") for c in cells]
        per_class = np.mean(classes, axis=0) if len(classes) == len(cells) else None
        interval = None
        if per_class is not None:
            over = bootstrap_interval(per_class)
            interval = (over.low, over.high) if over.units > 1 else None
        known = [share for share in shares if share is not None]
        share = statistics.fmean(known) if len(known) == len(cells) else None
        return Score(statistics.fmean(found), interval, per_class, share)

    def figures_of(self, name: str, key: str) -> list[float]:
        """Return a figure of an explainer for each seed that has it."""
        found = [cell.evaluated.figures.get(key) for cell in self.of(name) if cell.evaluated]
        return [float(value) for value in found if value is not None and _is_number(value)]

    def curve(self, name: str, key: str) -> Curve | None:
        """Return the curve of a metric of an explainer over all seeds; None where it has none."""
        values = [c.evaluated.values.get(key) for c in self.of(name) if c.evaluated]
        found = [v.curves.numpy() for v in values if v is not None and v.curves is not None]
        shapes = {curves.shape for curves in found}
        if len(found) < len(values) or len(shapes) != 1 or found[0].ndim != 2:
            return None
        points = [bootstrap_interval(point) for point in np.mean(found, axis=0).T]
        mean, low, high, units = np.array(points, dtype=np.float64).T
        return Curve(mean, low, high) if units.all() else None

    def cost(self, name: str, key: str) -> float | None:
        """Return the mean of a cost over seeds."""
        found = [(cell.cost or {}).get(key) for cell in self.of(name)]
        known = [value for value in found if value is not None]
        return statistics.fmean(known) if known else None

    def ranked(self, metric: MeasuredMetric) -> tuple[list[str], Ranking] | None:
        """Rank methods and controls on each class; None where there is nothing to rank.

        Floors and ceilings are no rivals. Classes without a value of one of them are left out.
        """
        if metric.higher_is_better is None:
            return None
        rivals = [
            n for n in self.names if self.measured.explainers[n].kind in ("method", "control")
        ]
        scores = {name: self.score(name, metric.key) for name in rivals}
        known = {
            n: s.per_class for n, s in scores.items() if s is not None and s.per_class is not None
        }
        if len(known) < 2:
            return None
        found = ranking(np.stack(list(known.values()), axis=1), metric.higher_is_better)
        return (list(known), found) if len(found.ranks) > 1 else None

    def _compared(self, seed: int) -> dict[str, dict[str, Any]]:
        """Intervals and shares of the ceiling of one seed, by explainer."""
        cells = {
            c.name: c.evaluated for c in self.cells if c.seed == seed and c.evaluated is not None
        }
        explainers = [one for one in self.benchmark.explainers if one.name in cells]
        of_maps = [metric for metric in self.benchmark.metrics if metric.of_maps]
        scores = {name: found.figures for name, found in cells.items()}
        values = {name: found.values for name, found in cells.items()}
        return compared(explainers, of_maps, scores, values) if explainers else {}

    def _figures(self) -> dict[str, Any]:
        """The same as `metrics.json` of a test has, of which `ppn compare` and tables read."""
        metrics: dict[str, Any] = {}
        for cell in self.cells:
            if cell.evaluated is not None:
                for key, about in cell.evaluated.metrics.items():
                    metrics.setdefault(key, about)
        explainers = {}
        for name in self.names:
            first = self.of(name)[0].evaluated
            assert first is not None
            scores: dict[str, Any] = {}
            for key in metrics:
                score = self.score(name, key)
                scores[key] = None if score is None else score.value
                if score is not None and score.interval is not None:
                    low, high = score.interval
                    scores[f"{key}{INTERVAL}"] = [low, high]
                if score is not None and score.share is not None:
                    scores[f"{key}{SHARE}"] = score.share
            explainers[name] = {**first.about, **scores}
        seen = next((c.evaluated for c in self.cells if c.evaluated is not None), None)
        accuracy = [a for name in self.names for a in self.figures_of(name, "blackbox_accuracy")]
        first_of_all = explainers.get(self.names[0], {}) if self.names else {}
        own = {key: value for key, value in first_of_all.items() if key in metrics}
        return {
            **own,
            "split": "test",
            "images": None if seen is None else seen.images,
            "seeds": self.benchmark.seeds,
            "refinement": self.names[0] if self.names else None,
            "accuracy": statistics.fmean(accuracy) if accuracy else None,
            "explainers": explainers,
            "metrics": metrics,
        }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
