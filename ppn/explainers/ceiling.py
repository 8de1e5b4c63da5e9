"""Parts that are taken from annotations: how far a linear split of these features can go."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from ppn.discovery.points import point_evidence
from ppn.explainers.directions import Directions
from ppn.refinement.base import ClassProblem
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.explainers.base import Kind

RIDGE = 1.0
ELSEWHERE = 0.01
"""Evidence of every part at every cell, so that far from all of them shares are equal."""


def mask_evidence(masks: Tensor, parts: Sequence[Sequence[int]], grid: tuple[int, int]) -> Tensor:
    """How much of each cell a part's mask covers.

    Args:
        masks: (n, H, W) integers, values of `Batch.mask`.
        parts: For each of K parts the values that belong to it.
        grid: (H, W) of the tokens.

    Returns:
        (n, H * W, K) float32 in [0, 1].
    """
    covered = torch.stack(
        [torch.isin(masks, torch.tensor(values, device=masks.device)) for values in parts], dim=1
    )
    return torch.nn.functional.adaptive_avg_pool2d(covered.float(), grid).flatten(2).mT


def annotated_split(
    tokens: Tensor, evidence: Tensor, weight: Tensor, ridge: float = RIDGE
) -> Tensor:
    """Split a row of the head among annotated parts, exactly.

    Args:
        tokens: (n, N, D) of the class's training images.
        evidence: (n, N, K) >= 0 of the parts at each of them, from `point_evidence` or
            `mask_evidence`.
        weight: (D,) float64, the row.
        ridge: lambda of the split.

    Returns:
        (K, D) float32, summing to the row.
    """
    flat, shares = tokens.float().flatten(0, 1), evidence.flatten(0, 1) + ELSEWHERE
    problem = ClassProblem(flat, shares, flat.new_zeros(shares.shape[1], flat.shape[1]), weight)
    return CompactSplit(ridge, rounds=0).refine(problem).prototypes


class Ceiling(Directions):
    """Parts from the keypoints or masks of the training images, split as the method's parts are.

    It is a ceiling for where a linear map on these features can be told to look, not a limit of
    mathematics (method.md).

    Args:
        num_classes: C.
        parts: K.
        width: D.
    """

    kind: ClassVar[Kind] = "ceiling"
    title = "annotated parts"

    def __init__(self, num_classes: int, parts: int, width: int) -> None:
        self.num_classes = num_classes
        self.parts = parts
        self.width = width
        self.directions = torch.zeros(num_classes, parts, width)

    def learn_points(
        self,
        label: int,
        tokens: Tensor,
        points: Tensor,
        weight: Tensor,
        grid: tuple[int, int],
        size: tuple[int, int],
    ) -> None:
        """Take the parts of a class from points.

        Args:
            label: The class.
            tokens: (n, N, D) of its training images.
            points: (n, K, m, 3) as `grouped_points` sorts them.
            weight: (D,) float64, its row of the head.
            grid: (H, W) of the tokens.
            size: Height and width of the images in pixels.
        """
        evidence = point_evidence(points, grid, size).to(tokens.device)
        self.directions[label] = annotated_split(tokens, evidence, weight)

    def learn_masks(
        self,
        label: int,
        tokens: Tensor,
        masks: Tensor,
        values: Sequence[Sequence[int]],
        weight: Tensor,
        grid: tuple[int, int],
    ) -> None:
        """Take the parts of a class from masks: see `mask_evidence` and `learn_points`."""
        self.directions[label] = annotated_split(tokens, mask_evidence(masks, values, grid), weight)
