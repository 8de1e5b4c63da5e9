"""From the patch tokens of a group of classes to their decomposed rows of the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ppn.discovery.faiss_search import largest_inner_products
from ppn.discovery.parts import Discoverer, Seeding, TokenWeighting, discover_parts
from ppn.errors import DiscoveryError
from ppn.refinement.refine import STRENGTH, AlphaSolver, ClassProblem, Strategy, refine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.prototypes.dictionary import PartDictionary
    from ppn.prototypes.head import PrototypeHead


@dataclass(frozen=True)
class DiscoverySettings:
    """How parts are found and rows are split; see `discover_parts` and `ClassProblem`."""

    discoverer: Discoverer = "nmf"
    seeding: Seeding = "nndsvda"
    token_weighting: TokenWeighting = "cam"
    alpha_solver: AlphaSolver = "least_squares"
    strength: float = STRENGTH
    seed: int = 0


class ClassTokens(NamedTuple):
    """The un-augmented training images of one class.

    `label`; `name`; `tokens` (n_c, N, D) patch tokens; `indices` (n_c,) which images; `pooled`
    (n_c, D) what the head acts on, None where it is the mean token; `grid` (H, W) of the tokens.
    """

    label: int
    name: str
    tokens: Tensor
    indices: Tensor
    pooled: Tensor | None = None
    grid: tuple[int, int] = (0, 0)


class PatchGrid(NamedTuple):
    """The grid of patch tokens (H, W) and the size of the network's input in pixels (H, W)."""

    cells: tuple[int, int]
    pixels: tuple[int, int]

    def boxes(self, cells: Tensor) -> Tensor:
        """Return x0, y0, x1, y1 (..., 4) in input pixels of flat cell numbers (...)."""
        height = self.pixels[0] / self.cells[0]
        width = self.pixels[1] / self.cells[1]
        row, column = cells // self.cells[1], cells % self.cells[1]
        corners = (column * width, row * height, (column + 1) * width, (row + 1) * height)
        return torch.stack([corner.float() for corner in corners], dim=-1)


@torch.no_grad()
def decompose(
    group: Sequence[ClassTokens],
    weight: Tensor,
    heads: dict[Strategy, PrototypeHead],
    chosen: Strategy,
    dictionary: PartDictionary,
    grid: PatchGrid,
    settings: DiscoverySettings,
) -> None:
    """Decompose a group of classes and write them into heads and dictionary.

    Args:
        group: Tokens of the classes.
        weight: (C, D) float64, the effective head.
        heads: For each refinement strategy the head to fill.
        chosen: The strategy whose prototypes the patches and diagnostics are about.
        dictionary: Where parts, patches and diagnostics go.
        grid: PatchGrid of tokens and size of the input, for the boxes of patches.
        settings: How to find and refine.

    Raises:
        DiscoveryError: If features are not finite or a class has fewer tokens than prototypes.
    """
    k = dictionary.parts.shape[1]
    labels = [item.label for item in group]
    flat = [item.tokens.float().flatten(0, 1) for item in group]
    factors = discover_parts(
        flat,
        weight[labels].to(flat[0].dtype),
        k,
        [item.name for item in group],
        settings.discoverer,
        settings.seeding,
        settings.token_weighting,
        settings.seed,
    )
    for item, tokens, factor in zip(group, flat, factors, strict=True):
        label = item.label
        problem = ClassProblem(
            tokens,
            factor.coefficients,
            factor.parts,
            weight[label],
            settings.alpha_solver,
            settings.strength,
        )
        for strategy, head in heads.items():
            refined = refine(problem, strategy)
            if not bool(torch.isfinite(refined.prototypes).all()):
                raise DiscoveryError(
                    f"Refinement '{strategy}' of class {item.name} gives values that are not "
                    "finite: choose another strategy or a larger strength."
                )
            head.prototypes[label] = refined.prototypes
            if strategy == chosen:
                dictionary.fell_back[label] = int(refined.fell_back)
        _record(dictionary, problem, heads[chosen].prototypes[label], item, grid)


def _record(
    dictionary: PartDictionary,
    problem: ClassProblem,
    prototypes: Tensor,
    item: ClassTokens,
    grid: PatchGrid,
) -> None:
    """Write what was found for one class, and how its refined prototypes differ from its parts."""
    label, parts, weight = item.label, problem.parts, problem.weight
    images, cells = item.tokens.shape[:2]
    dictionary.parts[label] = parts
    dictionary.weight[label] = weight.float()
    dictionary.images[label] = images
    dictionary.residual_share[label] = problem.residual.norm() / weight.norm().clamp(min=1e-30)
    missing = (prototypes.double().sum(0) - weight).abs().max()
    dictionary.exactness[label] = missing / weight.abs().max().clamp(min=1e-30)
    dictionary.cosine[label] = torch.cosine_similarity(prototypes, parts, dim=1)
    maps = (problem.tokens @ prototypes.T).reshape(images, cells, -1)
    before = (problem.tokens @ parts.T).reshape(images, cells, -1)
    shifted = maps.argmax(1) != before.argmax(1)
    dictionary.peak_shift[label] = shifted.float().mean(0)
    pooled = item.tokens.float().mean(1) if item.pooled is None else item.pooled.float()
    dictionary.negative_share[label] = (pooled @ prototypes.T < 0).float().mean()
    _record_patches(dictionary, problem.tokens, prototypes, item, grid)
    dictionary.found[label] = 1


def _record_patches(
    dictionary: PartDictionary,
    tokens: Tensor,
    prototypes: Tensor,
    item: ClassTokens,
    grid: PatchGrid,
) -> None:
    """Keep each prototype's nearest patches, at most one per image, by exact search."""
    images, cells = item.tokens.shape[:2]
    wanted = dictionary.patch_index.shape[2]
    k = len(prototypes)
    # The best patch of each image is a candidate, so searching those finds the nearest m images.
    best = (tokens @ prototypes.T).reshape(images, cells, k).argmax(dim=1)
    dictionary.patch_score[item.label] = -torch.inf
    for part in range(k):
        candidates = tokens.reshape(images, cells, -1)[torch.arange(images), best[:, part]]
        scores, found = largest_inner_products(prototypes[part : part + 1], candidates, wanted)
        count = found.shape[1]
        chosen = found[0].to(best.device)
        dictionary.patch_index[item.label, part, :count] = item.indices[chosen]
        dictionary.patch_box[item.label, part, :count] = grid.boxes(best[chosen, part])
        dictionary.patch_score[item.label, part, :count] = scores[0].to(best.device)
