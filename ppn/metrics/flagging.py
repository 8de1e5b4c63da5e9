"""What is measured of each prototype so that it can be flagged; see `ppn.prototypes.flags`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.base import Metric
from ppn.metrics.maps import cell_peak
from ppn.metrics.pointing import object_region
from ppn.metrics.top import best_of, strongest
from ppn.prototypes.diagnostics import PatchGrid
from ppn.prototypes.flags import LIMITS, duplicates, raise_flags, relative_share
from ppn.prototypes.foreign import TOP, foreign_share

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation
    from ppn.metrics.evaluation import Results
    from ppn.prototypes.flags import Flag, FlagKind
    from ppn.prototypes.network import PrototypeNetwork


class FlagResult(NamedTuple):
    """What `Flagging.compute` returns, of all processes.

    `together` (C, k, k) int64, images of the class on which two prototypes have their maximum in
    one cell; `outside` (C, k) float64, share of images on which the centre of that cell is outside
    of the object, NaN where no image says where it is; `foreign` (C, k) float64, see
    `foreign_share`; `images` (C,) int64.
    """

    together: Tensor
    outside: Tensor
    foreign: Tensor
    images: Tensor


class Flagging(Metric):
    """Which prototypes share a place, are not on the object, or fire on other classes.

    Not a score: flags come from it.
    """

    of_maps = False

    best: Tensor
    together: Tensor
    missed: Tensor
    placed_on: Tensor
    images: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        classes, k = shape.num_classes, shape.k
        self.size = (shape.size, shape.size)
        # Of each image: what it is given, its index, and its class.
        best = torch.zeros(classes, k, TOP, 3, dtype=torch.float64)
        best[..., 0], best[..., 1] = -torch.inf, torch.inf
        self.add_state("best", best, dist_reduce_fx=best_of)
        pairs = torch.zeros(classes, k, k, dtype=torch.long)
        self.add_state("together", pairs, dist_reduce_fx="sum")
        for name in ("missed", "placed_on"):
            counted = torch.zeros(classes, k, dtype=torch.long)
            self.add_state(name, counted, dist_reduce_fx="sum")
        self.add_state("images", torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")
        return self

    def observe(self, seen: Observation) -> None:
        """Add a batch, if it has contributions to all classes."""
        if seen.every is None or seen.every.shape[1:] != self.best.shape[:2]:
            return
        image = seen.batch.get("image")
        height, width = self.size if image is None else image.shape[2:]
        labels, indices = seen.batch["label"], seen.batch["index"]
        of: Literal["box", "mask"] = "mask" if "mask" in seen.batch else "box"
        if of in seen.batch:
            inside, known = object_region(seen.batch, of, (height, width))
        else:
            inside = known = labels.new_zeros(len(labels), height, width, dtype=torch.bool)
        self.update(seen.maps, seen.every, labels, indices, inside, known)

    def update(
        self,
        maps: Tensor,
        every: Tensor,
        labels: Tensor,
        indices: Tensor,
        inside: Tensor,
        known: Tensor,
    ) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W) of the ground-truth class's prototypes.
            every: (B, C, k) contributions to all logits.
            labels: (B,) ground-truth classes.
            indices: (B,) of each image in its data set.
            inside: (B, H, W) bool, the object, in pixels of the input.
            known: (B, H, W) bool, where that is known.
        """
        cells = cell_peak(maps)
        grid = PatchGrid((maps.shape[2], maps.shape[3]), (inside.shape[1], inside.shape[2]))
        corners = grid.boxes(cells)
        x, y = (corners[..., :2] + corners[..., 2:]).div(2).long().unbind(-1)
        rows = torch.arange(len(cells), device=cells.device)[:, None]
        there = known[rows, y, x]
        self.missed.index_add_(0, labels, (there & ~inside[rows, y, x]).long())
        self.placed_on.index_add_(0, labels, there.long())
        self.together.index_add_(0, labels, (cells[:, :, None] == cells[:, None, :]).long())
        self.images.index_add_(0, labels, torch.ones_like(labels))
        values = every.double().permute(1, 2, 0)  # (C, k, B)
        found = torch.stack(
            [values, *(one.double().expand_as(values) for one in (indices, labels))], dim=-1
        )
        joined = torch.cat([self.best, found], dim=2).flatten(0, 1)
        self.best = strongest(joined, TOP).view_as(self.best)

    def compute(self) -> FlagResult:
        """Figures over all images; a collective call: every process must make it."""
        own = torch.arange(len(self.best), device=self.best.device)[:, None].expand(
            self.best.shape[:2]
        )
        known = torch.isfinite(self.best[..., 0])
        counts = self.images[:, None].expand(self.best.shape[:2])
        foreign = foreign_share(self.best[..., 2].long(), own, known, counts)
        outside = self.missed.double() / self.placed_on  # NaN where nothing is known
        return FlagResult(self.together.clone(), outside, foreign, self.images.clone())

    def figures(self, result: FlagResult) -> dict[str, Any]:
        """Return nothing: all it knows is per prototype."""
        del result
        return {}


def network_flags(network: PrototypeNetwork, results: Results) -> list[Flag]:
    """Flag the prototypes of an evaluated network.

    A remainder has no place and no class of its own: only what it carries is looked at.

    Args:
        network: The network.
        results: Its evaluation; what it did not measure is not flagged.
    """
    measured: dict[FlagKind, Tensor] = {}
    seen, shares = results.having("together", "foreign"), results.having("share", "accuracy")
    steady = results.values.get(network.head.name, {}).get("spatial_misalignment")
    twin = None
    if shares is not None:
        measured["little"] = relative_share(shares.share, shares.images)
    if seen is not None and shares is not None:
        placed = seen.together.shape[1] - network.remainder
        own = seen.together[:, :placed, :placed]
        measured["duplicate"], twin = duplicates(own, seen.images, shares.share[:, :placed])
        measured["outside"] = seen.outside[:, :placed]
        measured["foreign"] = seen.foreign[:, :placed]
    if steady is not None and steady.prototypes is not None:
        measured["unsteady"] = steady.prototypes[:, : network.k - network.remainder]
    # What was removed by an edit, and what a class without images has, is not looked at.
    there = network.head.prototypes.any(2) & (network.dictionary.found == 1)[:, None]
    return [f for f in raise_flags(measured, twin) if bool(there[f.label, f.number - 1])]


def flag_figures(flags: list[Flag]) -> dict[str, Any]:
    """Return flags as plain values for `metrics.json`."""
    return {"limits": dict(LIMITS), "prototypes": [flag.to_dict() for flag in flags]}
