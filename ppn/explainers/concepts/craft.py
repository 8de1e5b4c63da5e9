"""CRAFT: non-negative factors of crops, weighed by Sobol indices."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import interpolate, unfold

from ppn.errors import PPNError
from ppn.explainers.concepts.of_class import ClassConcepts
from ppn.explainers.concepts.sobol import design, total_indices

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from ppn.explainers.training import TrainingBatch, TrainingImages
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Tokens

OVERLAP = 0.8
"""Crops are this share of their side apart (the reference implementation's)."""


def crops(images: Tensor, size: int) -> Tensor:
    """Return square crops of images (B, C, H, W), as (B * n, C, size, size).

    Args:
        images: The images.
        size: Side of the crops in pixels; they are 0.8 of it apart.
    """
    channels = images.shape[1]
    flat = unfold(images, size, stride=max(1, int(size * OVERLAP)))
    return flat.mT.reshape(-1, channels, size, size)


class CRAFT(ClassConcepts):
    """CRAFT (Fel et al., CVPR 2023), without its recursion to earlier layers.

    Concepts are the non-negative factors of the pooled features of crops of the class's training
    images. Importance is the mean total Sobol index of masking each concept in the
    reconstruction of an image, by Jansen's estimator. Maps are the concepts' codes on the grid, as
    in the reference implementation, rather than their attribution to pixels. The reconstruction is
    read by the effective linear head with the image's own factor. The reference penalises codes by
    1e-2, ours not. A Sobol index has no unit of the logit, which contributions and surrogate show.

    Args:
        concepts: Factors of each class.
        k: How many of them are shown, those of the largest index; None: as many as the network has
            prototypes.
        patch_size: Side of the crops in pixels.
        points: Points of the Sobol study of each image.
        batch_size: Crops that run at once.
        seed: Seed of the factorisation's start and of the Sobol sequence.

    Raises:
        PPNError: If a number is not positive.
    """

    title = "CRAFT"

    def __init__(
        self,
        concepts: int = 10,
        k: int | None = None,
        patch_size: int = 64,
        points: int = 32,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        self.concepts = concepts
        self.k = k
        self.patch_size = patch_size
        self.points = points
        self.batch_size = batch_size
        self.seed = seed
        self._expect_least(1, "patch_size", "points", "batch_size")
        self._expect_seed()

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the head and the number of concepts.

        Raises:
            PPNError: If crops are larger than images.
        """
        super().prepare(network)
        side = min(network.input_config.size)
        if self.patch_size > side:
            raise PPNError(
                f"patch_size of craft is {self.patch_size}, but images have {side} pixels: lower "
                "it."
            )

    def fit(self, images: TrainingImages) -> None:
        """Factorise the crops of each class, and study how much each concept counts."""
        names = images.network.class_names
        weight = self.start(images.network)
        for label, batches in groupby(images, key=lambda seen: seen.label):
            vectors, seen = self._crops(images.network, batches)
            self.parts[label] = self.factorise(vectors, label, names[label])
            row = self.parts[label] @ weight[label]
            indices = [self._indices(tokens, label, row) for tokens in seen]
            importance = torch.cat(indices).mean(0)
            order = importance.topk(self._shown).indices
            self.chosen[label], self.importance[label] = order, importance[order]

    def _crops(
        self, network: PrototypeNetwork, batches: Iterable[TrainingBatch]
    ) -> tuple[Tensor, list[Tokens]]:
        """Return the pooled features (n, D) of all crops, and the tokens of the whole images."""
        vectors, seen = [], []
        for batch, tokens in batches:
            for chunk in torch.split(crops(batch["image"], self.patch_size), self.batch_size):
                size = batch["image"].shape[-2:]
                large = interpolate(chunk, size, mode="bilinear", align_corners=False)
                vectors.append(network.tokens(large).pooled.float())
            seen.append(tokens)
        return torch.cat(vectors), seen

    def _indices(self, tokens: Tokens, label: int, row: Tensor) -> Tensor:
        """Total indices (n, K) of masking what each concept adds to the logits of n images."""
        target = torch.full((len(tokens.pooled),), label, device=row.device)
        # The image's own factor changes no index.
        terms = (self.pooled_codes(tokens, target) * row).double()
        masks = design(terms.shape[1], self.points, self.seed)
        first = terms @ masks.first.to(terms).T
        mixed = torch.einsum("bk,ipk->bip", terms, masks.mixed.to(terms))
        return total_indices(first, mixed).float()
