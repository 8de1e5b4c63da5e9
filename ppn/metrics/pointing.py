"""Are maps on the object: its maximum (pointing game), and its positive mass (energy)?

Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016 (pointing game, without
a tolerance); Wang et al., "Score-CAM", CVPR Workshops 2020 (energy-based pointing game).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from ppn.metrics.maps import peak
from ppn.metrics.means import MeanMetric
from ppn.metrics.regions import inside_boxes, pooled_onto

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.metrics.base import Observation
    from ppn.types import Batch

UNKNOWN = 255


def object_region(
    batch: Batch, of: Literal["box", "mask"], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Where the object is, and where that is known.

    Args:
        batch: Has `box` or `mask`.
        of: Which of them is taken.
        size: Height and width of the images in pixels.

    Returns:
        (B, H, W) bool inside, and the same for known. Nothing is known of an image whose box is
        the whole frame, which stands for no box, or whose mask has no object.
    """
    if of == "mask":
        mask = batch["mask"]
        inside, known = (mask != 0) & (mask != UNKNOWN), mask != UNKNOWN
    else:
        height, width = size
        box = batch["box"]
        frame = box.new_tensor([0, 0, width, height])
        inside = inside_boxes(box, size)
        whole = (box[:, :2] <= frame[:2]).all(1) & (box[:, 2:] >= frame[2:]).all(1)
        known = (~whole)[:, None, None].expand_as(inside)
    return inside, known & inside.flatten(1).any(1)[:, None, None]


class _OnObject(MeanMetric):
    """What pointing and energy share."""

    bounds = (0.0, 1.0)
    region: Literal["box", "mask"]

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"region": self.region, "size": self.size}

    def setup(self, shape: Any) -> Any:  # noqa: ANN401 - as the base
        """Make the states."""
        self.size = shape.size
        return super().setup(shape)

    def _region(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return object_region(batch, self.region, (self.size, self.size))


class PointingBox(_OnObject):
    """Share of maps whose maximum, after bicubic upsampling, lies in the object's box."""

    title = "Pointing, box"
    protocol = "pointing"
    help = "Share of maps whose maximum lies in the object's box."
    needs = frozenset({"box", "peaks"})
    region: Literal["box", "mask"] = "box"

    def observe(self, seen: Observation) -> None:
        """Add a batch; it must hold peaks."""
        assert seen.peaks is not None
        self.update(seen.peaks, *self._region(seen.batch), seen.batch["label"], seen.counts)

    def update(
        self,
        maps: Tensor,
        inside: Tensor,
        known: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W), or their maxima (B, k, 2) int64 as `peak` gives them.
            inside: (B, S, S) bool, the object.
            known: (B, S, S) bool; a maximum elsewhere does not count.
            labels: See `add`.
            counts: See `add`.
        """
        peaks = peak(maps, (self.size, self.size)) if maps.dim() == 4 else maps
        rows = torch.arange(len(peaks), device=peaks.device)[:, None]
        at = (rows, peaks[..., 0], peaks[..., 1])
        self.add(inside[at], labels, counts, known[at])


class PointingMask(PointingBox):
    """Share of maps whose maximum, after bicubic upsampling, lies in the object's mask."""

    title = "Pointing, mask"
    help = "Share of maps whose maximum lies in the object's mask."
    needs = frozenset({"mask", "peaks"})
    region = "mask"


class EnergyBox(_OnObject):
    """Share of a map's positive mass that lies in the object's box.

    Negative values are set to 0 and the map is upsampled bilinearly, which keeps it so. A map
    without a positive value has no share.
    """

    title = "Energy, box"
    protocol = "energy"
    help = "Share of a map's positive mass inside the object's box."
    needs = frozenset({"box"})
    region: Literal["box", "mask"] = "box"

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        self.update(seen.maps, *self._region(seen.batch), seen.batch["label"], seen.counts)

    def update(
        self,
        maps: Tensor,
        inside: Tensor,
        known: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W).
            inside: (B, S, S) bool, the object.
            known: (B, S, S) bool; mass elsewhere does not count.
            labels: See `add`.
            counts: See `add`.
        """
        mass, grid = maps.float().clamp(min=0), maps.shape[2:]
        own, whole = (
            (mass * pooled_onto(where, (grid[0], grid[1]))[:, None]).sum((2, 3)).double()
            for where in (inside & known, known)
        )
        self.add(own / whole.clamp(min=1e-30), labels, counts, whole > 0)


class EnergyMask(EnergyBox):
    """Share of a map's positive mass that lies in the object's mask; see `EnergyBox`."""

    title = "Energy, mask"
    help = "Share of a map's positive mass inside the object's mask."
    needs = frozenset({"mask"})
    region = "mask"
