"""Regions of images: where upsampled maps are large, boxes, blurred surroundings."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur

BLUR_KERNEL = 11
BLUR_SIGMA = 5.0
"""In pixels, of every blur (RISE)."""


def blurred(images: Tensor) -> Tensor:
    """Return images (n, channels, H, W) behind a Gaussian blur; the border is reflected."""
    soft: Tensor = gaussian_blur(images, [BLUR_KERNEL] * 2, [BLUR_SIGMA] * 2)
    return soft


def upsampled(maps: Tensor, size: tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Return maps (B, k, H, W) in pixels: (B, k, *size) float32; bicubic has a = -0.75."""
    return interpolate(maps.float(), size, mode=mode, align_corners=False)


def largest(maps: Tensor, share: float) -> Tensor:
    """Which pixels of each map are its largest ones.

    Args:
        maps: (..., H, W).
        share: Share of the pixels, in (0, 1]; of equals the first ones row by row.

    Returns:
        (..., H, W) bool with round(share * H * W) pixels, at least one.
    """
    flat = maps.flatten(-2)
    count = max(1, round(share * flat.shape[-1]))
    order = flat.argsort(dim=-1, descending=True, stable=True)[..., :count]
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter(-1, order, True)
    return chosen.reshape(maps.shape)


def bounding_boxes(regions: Tensor) -> Tensor:
    """Return the smallest boxes (..., 4), x0, y0, x1, y1 with open ends, of regions (..., H, W)."""
    rows, columns = regions.any(-1), regions.any(-2)
    ends = []
    for axis in (columns, rows):
        first = axis.float().argmax(-1)
        last = axis.shape[-1] - axis.flip(-1).float().argmax(-1)
        ends.append((first, last))
    (x0, x1), (y0, y1) = ends
    return torch.stack([x0, y0, x1, y1], dim=-1)


def inside_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the pixels (..., H, W) bool whose centres are in boxes (..., 4) x0, y0, x1, y1."""
    y, x = (torch.arange(n, device=boxes.device) + 0.5 for n in size)
    x0, y0, x1, y1 = (end[..., None] for end in boxes.unbind(-1))
    across, down = (x >= x0) & (x < x1), (y >= y0) & (y < y1)
    return down[..., :, None] & across[..., None, :]


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the IoU (...) float64 of boxes (..., 4) of positive area."""
    corner = torch.maximum(first[..., :2], second[..., :2])
    end = torch.minimum(first[..., 2:], second[..., 2:])
    overlap = (end - corner).clamp(min=0).double().prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).double().prod(-1) for box in (first, second)]
    return overlap / (areas[0] + areas[1] - overlap)


@lru_cache(maxsize=16)
def _weights(cells: int, pixels: int) -> Tensor:
    """(cells, pixels) float32: what each cell gives each pixel, upsampled linearly."""
    with torch.inference_mode(False):
        cell = torch.eye(cells)[None]
        return interpolate(cell, pixels, mode="linear", align_corners=False)[0]


def pooled_onto(regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Sum over a region of what each cell gives to its pixels, upsampled bilinearly.

    The sum of an upsampled map over a region is the sum over cells of map times this: maps need
    not be upsampled for it.

    Args:
        regions: (..., H, W) bool, or weights.
        grid: Rows and columns of the maps.

    Returns:
        (..., *grid) float32.
    """
    rows, columns = (
        _weights(cells, pixels).to(regions.device)
        for cells, pixels in zip(grid, regions.shape[-2:], strict=True)
    )
    return rows @ regions.float() @ columns.T
