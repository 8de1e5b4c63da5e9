"""What every evaluation measures, and the floors it measures against, unless told otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.explainers.chance import CentreMaps, RandomMaps, UniformMaps
from ppn.explainers.control import OtherClassExact, RandomExact
from ppn.metrics.accuracy import Accuracy
from ppn.metrics.compactness import Compactness
from ppn.metrics.completeness import Completeness
from ppn.metrics.consistency import Consistency
from ppn.metrics.distinct_peaks import DistinctPeaks
from ppn.metrics.distinctiveness import Distinctiveness
from ppn.metrics.fidelity import Fidelity
from ppn.metrics.flagging import Flagging
from ppn.metrics.shares import ClassShares
from ppn.metrics.stability import Stability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.explainers.base import Explainer
    from ppn.explainers.chance import ChanceMaps
    from ppn.metrics.base import Metric


def default_metrics(further: Sequence[Metric] = ()) -> list[Metric]:
    """Return the metrics of every evaluation, in the order of tables.

    Args:
        further: Metrics beside them; one takes the place of the default one of its key.
    """
    metrics: list[Metric] = [
        Accuracy(),
        Fidelity(),
        Completeness(),
        Consistency(),
        Stability(),
        Distinctiveness(),
        DistinctPeaks(),
        Compactness(),
        ClassShares(),
        Flagging(),
    ]
    place = {metric.key: number for number, metric in enumerate(metrics)}
    taken = {metric.key for metric in further}
    chosen = [*(metric for metric in metrics if metric.key not in taken), *further]
    return sorted(chosen, key=lambda metric: place.get(metric.key, len(place)))


def default_controls() -> list[Explainer]:
    """Return what any exact method must beat."""
    return [RandomExact(), OtherClassExact()]


def default_floors() -> list[ChanceMaps]:
    """Return the levels that every score is shown beside."""
    return [RandomMaps(), CentreMaps(), UniformMaps()]
