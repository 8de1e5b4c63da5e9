"""How often is one part in a prototype's patch (protocol `pipnet-2023`)?

Nauta et al., "PIP-Net: Patch-Based Intuitive Prototypes for Interpretable Image Classification",
CVPR 2023. There prototypes are shared by all classes, and images are of all classes; here a
prototype is of one class, and so are its images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric
from ppn.metrics.maps import cell_peak
from ppn.metrics.protocol import scaled
from ppn.metrics.resampling import DRAWS, Values, known_draws
from ppn.metrics.top import best_of, strongest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation

_SIDES = ("left ", "right ")
_SPARE = 2
"""How many times as many images as count are kept."""


class PurityResult(NamedTuple):
    """What `Purity.compute` returns, of all processes.

    `purity` (C, k) float64 in [0, 1] over the images with the highest scores, `purity_all` over all
    above the threshold; `part` (C, k) int64, the part of `purity`, an index into `merged_parts`;
    NaN, and 0, where a prototype has no image. `draws` (R,) the mean over images drawn again.
    """

    purity: Tensor
    purity_all: Tensor
    part: Tensor
    draws: Tensor


def merged_parts(names: Sequence[str]) -> tuple[list[str], list[list[int]]]:
    """Join left and right: names of parts, and the keypoints of each (CUB: 15 to 12)."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        side = next((side for side in _SIDES if name.startswith(side)), "")
        both = side and {s + name.removeprefix(side) for s in _SIDES} <= set(names)
        groups.setdefault(name.removeprefix(side) if both else name, []).append(index)
    return list(groups), list(groups.values())


def patch_boxes(cells: Tensor, grid: tuple[int, int], size: int, patch: int) -> Tensor:
    """Where the patch of a cell is.

    Args:
        cells: (...) int64, y * W + x.
        grid: (H, W).
        size: Side of the image in pixels.
        patch: Side of the patch in pixels.

    Returns:
        (..., 4) int64, x0, y0, x1, y1: x0 = x * skip with skip = round((size - patch) / (W - 1)),
        x1 = x0 + patch; at the far border the patch ends with the image.
    """
    starts = []
    for place, count in ((cells % grid[1], grid[1]), (cells // grid[1], grid[0])):
        skip = round((size - patch) / (count - 1)) if count > 1 else 0
        start = place * skip
        far = (place == count - 1) | (start + patch >= size)
        starts.append(torch.where(far, size - patch, start))
    corner = torch.stack(starts, dim=-1)
    return torch.cat([corner, corner + patch], dim=-1)


class Purity(Metric):
    """Mean share of a part in a prototype's patches, for its purest part.

    Per prototype the `top` images of its class by the map's maximum (of equals the first ones in
    the data set), and the `patch` x `patch` pixels at the maximum's cell. For each part the share
    of those images in which it is in the patch, of those in which it is visible; the largest share
    is the purity. Beside it the same over all images whose score is above a threshold.

    Args:
        top: Images.
        patch: Side of the patch in pixels of a 224 x 224 image; it is scaled with the image.
        above: Threshold of the maximum, for the second figure.
    """

    title = "Purity"
    bounds = (0.0, 1.0)
    protocol = "pipnet-2023"
    help = "Share of a prototype's strongest patches that hold its purest part, where visible."
    needs = frozenset({"keypoints"})

    best: Tensor
    present: Tensor
    visible: Tensor

    def __init__(self, top: int = 10, patch: int = 32, above: float = 0.0) -> None:
        super().__init__()
        self.top = top
        self.patch = patch
        self.above = above

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states.

        Raises:
            DataError: If no parts are annotated.
        """
        self.expect_parts(shape)
        self.size = shape.size
        self.side = scaled(self.patch, shape.size)
        self.parts, self.groups = merged_parts(shape.part_names)
        cells = (shape.num_classes, shape.k)
        # Per image: its score, its index, of each part whether it is present and visible, and how
        # often it is in each draw: where some of the first are in none, further ones are needed.
        width = 2 + 2 * len(self.parts) + DRAWS
        best = torch.zeros(*cells, _SPARE * self.top, width, dtype=torch.float64)
        best[..., 0], best[..., 1] = -torch.inf, torch.inf
        self.add_state("best", best, dist_reduce_fx=best_of)
        counted = torch.zeros(*cells, len(self.parts), dtype=torch.long)
        self.add_state("present", counted, dist_reduce_fx="sum")
        self.add_state("visible", counted.clone(), dist_reduce_fx="sum")
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on; the patch in pixels of the `size` x `size` image."""
        return {"top": self.top, "patch": self.side, "above": self.above, "size": self.size}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        batch = seen.batch
        self.update(seen.maps, batch["keypoints"], batch["label"], batch["index"], seen.counts)

    def update(
        self,
        maps: Tensor,
        keypoints: Tensor,
        labels: Tensor,
        indices: Tensor,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W) of the ground-truth class's prototypes.
            keypoints: (B, P, 3) x, y in pixels and visibility.
            labels: (B,) ground-truth classes.
            indices: (B,) of each image in its data set.
            counts: (B, R) of `image_counts`; None: nothing is drawn again.
        """
        times = maps.new_zeros(len(maps), DRAWS).double() if counts is None else counts
        score = maps.double().flatten(2).amax(2)
        boxes = patch_boxes(cell_peak(maps), (maps.shape[2], maps.shape[3]), self.size, self.side)
        shown = keypoints[..., 2] > 0
        point = torch.where(shown[..., None], keypoints[..., :2], -1.0)[:, None]
        low, high = boxes[:, :, None, :2], boxes[:, :, None, 2:]
        hit = ((point >= low) & (point <= high)).all(-1) & shown[:, None]
        present = torch.stack([hit[..., group].any(-1) for group in self.groups], dim=-1)
        visible = torch.stack([shown[..., group].any(-1) for group in self.groups], dim=-1)
        visible = visible[:, None].expand_as(present)
        counted = (score > self.above)[..., None]
        self.present.index_add_(0, labels, (present & counted).long())
        self.visible.index_add_(0, labels, (visible & counted).long())
        index = indices.double()[:, None].expand_as(score)
        columns = (score[..., None], index[..., None], present, visible)
        drawn = times[:, None].expand(-1, score.shape[1], -1)
        rows = torch.cat([*(column.double() for column in columns), drawn], dim=-1)
        for label in torch.unique(labels).tolist():
            own = rows[labels == label].transpose(0, 1)
            self.best[label] = strongest(torch.cat([self.best[label], own], 1), _SPARE * self.top)

    def compute(self) -> PurityResult:
        """Purity of each prototype; a collective call: every process must make it."""
        count = len(self.parts)
        there = torch.isfinite(self.best[..., 0])
        rows = torch.where(there[..., None], self.best, 0.0)
        parts, times = rows[..., 2 : 2 + 2 * count], rows[..., 2 + 2 * count :]
        seen = parts[:, :, : self.top].sum(2)
        present, visible = seen[..., :count], seen[..., count:]
        share, part = (present / visible.clamp(min=1)).max(-1)
        # Of each draw the first `top`, an image as often as it was drawn.
        taken = times.cumsum(2).clamp(max=self.top).diff(dim=2, prepend=times[:, :, :1] * 0)
        again = torch.einsum("ckir,ckip->rckp", taken, parts)
        shares = (again[..., :count] / again[..., count:].clamp(min=1)).amax(-1)
        shown = again[..., count:].any(-1)
        draws = (shares * shown).sum((1, 2)) / shown.sum((1, 2))
        every = (self.present.double() / self.visible.clamp(min=1)).amax(-1)
        return PurityResult(
            torch.where(visible.any(-1), share, torch.nan),
            torch.where(self.visible.any(-1), every, torch.nan),
            part,
            draws,
        )

    def figures(self, result: PurityResult) -> dict[str, Any]:
        """Return mean and standard deviation over prototypes; None where there are none."""
        found: dict[str, Any] = {}
        for name, values in ((self.key, result.purity), (f"{self.key}_all", result.purity_all)):
            known = values[~values.isnan()]
            found[name] = float(known.mean()) if len(known) else None
            found[f"{name}_std"] = float(known.std(correction=0)) if len(known) else None
        return found

    def values(self, result: PurityResult) -> Values:
        """Return the purity of each prototype, and their means."""
        return Values(result.purity.nanmean(1), result.purity, known_draws(result.draws))
