"""How much of the class activation map belongs to each part, at every token."""

from __future__ import annotations

import torch
from torch import Tensor


def centres(maps: Tensor, grid: tuple[int, int], power: float) -> tuple[Tensor, Tensor]:
    """Where each part is in each image: the mean of the cells, weighted by a power of its map.

    Args:
        maps: (k, n) a map of each part, image after image, row by row; n is a multiple of H * W.
        grid: H, W.
        power: Exponent of the positive part of the map: the larger, the closer to the maximum.

    Returns:
        (k, n / (H * W), 2) row and column in cells, NaN where the map is nowhere positive; and
        (k, n / (H * W)) bool, whether it is positive somewhere.
    """
    images = maps.reshape(len(maps), -1, grid[0] * grid[1]).clamp(min=0)
    top = images.amax(2, keepdim=True)
    present = top[..., 0] > 0
    weights = (images / top) ** power  # over the maximum first: a power of small values is zero
    place = _cells(grid, maps)
    return (weights @ place) / weights.sum(2, keepdim=True), present


def compact_shares(
    coefficients: Tensor,
    maps: Tensor,
    grid: tuple[int, int],
    spread: float,
    power: float = 4.0,
    remainder: bool = False,
) -> Tensor:
    """Shares of parts that are one place in an image: s_i = w_i e_i / sum_j w_j e_j.

    w_i falls off around the centre of part i's map in that image as a Gaussian. A part whose map
    is nowhere positive is not in the image and gets nothing there.

    Args:
        coefficients: (k, n) >= 0, e.
        maps: (k, n) what finds the centres.
        grid: H, W of the tokens of one image; n is a multiple of H * W.
        spread: Standard deviation of the Gaussian, in units of the side of a square image; of
            another image, of the square of its area.
        power: See `centres`.
        remainder: Whether the last part is what no other covers: it has no place, so it keeps its
            share e_k / sum_j e_j, and the others are made compact within theirs.

    Returns:
        (k, n), at every token summing to one; 1/k where no part has a share.
    """
    if remainder:
        total = coefficients.sum(0)
        rest = torch.where(total > 0, coefficients[-1] / total, 1 / len(coefficients))
        if len(coefficients) == 1:
            return torch.ones_like(coefficients)
        named = compact_shares(coefficients[:-1], maps[:-1], grid, spread, power)
        return torch.cat([(1 - rest) * named, rest[None]])
    where, present = centres(maps, grid, power)
    sigma = spread * (grid[0] * grid[1]) ** 0.5
    distance = (where[:, :, None] - _cells(grid, maps)).square().sum(3)
    # Logarithms: far from every centre all Gaussians are zero in float32, yet one is the largest.
    closeness = -distance / (2 * sigma**2)
    closeness = torch.where(present[..., None], closeness, -torch.inf).flatten(1)
    shares = (coefficients.log() + closeness).softmax(0)
    return torch.where(shares.isnan(), 1 / len(shares), shares)


def _cells(grid: tuple[int, int], like: Tensor) -> Tensor:
    """(H * W, 2) row and column of each cell."""
    rows, columns = (torch.arange(side, dtype=like.dtype, device=like.device) for side in grid)
    return torch.cartesian_prod(rows, columns)
