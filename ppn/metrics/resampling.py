"""Bootstrap over images, as sums of fixed shape: every image counts a random number of times."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 100
LEAST_KNOWN = 0.95
_STREAM = 7103
"""Apart from other draws of the same seed and image."""


class Values(NamedTuple):
    """What a score is the mean of, in its own unit.

    `classes` (C,) float64, the score of each class, NaN where it was not measured; `prototypes`
    (C, k) the same for each prototype, None where a score is of all of a class together; `draws`
    (R,) the score over images drawn again, None where it was not drawn; `curves` (C, n) the mean
    curve of each class, None where the score is no area under one.
    """

    classes: Tensor
    prototypes: Tensor | None = None
    draws: Tensor | None = None
    curves: Tensor | None = None


def known_draws(scores: Tensor) -> Tensor | None:
    """Return the draws (R',) that have a score, of scores (R,) with NaN where a draw had no image.

    None where more than one in twenty had none: of so few images a spread says nothing.
    """
    known = scores.isfinite()
    return scores[known] if bool(known.double().mean() >= LEAST_KNOWN) else None


def jackknife_draws(score: Tensor, without: Tensor) -> Tensor:
    """Return the scores without each group of images, moved apart as far as draws would be.

    Their standard deviation is the score's standard error: a bootstrap costs whatever makes the
    score for each draw, the jackknife once for each group.
    Source: Kott, "The delete-a-group jackknife", J. Official Statistics, 2001.

    Args:
        score: () the score.
        without: (G,) the same without each group.

    Returns:
        (G,), or (0,) for less than two groups.
    """
    if len(without) < 2:
        return without[:0]
    apart: Tensor = (without - without.mean()) * (len(without) - 1) ** 0.5
    return score + apart


def image_counts(indices: Tensor, seed: int = 0, draws: int = DRAWS) -> Tensor:
    """How often each image counts in each of the draws: Poisson with mean 1.

    It is the bootstrap of a stream, where nobody knows how many images there will be. Each image
    draws from its own generator, seeded by (seed, index): equal for every batch size and number of
    processes. Source: Oza and Russell, "Online bagging and boosting", AISTATS 2001.

    Args:
        indices: (B,) non-negative index of each image in its data set.
        seed: Non-negative seed.
        draws: R.

    Returns:
        (B, R) float64 whole numbers, on the device of `indices`.
    """
    counts = torch.zeros(len(indices), draws, dtype=torch.float64)
    for row, index in zip(counts, indices.tolist(), strict=True):
        drawn = np.random.default_rng([seed, _STREAM, index]).poisson(1.0, draws)
        row.copy_(torch.from_numpy(drawn))
    return counts.to(indices.device)
