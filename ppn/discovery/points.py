"""Annotated points, as evidence of named parts at each patch token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SPREAD = 24 / 224
"""Standard deviation of the Gaussian round a point, in units of the image's side."""
BACKGROUND = 0.15
"""Weight of the background at every cell, where a part has 1 at its own point."""


def point_evidence(
    points: Tensor, grid: tuple[int, int], size: tuple[int, int], spread: float = SPREAD
) -> Tensor:
    """How close each cell is to a point of each part: a Gaussian of the nearest one's distance.

    Args:
        points: (n, K, m, 3) x and y in pixels and visibility (positive: visible).
        grid: H, W of the tokens.
        size: Height and width of the images in pixels.
        spread: Standard deviation, in units of the square root of the image's area.

    Returns:
        (n, H * W, K) float32 in [0, 1]; 0 for a part without a visible point.
    """
    rows, columns = (
        (torch.arange(cells, device=points.device) + 0.5) * pixels / cells
        for cells, pixels in zip(grid, size, strict=True)
    )
    across = points[..., 0, None] - columns
    down = points[..., 1, None] - rows
    squared = down.square()[..., :, None] + across.square()[..., None, :]
    sigma = spread * (size[0] * size[1]) ** 0.5
    near = torch.exp(-squared / (2 * sigma**2)).flatten(3)
    # An invisible point's coordinates may be anything, NaN too.
    near = torch.where(points[..., 2, None] > 0, near, 0.0)
    return near.amax(2).mT.float()


def point_targets(evidence: Tensor, background: float = BACKGROUND) -> Tensor:
    """Return probabilities (..., K + 1) of parts, and of the background last.

    Args:
        evidence: (..., K) of `point_evidence`.
        background: Its evidence at every cell, positive.
    """
    rest = evidence.new_full((*evidence.shape[:-1], 1), background)
    joined = torch.cat([evidence, rest], dim=-1)
    return joined / joined.sum(-1, keepdim=True)


def grouped_points(
    keypoints: Tensor, part_names: Sequence[str], groups: dict[str, list[str]]
) -> Tensor:
    """Sort keypoints by named part.

    Args:
        keypoints: (n, P, 3).
        part_names: Name of each of the P.
        groups: For each of the K names the keypoints that belong to it.

    Returns:
        (n, K, m, 3), where m is the size of the largest group; what is missing is not visible.

    Raises:
        DiscoveryError: If a group is empty or names an unknown keypoint.
    """
    known = list(part_names)
    for name, members in groups.items():
        strange = [member for member in members if member not in known]
        if strange or not members:
            what = f"keypoint '{strange[0]}', which there is not" if strange else "no keypoint"
            raise DiscoveryError(f"Part '{name}' has {what}: choose from {', '.join(known)}.")
    most = max(map(len, groups.values()), default=0)
    sorted_ = keypoints.new_zeros(len(keypoints), len(groups), most, 3)
    for row, members in enumerate(groups.values()):
        sorted_[:, row, : len(members)] = keypoints[:, [known.index(m) for m in members]]
    return sorted_
