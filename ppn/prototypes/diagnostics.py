"""What is written down of a class when it is found: parts, patches, and how it was refined."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.discovery.base import ClassTokens
    from ppn.prototypes.dictionary import PartDictionary
    from ppn.refinement.base import ClassProblem, Refined


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


def record(
    dictionary: PartDictionary,
    item: ClassTokens,
    problem: ClassProblem,
    refined: Refined,
    pixels: tuple[int, int],
) -> None:
    """Write what was found for one class, and how its prototypes differ from its parts.

    Args:
        dictionary: Where it goes.
        item: The class.
        problem: Its parts.
        refined: Its prototypes.
        pixels: Height and width of the network's input.
    """
    label, parts, weight = item.label, problem.parts, problem.weight
    prototypes = refined.prototypes
    images, cells = item.tokens.shape[:2]
    dictionary.parts[label] = parts
    dictionary.weight[label] = weight.float()
    dictionary.images[label] = images
    dictionary.fell_back[label] = int(refined.fell_back)
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
    _record_patches(dictionary, item, maps, PatchGrid(item.grid, pixels))
    dictionary.found[label] = 1


def _record_patches(
    dictionary: PartDictionary, item: ClassTokens, maps: Tensor, grid: PatchGrid
) -> None:
    """Keep each prototype's nearest patches, at most one per image; maps (n, N, k)."""
    cell = maps.argmax(dim=1, keepdim=True)
    score = maps.gather(1, cell)[:, 0]
    # Not topk, whose order of equal scores may differ between machines.
    ranked = score.sort(dim=0, descending=True, stable=True)
    count = min(dictionary.patch_index.shape[2], len(score))
    nearest = ranked.indices[:count]
    if len(score) > 1:
        dictionary.least_likeness[item.label] = leave_one_out(score).min()
    dictionary.patch_score[item.label] = -torch.inf
    dictionary.patch_score[item.label, :, :count] = ranked.values[:count].T
    dictionary.patch_index[item.label, :, :count] = item.indices[nearest].T
    boxes = grid.boxes(cell[:, 0].gather(0, nearest)).transpose(0, 1)
    dictionary.patch_box[item.label, :, :count] = boxes


def leave_one_out(score: Tensor) -> Tensor:
    """Return how like the others each training image of a class is.

    Args:
        score: (n, k) largest value of each prototype's map on each of at least two images.

    Returns:
        (n,) the sum of an image's scores over that of the best scores of the other images;
        negative scores count as 0. See `Explanation.likeness`.
    """
    positive = score.clamp(min=0)
    best, second = positive.topk(2, dim=0).values
    first = positive.argmax(0, keepdim=True)
    there = torch.arange(len(score), device=score.device)[:, None] == first
    others = torch.where(there, second, best)
    return positive.sum(1) / others.sum(1).clamp(min=1e-12)
