"""From the files of finished steps to rows of numbers, and their mean and spread over seeds."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.reproduce.run import MARKER
from ppn.report.measured import ERROR, Measured, measured, merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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
"""What is told of the whole network beside its metrics, by its name in metrics.json."""


@dataclass(frozen=True)
class Row:
    """One number. `maps` is the title of an explainer, or empty for the whole network."""

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
        found += _measured(chain.name, seed, results(base / f"test-{seed}"))
    return found


def results(folder: Path) -> Measured:
    """Return what a finished test has measured.

    Raises:
        DataError: If another version of ppn has written it.
    """
    path = folder / "metrics.json"
    return measured(_read(path), str(path))


def described(chains: Iterable[Chain], base: Path) -> Measured:
    """Return which metrics and explainers the finished tests have, and how to read them."""
    tests = (test for chain in chains for test in sorted((base / chain.name).glob("test-*")))
    return merged(results(test) for test in tests if (test / MARKER).is_file())


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


def _measured(chain: str, seed: int, found: Measured) -> Iterator[Row]:
    of_network = (key for key, metric in found.metrics.items() if not metric.of_maps)
    for name in dict.fromkeys([*NETWORK, *of_network]):
        yield from _number(chain, seed, "", name, found.figures.get(name))
    errors = {f"{key}{ERROR}" for key in found.metrics}
    for explainer in found.explainers.values():
        for name, value in explainer.scores.items():
            if name not in errors:
                yield from _number(chain, seed, explainer.title, name, value)


def _number(chain: str, seed: int, maps: str, name: str, value: object) -> Iterator[Row]:
    if isinstance(value, (int, float)):
        yield Row(chain, seed, maps, name, float(value))


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except OSError:
        return {}
    return content
