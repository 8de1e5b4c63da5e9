"""Ranks of explainers over classes, and which differences of ranks chance does not make.

Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 2006; here a class
is what a data set is there: the prototypes of one class are not independent, classes nearly are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range, wilcoxon

from ppn.metrics.intervals import bootstrap_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ppn.metrics.intervals import Interval

_EXACT = 13
"""Differences up to which all signs are tried, as SciPy does."""


class Ranking(NamedTuple):
    """m explainers ranked on each of n classes.

    `ranks` (n, m), 1 is the best and equals share their mean; `mean` the interval of each
    explainer's mean rank over classes; `p_value` of Friedman's test that all are alike, NaN where
    it cannot be made (fewer than three explainers or two classes, or no difference at all);
    `critical_difference` of two mean ranks (Nemenyi); `holm` (m, m) p-values of Wilcoxon's signed
    ranks, corrected by Holm over all pairs, 1 on the diagonal.
    """

    ranks: NDArray[np.float64]
    mean: list[Interval]
    p_value: float
    critical_difference: float
    holm: NDArray[np.float64]


def ranking(values: ArrayLike, higher_is_better: bool, alpha: float = 0.05) -> Ranking:
    """Rank explainers by their values on each class.

    Args:
        values: (n, m) the value of each explainer on each class; rows with NaN are left out, for
            ranks among some of the explainers mean nothing.
        higher_is_better: Direction of the values.
        alpha: Level of the critical difference.
    """
    given = np.asarray(values, dtype=np.float64)
    given = given[~np.isnan(given).any(axis=1)]
    count, methods = given.shape
    signed = -given if higher_is_better else given
    ranks = np.stack([rankdata(row) for row in signed]) if count else np.empty((0, methods))
    return Ranking(
        ranks,
        [bootstrap_interval(column) for column in ranks.T],
        friedman(given),
        critical_difference(methods, count, alpha),
        holm_pairs(given),
    )


def friedman(values: NDArray[np.float64]) -> float:
    """P-value of Friedman's test that m columns are alike over n rows; NaN where undefined."""
    count, methods = values.shape
    if count < 2 or methods < 3 or bool((values == values[:, :1]).all()):
        return float("nan")
    return float(friedmanchisquare(*values.T).pvalue)


def critical_difference(methods: int, count: int, alpha: float = 0.05) -> float:
    """Nemenyi's least difference of two mean ranks: q_alpha sqrt(m (m + 1) / (6 n)).

    Args:
        methods: m, compared explainers.
        count: n, classes.
        alpha: Level, in (0, 1).

    Returns:
        In ranks; NaN for fewer than two explainers or no class.
    """
    if methods < 2 or count < 1:
        return float("nan")
    q = float(studentized_range.ppf(1 - alpha, methods, np.inf)) / 2**0.5
    return float(q * (methods * (methods + 1) / (6 * count)) ** 0.5)


def holm_pairs(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values of all pairs of columns by Wilcoxon's signed ranks, corrected by Holm.

    Args:
        values: (n, m) without NaN.

    Returns:
        (m, m) symmetric, in [0, 1].
    """
    methods = values.shape[1]
    first, second = np.triu_indices(methods, 1)
    raw = np.array([_signed_ranks(values[:, a] - values[:, b]) for a, b in zip(first, second)])  # noqa: B905 - of one call
    order = np.argsort(raw)
    steps = raw[order] * np.arange(len(raw), 0, -1)
    corrected = np.empty_like(raw)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    table = np.ones((methods, methods))
    table[first, second] = table[second, first] = corrected
    return table


def alike(ranked: Ranking) -> list[tuple[int, int]]:
    """Return the longest runs of explainers whose mean ranks are within the critical difference.

    Returns:
        First and last position of each run of at least two in the order of mean ranks.
    """
    means = sorted(interval.mean for interval in ranked.mean)
    runs: list[tuple[int, int]] = []
    for start, low in enumerate(means):
        end = max(i for i, rank in enumerate(means) if rank - low <= ranked.critical_difference)
        if end > start and not (runs and runs[-1][1] >= end):
            runs.append((start, end))
    return runs


def _signed_ranks(difference: NDArray[np.float64]) -> float:
    known = difference[difference != 0]
    if not len(known):
        return 1.0
    if len(known) > _EXACT:
        return float(wilcoxon(difference).pvalue)
    # SciPy draws the same signs one after the other where ranks are tied: a hundred times as long.
    ranks = rankdata(np.abs(known))
    signs = np.arange(2 ** len(known))[:, None] >> np.arange(len(known)) & 1
    sums, own = signs @ ranks, ranks[known > 0].sum()
    return float(min(1, 2 * min((sums <= own).mean(), (sums >= own).mean())))
