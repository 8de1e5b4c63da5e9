"""Maps that know nothing of the image: the levels to hold every localisation score against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

Chance = Literal["random", "centre", "uniform"]


def chance_maps(
    kind: Chance,
    indices: Tensor,
    labels: Tensor,
    shape: tuple[int, int, int],
    seed: int,
    draw: int = 0,
) -> Tensor:
    """Maps without information, to be scored like any method's.

    Stability needs a second map per image, of the noisy one. "centre" and "uniform" do not look
    at the image, so they are stable by construction (100 %), and so would any fixed random map
    be; for "random" take the noisy image's map from another `draw`: the level of a detector whose
    maximum the noise moves anywhere.

    Args:
        kind: "random": independent uniform values in [0, 1), seeded by (seed, draw, label, index):
            equal for every batch size and number of processes. "centre": a cone whose upsampled
            maximum is at the image's centre, one of the two middle pixels per axis where the side
            is even (grids of at least 3 x 3: a smaller one cannot tell the centre from a side).
            "uniform": zeros, whose first maximum is the pixel (0, 0).
        indices: (B,) non-negative index of each image in its data set; its device is the result's.
        labels: (B,) class whose prototypes the maps stand for.
        shape: Prototypes per class and the grid: (k, H, W).
        seed: Non-negative seed.
        draw: Number of the independent draw.

    Returns:
        (B, k, H, W) float32.
    """
    maps = torch.zeros(len(indices), *shape)
    if kind == "random":
        for row, index, label in zip(maps, indices.tolist(), labels.tolist(), strict=True):
            drawn = np.random.default_rng([seed, draw, label, index]).random(shape, np.float32)
            row.copy_(torch.from_numpy(drawn))
    elif kind == "centre":
        y, x = (torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1) for side in shape[1:])
        maps -= y.abs()[:, None] + x.abs()
    return maps.to(indices.device)
