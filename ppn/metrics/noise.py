"""The noise of the stability protocol, the same for every batch size and number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

NOISE_STD = 0.2
NOISE_CLIP = 0.25


def stability_noise(images: Tensor, indices: Tensor, seed: int) -> Tensor:
    """Noise to be added to normalised images (protocol `evalprotopnet-2023`, stability).

    N(0, 0.2^2) per element, clipped to +-0.25. Each image draws on the CPU from its own generator,
    seeded by (seed, index): equal for every batch size, order and number of processes.

    Args:
        images: (B, ...) normalised images; only shape, dtype and device count.
        indices: (B,) non-negative index of each image in its data set.
        seed: Non-negative seed.

    Returns:
        (B, ...) noise, of the images' dtype and device.
    """
    noise = torch.empty(images.shape, dtype=torch.float32)
    for row, index in zip(noise, indices.tolist(), strict=True):
        drawn = np.random.default_rng([seed, index]).standard_normal(row.shape, np.float32)
        row.copy_(torch.from_numpy(drawn))
    return noise.mul_(NOISE_STD).clamp_(-NOISE_CLIP, NOISE_CLIP).to(images)
