"""How sure a mean over classes is: bootstrap intervals, paired differences, share of a ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_LEAST_GAP = 1e-9


class Interval(NamedTuple):
    """`mean`; `low` and `high`, the ends of its interval; `units` how many it is over.

    Without any unit all are NaN; with one the interval has no width and says nothing.
    """

    mean: float
    low: float
    high: float
    units: int


def bootstrap_interval(
    values: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """Percentile interval of a mean, from means of units drawn again with replacement.

    Args:
        values: (n,) one value per unit that is independent of the others: a class (the prototypes
            of a class are not), or an image. NaN: the unit has no value and is left out.
        level: Probability that the interval is to cover, in (0, 1).
        draws: How often n units are drawn.
        seed: Seed of the draws.
    """
    given = np.asarray(values, dtype=np.float64)
    given = given[~np.isnan(given)]
    if not len(given):
        return Interval(np.nan, np.nan, np.nan, 0)
    rng = np.random.default_rng(seed)
    # Counts of each unit, not the units: n per draw, however the values look.
    counts = rng.multinomial(len(given), np.full(len(given), 1 / len(given)), draws)
    means = counts @ given / len(given)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(given.mean()), float(low), float(high), len(given))


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of the mean of `first - second`, unit by unit.

    Args:
        first: (n,) values of one explainer, one per class or image.
        second: (n,) values of another one, in the same order.
        level: See `bootstrap_interval`.
        draws: See `bootstrap_interval`.
        seed: See `bootstrap_interval`.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return bootstrap_interval(difference, level, draws, seed)


def share_of_ceiling(score: float, floor: float, ceiling: float) -> float | None:
    """(score - floor) / (ceiling - floor): 0 is the best floor, 1 the ceiling; it may exceed 1.

    Args:
        score: The explainer's.
        floor: The best of the levels that know nothing of the image.
        ceiling: That of parts taken from annotations.

    Returns:
        The share; None where the ceiling is not above the floor, so that it would mean nothing.
    """
    if not ceiling - floor > _LEAST_GAP:
        return None
    return (score - floor) / (ceiling - floor)
