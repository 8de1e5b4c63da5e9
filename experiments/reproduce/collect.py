"""From the files of finished steps to rows of numbers, and their mean and spread over seeds."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.reproduce.run import MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from experiments.reproduce.plan import Chain

NETWORK = (
    "images",
    "blackbox_accuracy",
    "accuracy",
    "agreement",
    "max_logit_error",
    "mean_logit_error",
    "completeness_error",
    "negative_share",
    "gini",
    "hoyer",
    "effective_prototypes",
)
"""What is measured of the whole network, by its name in metrics.json."""

MAPS = ("consistency", "stability", "stability_empty_share", "distinct_peaks", "distinctiveness")
"""What is measured of each set of maps: of a strategy or of a chance level."""


@dataclass(frozen=True)
class Row:
    """One number. `maps` is a strategy, "chance: KIND", or empty for the whole network."""

    chain: str
    seed: int
    maps: str
    metric: str
    value: float


@dataclass(frozen=True)
class Spread:
    """Mean over seeds, and sample standard deviation; None for a single seed."""

    mean: float
    std: float | None
    count: int


Summary = dict[tuple[str, str, str], Spread]
"""By chain, maps and metric."""


def rows(chain: Chain, seeds: int, base: Path) -> list[Row]:
    """Read what the finished steps of a chain have left.

    Args:
        chain: The chain.
        seeds: Number of seeds.
        base: The chain's folder.
    """
    found: list[Row] = []
    for seed in range(seeds):
        for stage in ("classifier", "prototypes", "test"):
            marker = _read(base / f"{stage}-{seed}" / MARKER)
            if marker:
                found.append(Row(chain.name, seed, "", f"seconds_{stage}", marker["seconds"]))
        if not (base / f"test-{seed}" / MARKER).is_file():
            continue
        figures = _read(base / f"test-{seed}" / "metrics.json")
        found += _numbers(chain.name, seed, "", NETWORK, figures)
        for strategy, values in figures["strategies"].items():
            found += _numbers(chain.name, seed, strategy, MAPS, values)
        for kind, values in figures["chance"].items():
            found += _numbers(chain.name, seed, f"chance: {kind}", MAPS, values)
    return found


def head_case(base: Path) -> str:
    """Return which head case the black box of a chain was found to have."""
    case: str = _read(base / "test-0" / "metrics.json").get("head", {}).get("case", "")
    return case


def summarise(found: Iterable[Row]) -> Summary:
    """Return mean and standard deviation over seeds."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in found:
        values.setdefault((row.chain, row.maps, row.metric), []).append(row.value)
    return {
        name: Spread(
            statistics.fmean(seen), statistics.stdev(seen) if len(seen) > 1 else None, len(seen)
        )
        for name, seen in values.items()
    }


def _numbers(
    chain: str, seed: int, maps: str, names: tuple[str, ...], values: dict[str, Any]
) -> list[Row]:
    return [
        Row(chain, seed, maps, name, float(values[name]))
        for name in names
        if values.get(name) is not None
    ]


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except OSError:
        return {}
    return content
