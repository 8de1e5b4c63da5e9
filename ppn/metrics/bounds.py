"""Where the maximum of an upsampled map can be, from bounds on pieces of it."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from math import floor
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Mode = Literal["bicubic", "bilinear"]

_RUNS = 14
"""Least number of runs per axis: so many that bounds and pixels of a few runs cost alike."""
_ROUNDING = 2e-5
"""More than float32 weights move a pixel, relative to the map's largest absolute value: eight
factors that are each off by some 2^-22."""


class Axis(NamedTuple):
    """Upsampling along one axis, cut into runs of pixels on which it is one cubic polynomial.

    `control` (4 runs, extent) float64 gives the four Bernstein coefficients of each run, the first
    ones of all runs before the second ones: a polynomial is at most the largest of them. `ends`
    (2 runs, extent) gives each run's first and last pixel. `weights` (runs, longest, extent) gives
    all pixels as torch rounds the weights, `pixels` (runs, longest) int64 says which those are,
    and `beyond` (runs, longest) is -inf where a shorter run has none, else 0.
    """

    control: Tensor
    ends: Tensor
    weights: Tensor
    pixels: Tensor
    beyond: Tensor


class Candidates(NamedTuple):
    """Blocks of pixels that may hold the maximum of a map.

    `of` (b,) int64, the map of each block; `row` and `column` (b,) int64, its run on either axis;
    `values` (b, longest, longest) float64, its pixels, -inf where there are none.
    """

    of: Tensor
    row: Tensor
    column: Tensor
    values: Tensor


@lru_cache(maxsize=32)
def axis(extent: int, target: int, mode: Mode, dtype: torch.dtype) -> Axis:
    """Return the runs of upsampling `extent` cells of some precision to `target` pixels."""
    weights, exact = (_weights(extent, target, mode, t) for t in (dtype, torch.float64))
    longest = -(-target // _RUNS)
    pieces = groupby(range(target), lambda pixel: floor((pixel + 0.5) * extent / target - 0.5))
    runs = [
        run
        for piece in (torch.tensor(list(members)) for _, members in pieces)
        for run in piece.tensor_split(-(-len(piece) // longest))
    ]
    width = max(map(len, runs))
    pixels = torch.stack([run[torch.arange(width).clamp(max=len(run) - 1)] for run in runs])
    beyond = torch.zeros(pixels.shape, dtype=torch.float64)
    for row, run in zip(beyond, runs, strict=True):
        row[len(run) :] = -torch.inf
    control = torch.stack([_control(exact[run]) for run in runs], dim=1)
    ends = torch.cat([control[0], control[3]])
    return Axis(control.flatten(0, 1), ends, weights[pixels], pixels, beyond)


def candidates(maps: Tensor, rows: Axis, columns: Axis, most: float = 0.25) -> Candidates:
    """Find the blocks whose bound reaches a value that the map is known to have.

    Args:
        maps: (n, H, W) float64.
        rows: The runs of the vertical axis.
        columns: The runs of the horizontal axis.
        most: Maps of which more than this share of blocks would remain are left out, with those
            that are not finite: they have no single maximum that would be worth finding here.
    """
    n, across, down = len(maps), len(columns.pixels), len(rows.pixels)
    control = rows.control @ (maps @ columns.control.T)
    # The four coefficients are outermost, because maxima of contiguous slabs are the fastest.
    bound = control.view(n, 4, down * 4 * across).amax(1).view(n, down, 4, across).amax(2)
    known = (rows.ends @ (maps @ columns.ends.T)).flatten(1).amax(1)
    level = known - _ROUNDING * maps.flatten(1).abs().amax(1)
    possible = (bound >= level[:, None, None]).flatten(1)
    flat = possible.sum(1) > max(1, most * across * down)
    if flat.any():
        possible[flat] = False
    of, block = possible.nonzero(as_tuple=True)
    row, column = block // across, block % across
    values = rows.weights[row] @ maps[of] @ columns.weights[column].mT
    values += rows.beyond[row][:, :, None]
    values += columns.beyond[column][:, None, :]
    return Candidates(of, row, column, values)


def _weights(extent: int, target: int, mode: Mode, dtype: torch.dtype) -> Tensor:
    """(target, extent) float64 matrix of the interpolation along one axis, torch's own weights."""
    unit = torch.eye(extent, dtype=dtype)[:, None, :, None]
    return interpolate(unit, (target, 1), mode=mode, align_corners=False)[:, 0, :, 0].T.double()


def _control(pixels: Tensor) -> Tensor:
    """Weights (p, extent) of a run's pixels -> (4, extent) of its Bernstein coefficients.

    Up to four pixels are their own bound.
    """
    nodes = torch.linspace(0, len(pixels) - 1, 4).round().long()
    if len(pixels) <= 4:
        return pixels[nodes]
    t = nodes.double() / (len(pixels) - 1)
    basis = torch.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], dim=1)
    control: Tensor = torch.linalg.solve(basis, pixels[nodes])
    return control
