"""Metrics: maps or outputs to numbers.

Every `compute` returns a NamedTuple of figures over all processes: torchmetrics drops the synced
states again when `compute` returns, so whatever needs them is in the result.
"""

from ppn.metrics.accuracy import Accuracy
from ppn.metrics.base import EvaluationShape, Metric, Observation
from ppn.metrics.compactness import Compactness
from ppn.metrics.completeness import Completeness
from ppn.metrics.consistency import Consistency
from ppn.metrics.defaults import default_controls, default_floors, default_metrics
from ppn.metrics.distinct_peaks import DistinctPeaks
from ppn.metrics.distinctiveness import Distinctiveness
from ppn.metrics.evaluation import Evaluation, Results
from ppn.metrics.fidelity import Fidelity
from ppn.metrics.shares import ClassShares
from ppn.metrics.stability import Stability

__all__ = [
    "Accuracy",
    "ClassShares",
    "Compactness",
    "Completeness",
    "Consistency",
    "DistinctPeaks",
    "Distinctiveness",
    "Evaluation",
    "EvaluationShape",
    "Fidelity",
    "Metric",
    "Observation",
    "Results",
    "Stability",
    "default_controls",
    "default_floors",
    "default_metrics",
]
