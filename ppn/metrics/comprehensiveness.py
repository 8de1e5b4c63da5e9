"""Do an image's prototypes together cover the object (protocol `nonparam-2025`)?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ppn.metrics.distinctiveness import strongest
from ppn.metrics.means import MeanMetric
from ppn.metrics.pointing import object_region
from ppn.metrics.regions import upsampled

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


class Comprehensiveness(MeanMetric):
    """Protocol `nonparam-2025` (proto-non-param, CVPR 2025): IoU of the object and all maps.

    Per image the ground-truth class's `top` prototypes by maximum of the map; maps upsampled
    bilinearly to the image, each min-max normalised, pixels above the threshold, union over the
    prototypes. A constant map has no pixel above it.

    Args:
        top: Prototypes per image.
        threshold: Of the normalised map, in (0, 1).
    """

    title = "Comprehensiveness"
    bounds = (0.0, 1.0)
    protocol = "nonparam-2025"
    help = "IoU of the object's mask and what the strongest prototypes of its class cover together."
    needs = frozenset({"mask"})
    per_prototype = False

    def __init__(self, top: int = 5, threshold: float = 0.6) -> None:
        super().__init__()
        self.top = top
        self.threshold = threshold

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        self.size = shape.size
        return super().setup(shape)

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {**self.options, "size": self.size, "upsampling": "bilinear"}

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        inside, known = object_region(seen.batch, "mask", (self.size, self.size))
        self.update(seen.maps, inside, known, seen.batch["label"], seen.counts)

    def update(
        self,
        maps: Tensor,
        inside: Tensor,
        known: Tensor,
        labels: Tensor | None = None,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch; see `EnergyBox.update`."""
        covered = torch.stack([self._covered(one[None]) for one in strongest(maps, self.top)])
        both = (covered & inside & known).flatten(1).sum(1)
        either = ((covered | inside) & known).flatten(1).sum(1)
        self.add(both.double() / either.clamp(min=1), labels, counts, either > 0)

    def _covered(self, maps: Tensor) -> Tensor:
        """(1, n, H, W) maps of one image -> (S, S) bool."""
        values = upsampled(maps, (self.size, self.size), "bilinear")[0]
        low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
        return (values - low > self.threshold * (high - low)).any(0)
