"""Where a map has its maximum: on the grid, and in pixels after upsampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from collections.abc import Iterator

# Upsampled values held at once; a chunk that fits the processor's cache is also the fastest.
_CHUNK = 2**20
# Two values of one upsampled map whose difference, relative to the map's largest absolute value,
# exceeds this cannot change their order by rounding: a float32 sum of 16 products whose weights'
# absolute values sum to at most 1.9 is off by less than 17 * 2^-24 * 1.9 = 2e-6.
_MARGIN = 2e-5


@torch.no_grad()
def peak(
    maps: Tensor, size: tuple[int, int], mode: Literal["bicubic", "bilinear"] = "bicubic"
) -> Tensor:
    """First maximum, in row-major order, of each map upsampled to the image's size.

    The upsampling is torch's `interpolate` with align_corners=False; its bicubic kernel has
    a = -0.75 and replicated borders, as cv2.INTER_CUBIC (protocol `evalprotopnet-2023`). On the
    CPU most maxima are found with two matrix products in float64, several times faster; any map
    with two pixels so close that rounding could decide between them is upsampled literally, so
    that the result is that of the definition, and the same for every batch size.

    Args:
        maps: (B, k, H, W) real values; half precision is widened to float32 first.
        size: Height and width to upsample to, in pixels.
        mode: Interpolation.

    Returns:
        (B, k, 2) int64: y in [0, size[0]), x in [0, size[1]).
    """
    flat = maps.flatten(0, 1)
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.float()
    found = [_chunk_peak(chunk, size, mode) for chunk in _chunks(flat, size)]
    empty = torch.zeros(0, 2, dtype=torch.long, device=maps.device)
    return torch.cat([empty, *found]).view(*maps.shape[:2], 2)


def cell_peak(maps: Tensor) -> Tensor:
    """First maximum of each map on its own grid.

    Args:
        maps: (B, k, H, W) real values.

    Returns:
        (B, k) int64 cell index y * W + x, in [0, H * W).
    """
    return maps.flatten(2).argmax(dim=2)


def _chunks(flat: Tensor, size: tuple[int, int]) -> Iterator[Tensor]:
    step = max(1, _CHUNK // (size[0] * size[1]))
    for start in range(0, len(flat), step):
        yield flat[start : start + step]


def _chunk_peak(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """(n, H, W) maps -> (n, 2) first maxima after upsampling."""
    if maps.device.type != "cpu":
        return _first(_upsample(maps, size, mode))
    rows, columns = (
        _weights(extent, target, mode, maps.dtype)
        for extent, target in zip(maps.shape[1:], size, strict=True)
    )
    # float64, because reduced-precision settings for matrix products and autocast leave it alone.
    values = rows @ (maps.double() @ columns.T)
    where = _first(values)
    index = torch.arange(len(maps))
    best_row, per_row = values[index, where[:, 0]], values.amax(2)
    limit = best_row.amax(1) - _MARGIN * maps.double().abs().amax((1, 2))
    rivals = (per_row >= limit[:, None]).sum(1) + (best_row >= limit[:, None]).sum(1)
    unsure = rivals != 2  # the maximum itself counts once in its column and once in its row
    if unsure.any():
        # Maps with ties are often copies of one map (a chance level, a dead prototype).
        different, copy = torch.unique(maps[unsure], dim=0, return_inverse=True)
        # One by one, because torch rounds differently for different layouts of a batch.
        literal = [_first(_upsample(one[None], size, mode)) for one in different]
        where[unsure] = torch.cat(literal)[copy]
    return where


def _upsample(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    return interpolate(maps[None], size, mode=mode, align_corners=False)[0]


def _weights(extent: int, target: int, mode: str, dtype: torch.dtype) -> Tensor:
    """(target, extent) float64 matrix of the interpolation along one axis, torch's own weights."""
    unit = torch.eye(extent, dtype=dtype)[:, None, :, None]
    return interpolate(unit, (target, 1), mode=mode, align_corners=False)[:, 0, :, 0].T.double()


def _first(values: Tensor) -> Tensor:
    """(n, H, W) values -> (n, 2) first maxima: the first row that holds it, then its column."""
    y = values.amax(2).argmax(1)
    x = values[torch.arange(len(values), device=values.device), y].argmax(1)
    return torch.stack([y, x], dim=1)
