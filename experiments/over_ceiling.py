"""Put several benchmarks into one number each: the mean of score over ceiling.

Usage: python -m experiments.over_ceiling [NAME=]results.csv ... [--metrics consistency ...]
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

METRICS = ("consistency", "stability", "distinctiveness", "part_term_deletion")


def over_ceiling(file: Path, metrics: tuple[str, ...]) -> dict[str, float]:
    """Return, by explainer, the mean over metrics of score over ceiling, both means over seeds.

    Args:
        file: `results.csv` of `ppn benchmark`.
        metrics: Keys of metrics of which more is better. An explainer that lacks one is left out.
    """
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["metric"] in metrics and row["kind"] != "floor":
                value = float(row["value"] or "nan")
                name = "" if row["kind"] == "ceiling" else row["explainer"]
                if not math.isnan(value):
                    scores[name][row["metric"]].append(value)
    ceiling = scores.pop("", {})
    if any(not ceiling.get(metric) for metric in metrics):
        raise SystemExit(f"{file} has no ceiling of {', '.join(metrics)}.")
    return {
        name: fmean(fmean(own[metric]) / fmean(ceiling[metric]) for metric in metrics)
        for name, own in scores.items()
        if all(own[metric] for metric in metrics)
    }


def main() -> int:
    """Print a table: an explainer a row, a benchmark a column."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", help="results.csv, or a name for it and =")
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    given = parser.parse_args()
    columns = {}
    for word in given.files:
        name, _, file = word.rpartition("=")
        columns[name or Path(file).parent.name] = over_ceiling(Path(file), tuple(given.metrics))
    names = dict.fromkeys(name for column in columns.values() for name in column)
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))

    def mean(name: str) -> float:
        return fmean(column[name] for column in columns.values() if name in column)

    for name in sorted(names, key=mean, reverse=True):
        values = (f"{column[name]:.2f}" if name in column else "" for column in columns.values())
        print(f"| {name} | " + " | ".join(values) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
