"""Where a map has its maximum: on the grid, and in pixels after upsampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ppn.metrics.bounds import Axis, Mode, axis, candidates

# Bounds held at once, so that they fit the processor's cache.
_CHUNK = 2**19
# Upsampled values held at once, where maps are upsampled whole.
_PIXELS = 2**20
# Two values of one upsampled map whose difference, relative to the map's largest absolute value,
# exceeds this cannot change their order by rounding: a float32 sum of 16 products whose weights'
# absolute values sum to at most 1.9 is off by less than 17 * 2^-24 * 1.9 = 2e-6.
_MARGIN = 5e-6


@torch.no_grad()
def peak(maps: Tensor, size: tuple[int, int], mode: Mode = "bicubic") -> Tensor:
    """First maximum, in row-major order, of each map upsampled to the image's size.

    The upsampling is torch's `interpolate` with align_corners=False; its bicubic kernel has
    a = -0.75 and replicated borders, as cv2.INTER_CUBIC (protocol `evalprotopnet-2023`). On the
    CPU bounds leave a few blocks of pixels that can hold the maximum, and only those are computed,
    in float64; any map with two pixels so close that rounding could decide between them is
    upsampled literally, so that the result is that of the definition, and the same for every
    batch size.

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
    if flat.device.type == "cpu":
        rows, columns = (
            axis(extent, target, mode, flat.dtype)
            for extent, target in zip(flat.shape[1:], size, strict=True)
        )
        step = max(1, _CHUNK // (len(rows.control) * len(columns.control)))
        found = [_bounded(chunk, rows, columns, size, mode) for chunk in torch.split(flat, step)]
    else:
        step = max(1, _PIXELS // (size[0] * size[1]))
        found = [_first(_upsample(chunk, size, mode)) for chunk in torch.split(flat, step)]
    return torch.cat(found).view(*maps.shape[:2], 2)


def cell_peak(maps: Tensor) -> Tensor:
    """First maximum of each map on its own grid.

    Args:
        maps: (B, k, H, W) real values.

    Returns:
        (B, k) int64 cell index y * W + x, in [0, H * W).
    """
    return maps.flatten(2).argmax(dim=2)


def _bounded(maps: Tensor, rows: Axis, columns: Axis, size: tuple[int, int], mode: Mode) -> Tensor:
    """(n, H, W) maps -> (n, 2) first maxima after upsampling."""
    # float64, because reduced-precision settings for matrix products and autocast leave it alone.
    wide = maps.double()
    found = candidates(wide, rows, columns)
    values = found.values.flatten(1)
    top, at = values.max(1)
    best = top.new_full((len(maps),), -torch.inf).scatter_reduce(0, found.of, top, "amax")
    limit = best - _MARGIN * wide.flatten(1).abs().amax(1)
    close = (values >= limit[found.of, None]).sum(1)
    rivals = torch.zeros(len(maps), dtype=torch.long).index_add_(0, found.of, close)
    wins = (top == best[found.of]).nonzero()[:, 0]
    y, x = at[wins] // found.values.shape[2], at[wins] % found.values.shape[2]
    where = torch.zeros(len(maps), 2, dtype=torch.long)
    where[found.of[wins]] = torch.stack(
        [rows.pixels[found.row[wins], y], columns.pixels[found.column[wins], x]], dim=1
    )
    unsure = rivals != 1  # the maximum itself is one
    if unsure.any():
        # Maps with ties are often copies of one map (a chance level, a dead prototype).
        different, copy = torch.unique(maps[unsure], dim=0, return_inverse=True)
        # One by one, because torch rounds differently for different layouts of a batch.
        literal = [_first(_upsample(one[None], size, mode)) for one in different]
        where[unsure] = torch.cat(literal)[copy]
    return where


def _upsample(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    return interpolate(maps[None], size, mode=mode, align_corners=False)[0]


def _first(values: Tensor) -> Tensor:
    """(n, H, W) values -> (n, 2) first maxima: the first row that holds it, then its column."""
    y = values.amax(2).argmax(1)
    x = values[torch.arange(len(values), device=values.device), y].argmax(1)
    return torch.stack([y, x], dim=1)
