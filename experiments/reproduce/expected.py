"""The values that results are held against, and how they are written down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ppn.io.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from experiments.reproduce.collect import Summary
    from ppn.report.measured import Measured

_HEADER = """\
# What `make reproduce` must find, preset after preset: mean over seeds, and how far from it a
# result may lie. Written by `python -m experiments.reproduce --preset NAME --write_expected` from
# a real run, with three standard deviations over its seeds as tolerance, but at least 5 points.
# Agreement and the largest logit error are promises, not measurements: 1 and 0 within float32.
"""
_PROMISES = {"agreement": (1.0, 0.0), "max_logit_error": (0.0, 1e-4)}
_SHARES = ("accuracy", "blackbox_accuracy")
_LEAST = 0.05
"""Smallest tolerance, as a share of the metric's scale; of the value where it has no ends."""


@dataclass(frozen=True)
class Drift:
    """A result that is not where it should be; `found` is None where there is none."""

    chain: str
    name: str
    value: float
    tolerance: float
    found: float | None

    def __str__(self) -> str:
        """Return one line that says what is wrong."""
        found = "nothing" if self.found is None else f"{self.found:.6g}"
        return (
            f"{self.chain}  {self.name}: found {found}, expected {self.value:.6g} "
            f"within {self.tolerance:.2g}"
        )


def check(path: Path, preset: str, summary: Summary, ran: Collection[str]) -> list[Drift] | None:
    """Hold results against the expected values.

    Args:
        path: File of expected values.
        preset: Name of the preset.
        summary: What was found.
        ran: Names of the chains that could run; the others are not held against anything.

    Returns:
        What is not as expected; None where nothing is expected of the preset.
    """
    expected = _read(path).get(preset)
    if not expected:
        return None
    drifts = []
    for chain, entries in expected.items():
        for name, entry in entries.items() if chain in ran else ():
            maps, _, metric = name.rpartition("/")
            spread = summary.get((chain, maps, metric))
            found = None if spread is None else spread.mean
            value, tolerance = float(entry["value"]), float(entry["tolerance"])
            # Written so that NaN fails; the last term is for rounding in the file.
            if found is None or not abs(found - value) <= tolerance + 1e-9:
                drifts.append(Drift(chain, name, value, tolerance, found))
    return drifts


def write(path: Path, preset: str, summary: Summary, measured: Measured) -> None:
    """Write the expected values of a preset; those of other presets, and other chains, stay.

    Args:
        path: File of expected values.
        preset: Name of the preset.
        summary: What was found; the metrics of maps are written, accuracies, and promises.
        measured: Which metrics of maps there are.
    """
    scales = dict.fromkeys(_SHARES, (0.0, 1.0)) | {m.key: m.bounds for m in measured.map_metrics}
    expected = _read(path)
    chains = expected.setdefault(preset, {})
    for chain in {chain for chain, _, _ in summary}:
        chains[chain] = {}
    for (chain, maps, metric), spread in sorted(summary.items()):
        if metric in _PROMISES:
            value, tolerance = _PROMISES[metric]
        elif metric in scales:
            value = spread.mean
            low, high = scales[metric] or (0.0, abs(value))
            tolerance = max(_LEAST * (high - low), 3 * (spread.std or 0.0))
        else:
            continue
        if math.isfinite(value):
            name = f"{maps}/{metric}" if maps else metric
            chains[chain][name] = {"value": round(value, 4), "tolerance": round(tolerance, 4)}
    text = yaml.safe_dump(expected, sort_keys=False, default_flow_style=None, width=100)
    write_bytes(path, (_HEADER + text).encode())


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return yaml.safe_load(path.read_text()) or {}
