"""Annotated points, as evidence of named parts at each patch token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

SPREAD = 24 / 224
"""Standard deviation of the Gaussian round a point, in units of the image's side."""
BACKGROUND = 0.15
"""Weight of the background at every cell, where a part has 1 at its own point."""
_ABSENT = 0.01
"""Share of every cell that a part must have less of not to be in the image."""


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
    keypoints: Tensor, part_names: Sequence[str], groups: Mapping[str, Sequence[str]]
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
    columns = _columns(part_names, groups)
    most = max(map(len, columns), default=0)
    sorted_ = keypoints.new_zeros(len(keypoints), len(groups), most, 3)
    for row, members in enumerate(columns):
        sorted_[:, row, : len(members)] = keypoints[:, members]
    return sorted_


def grouped_areas(
    areas: Tensor, area_names: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> Tensor:
    """Return the areas (n, K, h, w) of named parts, each the sum of its members'.

    Args:
        areas: (n, P, h, w) in [0, 1].
        area_names: Name of each of the P.
        groups: See `grouped_points`.

    Raises:
        DiscoveryError: See `grouped_points`.
    """
    members = _columns(area_names, groups)
    return torch.stack([areas[:, each].sum(1).clamp(max=1) for each in members], dim=1)


def area_evidence(areas: Tensor, grid: tuple[int, int]) -> Tensor:
    """How much of each cell belongs to a part, over the most that any cell of the image has.

    A part is evident where it is largest, as it is at its point, however small it is.

    Args:
        areas: (n, K, h, w) in [0, 1].
        grid: (H, W) of the tokens.

    Returns:
        (n, H * W, K) float32 in [0, 1]; 0 for a part that is not in the image.
    """
    finer = areas.shape[2] >= grid[0] and areas.shape[3] >= grid[1]
    if finer:
        covered = adaptive_avg_pool2d(areas.float(), grid)
    else:
        covered = interpolate(areas.float(), grid, mode="bilinear", align_corners=False)
    flat = covered.flatten(2)
    top = flat.amax(2, keepdim=True)
    return torch.where(top > _ABSENT, flat / top.clamp(min=_ABSENT), 0.0).mT


def evident_points(evidence: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return a point (n, K, 1, 3) of each part: the middle of the cell where it is most evident.

    Args:
        evidence: (n, H * W, K); a part without any is not visible.
        grid: (H, W).
        size: Height and width of the images in pixels.
    """
    most, cell = evidence.max(1)
    x = (cell % grid[1] + 0.5) * size[1] / grid[1]
    y = (cell // grid[1] + 0.5) * size[0] / grid[0]
    return torch.stack([x, y, (most > 0).to(x)], dim=-1)[:, :, None]


def expect_points(
    indices: Sequence[int], keypoints: Tensor, names: Sequence[str], size: tuple[int, int]
) -> tuple[list[int], list[str], tuple[int, int], Tensor]:
    """Return points that a person gives, as `Annotations` holds them.

    Args:
        indices: Which images, m of them.
        keypoints: (m, P, 3) x and y in pixels and visibility.
        names: Name of each of the P.
        size: Height and width of the images in pixels.

    Raises:
        DiscoveryError: If shapes do not fit, an image or a name is there twice, or a visible point
            lies outside of its image.
    """
    points = torch.as_tensor(keypoints, dtype=torch.float32)
    rows, columns, sides = [int(index) for index in indices], list(names), tuple(size)
    if tuple(points.shape) != (len(rows), len(columns), 3) or len(sides) != 2:
        raise DiscoveryError(
            f"keypoints is {tuple(points.shape)} for {len(rows)} images and {len(columns)} names: "
            "give x, y and visibility, (images, names, 3), and the images' height and width."
        )
    given: tuple[tuple[str, list[Any]], ...] = (("image", rows), ("name", columns))
    for what, each in given:
        twice = next((one for one in each if each.count(one) > 1), None)
        if twice is not None:
            raise DiscoveryError(f"The {what} {twice!r} is annotated twice: give it once.")
    height, width = sides
    x, y, visible = points.unbind(-1)
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)  # NaN is not
    for row, column in ((visible > 0) & ~inside).nonzero().tolist():
        raise DiscoveryError(
            f"'{columns[column]}' of image {rows[row]} is at {x[row, column]:g}, "
            f"{y[row, column]:g}, outside of the input's {width} x {height} pixels: give pixels of "
            "the input, and visibility 0 for what it does not show."
        )
    return rows, columns, (height, width), points


def expect_shown(names: Sequence[str], points: Tensor | None, areas: Tensor | None) -> None:
    """Refuse a named part that no image shows.

    Args:
        names: Name of each of K parts.
        points: (n, K, m, 3), or None.
        areas: (n, K, h, w), or None.

    Raises:
        DiscoveryError: If there is one.
    """
    shown = torch.zeros(len(names), dtype=torch.bool)
    if points is not None:
        shown = (points[..., 2] > 0).any(2).any(0)
    elif areas is not None:
        shown = (areas > _ABSENT).flatten(2).any(2).any(0)
    for name, there in zip(names, shown.tolist(), strict=True):
        if not there:
            raise DiscoveryError(
                f"No image shows part '{name}' where the classifier looks: annotate it on an "
                "image, or drop the name."
            )


def _columns(known: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[list[int]]:
    place = {name: column for column, name in enumerate(known)}
    for name, members in groups.items():
        strange = [member for member in members if member not in place]
        if strange or not members:
            what = f"keypoint '{strange[0]}', which there is not" if strange else "no keypoint"
            raise DiscoveryError(f"Part '{name}' has {what}: choose from {', '.join(known)}.")
    return [[place[member] for member in members] for members in groups.values()]
