"""A fixed number of patch tokens of all training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.training import TrainingImages


def sample_tokens(images: TrainingImages, count: int, seed: int = 0) -> Tensor:
    """Return a random sample of tokens, every token of every image with the same chance.

    Each token's chance is drawn from the seed and its image's index, so that the sample does not
    depend on batches. No more than the sample and a class is kept.

    Args:
        images: The training images.
        count: Most tokens.
        seed: Non-negative seed.

    Returns:
        (n, D) float32, n at most `count`, in random order.

    Raises:
        DiscoveryError: If there is none, or one is not finite.
    """
    kept: Tensor | None = None
    chances = torch.zeros(0, dtype=torch.float64)
    for batch, seen in images.classes():
        tokens = seen.tokens.float().flatten(0, 1)
        drawn = [np.random.default_rng([seed, index]) for index in batch["index"].tolist()]
        own = np.concatenate([one.random(seen.tokens.shape[1]) for one in drawn])
        chances = torch.cat([chances, torch.from_numpy(own)])
        order = chances.argsort(stable=True)[:count]
        kept = (tokens if kept is None else torch.cat([kept, tokens]))[order.to(tokens.device)]
        chances = chances[order]
    if kept is None:
        raise DiscoveryError("There is no training image to learn concepts from.")
    if not bool(torch.isfinite(kept).all()):
        raise DiscoveryError(
            "The features of training images contain NaN or infinity: check the classifier's "
            "weights and the precision (bf16-mixed instead of 16-mixed, or 32-true)."
        )
    return kept
