"""Parts that are taken from annotations: how far a linear split of these features can go."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from ppn.discovery.points import point_evidence
from ppn.errors import DataError, PPNError
from ppn.explainers.directions import Directions
from ppn.refinement.base import ClassProblem
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.data.dataset import AnnotatedDataset
    from ppn.explainers.base import Kind
    from ppn.explainers.training import TrainingBatch, TrainingImages

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
    mathematics (method.md). A class without training images is split evenly.

    Args:
        parts: For each of K parts which keypoints belong to it, from 0 on, or which values of the
            masks.
        of: What the parts are taken from. For masks the data needs `masks: true`.

    Raises:
        PPNError: If there is no part, or one of nothing.
    """

    kind: ClassVar[Kind] = "ceiling"
    title = "annotated parts"
    name = "ceiling"
    needs_training_images = True
    fitted = ("directions",)

    def __init__(
        self, parts: list[list[int]], of: Literal["keypoints", "mask"] = "keypoints"
    ) -> None:
        if not parts or not all(parts):
            raise PPNError("The ceiling has no part, or one of nothing: name keypoints for each.")
        self.parts = parts
        self.of = of

    @property
    def maps_per_class(self) -> int:
        """The annotated parts."""
        return len(self.parts)

    def fit(self, images: TrainingImages) -> None:
        """Take the parts of every class from the annotations of its training images.

        Raises:
            DataError: If the images have no such annotations.
        """
        network = images.network
        weight, _ = network.classifier.effective_head()
        even = (weight / len(self.parts)).float()
        self.directions = even[:, None].repeat(1, len(self.parts), 1)
        for seen in images.classes():
            evidence = self._evidence(seen, network.input_config.size)
            row = weight[seen.label]
            self.directions[seen.label] = annotated_split(seen.tokens.tokens, evidence, row)

    def _evidence(self, seen: TrainingBatch, size: tuple[int, int]) -> Tensor:
        grid = seen.tokens.grid
        if self.of == "mask":
            mask = seen.batch.get("mask")
            if mask is None:
                raise DataError("The ceiling needs masks: set masks: true for the data.")
            return mask_evidence(mask, self.parts, grid)
        keypoints = seen.batch["keypoints"]
        if max(map(max, self.parts)) >= keypoints.shape[1]:
            raise DataError(
                f"The ceiling has a part of keypoint {max(map(max, self.parts))}, but the data has "
                f"{keypoints.shape[1]}: name keypoints that there are."
            )
        return point_evidence(_gathered(keypoints, self.parts), grid, size)


def ceiling_of(source: AnnotatedDataset, k: int, masks: bool = False) -> Ceiling | None:
    """Return the ceiling that a data set's annotations allow.

    Its parts are those of the data set's own `part_groups` whose number is closest to k, else one
    for each keypoint, else one for each value of its masks, if there is more than one.

    Args:
        source: The training images.
        k: Prototypes per class.
        masks: Whether batches hold masks.

    Returns:
        The ceiling; None without annotated parts.
    """
    place = {name: index for index, name in enumerate(source.part_names)}
    ways = []
    for groups in source.part_groups:
        found = [[place[name] for name in names if name in place] for names in groups.values()]
        ways.append([part for part in found if part])
    ways = [way for way in ways if len(way) > 1]
    if ways:
        return Ceiling(min(ways, key=lambda way: abs(len(way) - k)))
    if place:
        return Ceiling([[index] for index in place.values()])
    if masks and len(source.mask_names) > 1:
        return Ceiling([[value] for value, _ in enumerate(source.mask_names, start=1)], "mask")
    return None


def _gathered(keypoints: Tensor, parts: Sequence[Sequence[int]]) -> Tensor:
    """(n, P, 3) -> (n, K, m, 3); what is missing is not visible."""
    most = max(map(len, parts))
    sorted_ = keypoints.new_zeros(len(keypoints), len(parts), most, 3)
    for row, members in enumerate(parts):
        sorted_[:, row, : len(members)] = keypoints[:, list(members)]
    return sorted_
