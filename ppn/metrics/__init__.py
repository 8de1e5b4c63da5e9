"""Evaluation protocols as torchmetrics.

Every `compute` returns a NamedTuple of figures over all processes: torchmetrics drops the synced
states again when `compute` returns, so whatever needs them is in the result.
"""

from ppn.metrics.chance import Chance, chance_maps
from ppn.metrics.compactness import Compactness, CompactnessResult
from ppn.metrics.completeness import Completeness, CompletenessResult
from ppn.metrics.distinctiveness import Distinctiveness, DistinctPeaks, DistinctResult
from ppn.metrics.fidelity import Fidelity, FidelityResult
from ppn.metrics.maps import cell_peak, peak
from ppn.metrics.noise import stability_noise
from ppn.metrics.parts import (
    SWEEP_HALF_SIZES,
    SWEEP_THRESHOLDS,
    Consistency,
    ConsistencyResult,
    Stability,
    StabilityResult,
    part_hits,
)
from ppn.metrics.protocol import Constants

__all__ = [
    "SWEEP_HALF_SIZES",
    "SWEEP_THRESHOLDS",
    "Chance",
    "Compactness",
    "CompactnessResult",
    "Completeness",
    "CompletenessResult",
    "Consistency",
    "ConsistencyResult",
    "Constants",
    "DistinctPeaks",
    "DistinctResult",
    "Distinctiveness",
    "Fidelity",
    "FidelityResult",
    "Stability",
    "StabilityResult",
    "cell_peak",
    "chance_maps",
    "part_hits",
    "peak",
    "stability_noise",
]
