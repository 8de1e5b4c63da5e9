"""What `metrics.json` says: which metrics, of which explainers, and how their numbers are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ppn.errors import DataError
from ppn.io.schema import Maybe, mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable

ERROR = "_standard_error"
SWEEP = "_sweep"
INTERVAL = "_interval"
IMAGE_INTERVAL = "_image_interval"
DIFFERENCE = "_difference"
SHARE = "_ceiling_share"
"""Ends of the names of figures that belong to a metric; see `ppn.metrics.compared`."""
_LENGTHS = {INTERVAL: 2, IMAGE_INTERVAL: 2, DIFFERENCE: 3}
_KINDS = ("method", "control", "floor", "ceiling")
_METRIC = {
    "title": str,
    "unit": Maybe(str),
    "bounds": Maybe([float]),
    "higher_is_better": Maybe(bool),
    "help": Maybe(str),
    "of_maps": Maybe(bool),
    "protocol": Maybe(str),
    "constants": Maybe(dict),
}
_EXPLAINER = {
    "title": Maybe(str),
    "kind": str,
    "exact": bool,
    "additive": Maybe(bool),
    "k": Maybe(int),
}
_FIGURES = {
    "refinement": Maybe(str),
    "metrics": Maybe({str: _METRIC}),
    "explainers": Maybe({str: _EXPLAINER}),
}


@dataclass(frozen=True)
class MeasuredMetric:
    """How the numbers of one metric are read; see `ppn.metrics.base.Metric`.

    Attributes:
        key: Its name among the figures.
        title: Its name in tables; no other metric of the file has it.
        unit: "%" or nothing.
        bounds: Ends of its scale; None: unbounded.
        higher_is_better: Its direction; None where neither end is good.
        help: What it measures.
        of_maps: Whether each explainer has a score of its own.
        protocol: Name of the protocol.
        constants: What the numbers depend on.
    """

    key: str
    title: str
    unit: str
    bounds: tuple[float, float] | None
    higher_is_better: bool | None
    help: str
    of_maps: bool
    protocol: str
    constants: dict[str, Any]

    @property
    def name(self) -> str:
        """Title and unit."""
        return f"{self.title} {self.unit}".rstrip()

    @property
    def arrow(self) -> str:
        """Which direction is good, for the head of a column; empty where neither is."""
        arrows = {True: "\N{UPWARDS ARROW}", False: "\N{DOWNWARDS ARROW}", None: ""}
        return arrows[self.higher_is_better]

    @property
    def heading(self) -> str:
        """Title, unit and direction."""
        return f"{self.name} {self.arrow}".rstrip()


@dataclass(frozen=True)
class MeasuredExplainer:
    """One explainer and its scores; see `ppn.explainers.base.Explainer`.

    Attributes:
        name: Its name in the file.
        title: Its name in tables; no other explainer of the file has it.
        kind: What its row is for.
        exact: Whether contributions and bias add up to the classifier's logit.
        k: Maps per class.
        scores: Every figure of its maps, by name.
    """

    name: str
    title: str
    kind: Literal["method", "control", "floor", "ceiling"]
    exact: bool
    k: int | None
    scores: dict[str, Any]

    @property
    def label(self) -> str:
        """Title, and what a reader must know before comparing it with others."""
        if self.kind == "method":
            return self.title if self.exact else f"{self.title} (not exact)"
        return self.title if self.kind == "floor" else f"{self.title} ({self.kind})"

    def interval(self, metric: str) -> tuple[float, float] | None:
        """Ends of the 95 % interval of a score over classes; None where it is not known."""
        ends = self.scores.get(f"{metric}{INTERVAL}")
        return None if ends is None else (ends[0], ends[1])


@dataclass(frozen=True)
class Measured:
    """Content of `metrics.json`, in the order in which it is to be shown.

    Attributes:
        figures: All of it.
        metrics: By key.
        explainers: By name.
        refinement: Name of the explainer that is the network itself; None for a black box.
    """

    figures: dict[str, Any]
    metrics: dict[str, MeasuredMetric]
    explainers: dict[str, MeasuredExplainer]
    refinement: str | None

    @property
    def map_metrics(self) -> list[MeasuredMetric]:
        """The metrics that compare maps: those of which floors have a score too, if there are any.

        What is measured of contributions is none of them, as floors have no contributions.
        """
        having = self.floors or list(self.explainers.values())
        return [
            metric
            for metric in self.metrics.values()
            if metric.of_maps and any(e.scores.get(metric.key) is not None for e in having)
        ]

    @property
    def floors(self) -> list[MeasuredExplainer]:
        """The levels that know nothing of the image."""
        return [e for e in self.explainers.values() if e.kind == "floor"]

    @property
    def levels(self) -> list[MeasuredExplainer]:
        """All that methods are held against: floors, controls and the ceiling, in this order."""
        others = [e for e in self.explainers.values() if e.kind != "method"]
        return sorted(others, key=lambda e: ("floor", "control", "ceiling").index(e.kind))

    @property
    def chosen(self) -> MeasuredExplainer | None:
        """The explainer that is the network itself; None for a black box."""
        return self.explainers.get(self.refinement or "")


def measured(figures: dict[str, Any], source: str) -> Measured:
    """Read the content of `metrics.json`.

    Args:
        figures: Content of the file; a black box's has neither metrics nor explainers.
        source: What the content is called in messages, such as its path.

    Raises:
        DataError: If it is of an earlier version of ppn, or not what ppn writes.
    """
    if "strategies" in figures or "protocols" in figures:
        raise DataError(f"{source} is from an earlier version of ppn: run `ppn test` again.")
    wrong = mismatch(figures, _FIGURES) or _mismatch(figures)
    if wrong is not None:
        raise DataError(f"{source} is not what ppn writes ({wrong}): run the command again.")
    metrics = [
        MeasuredMetric(
            key,
            about["title"] or key,
            about.get("unit") or "",
            tuple(about["bounds"]) if about.get("bounds") else None,
            about.get("higher_is_better"),
            about.get("help") or "",
            bool(about.get("of_maps")),
            about.get("protocol") or "",
            about.get("constants") or {},
        )
        for key, about in (figures.get("metrics") or {}).items()
    ]
    explainers = [
        MeasuredExplainer(
            name,
            about.get("title") or name,
            about["kind"],
            about["exact"],
            about.get("k"),
            {key: value for key, value in about.items() if key not in _EXPLAINER},
        )
        for name, about in (figures.get("explainers") or {}).items()
    ]
    several = _repeated(metric.title for metric in metrics)
    metrics = [replace(m, title=m.key) if m.title in several else m for m in metrics]
    several = _repeated(explainer.title for explainer in explainers)
    explainers = [replace(e, title=e.name) if e.title in several else e for e in explainers]
    return Measured(
        figures,
        {metric.key: metric for metric in metrics},
        {explainer.name: explainer for explainer in explainers},
        figures.get("refinement"),
    )


def merged(several: Iterable[Measured]) -> Measured:
    """Return the metrics and explainers of several files as one, as the first of them has each.

    It tells what there is and how to read it; the scores are of any of the files.
    """
    metrics: dict[str, MeasuredMetric] = {}
    explainers: dict[str, MeasuredExplainer] = {}
    for one in several:
        for key, metric in one.metrics.items():
            metrics.setdefault(key, metric)
        for name, explainer in one.explainers.items():
            first = explainers.setdefault(name, explainer)
            known = {key: value for key, value in first.scores.items() if value is not None}
            explainers[name] = replace(first, scores={**explainer.scores, **known})
    return Measured({}, metrics, explainers, None)


def _repeated(titles: Iterable[str]) -> set[str]:
    return {title for title, count in Counter(titles).items() if count > 1}


def _mismatch(figures: dict[str, Any]) -> str | None:
    """What a schema alone cannot say: kinds, ends of scales, and that scores are numbers."""
    metrics, explainers = figures.get("metrics") or {}, figures.get("explainers") or {}
    for key, about in metrics.items():
        bounds = about.get("bounds")
        if bounds and not (len(bounds) == 2 and bounds[0] < bounds[1]):
            return f"metrics[{key[:40]!r}].bounds are not two ends of a scale"
    for name, about in explainers.items():
        if about["kind"] not in _KINDS:
            return f"explainers[{name[:40]!r}].kind is none of {', '.join(_KINDS)}"
    scores: dict[str, Any] = {
        f"{key}{end}": Maybe(float) for key in metrics for end in ("", ERROR, SHARE)
    }
    scores |= {f"{key}{end}": Maybe([float]) for key in metrics for end in _LENGTHS}
    wrong = mismatch(figures, scores) or mismatch(
        {"explainers": explainers}, {"explainers": {str: scores}}
    )
    if wrong is not None:
        return wrong
    for about in (figures, *explainers.values()):
        for key in metrics:
            for end, length in _LENGTHS.items():
                if len(about.get(f"{key}{end}") or [0] * length) != length:
                    return f"{key[:40]!r}{end} has not {length} numbers"
    return None
