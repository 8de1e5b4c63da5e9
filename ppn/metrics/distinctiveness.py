"""Do an image's prototypes look at different places (protocol `nonparam-2025`)?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import avg_pool2d

from ppn.metrics.maps import peak
from ppn.metrics.means import MeanMetric
from ppn.metrics.protocol import scaled

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation


def box_iou(peaks: Tensor, box: int) -> Tensor:
    """Mean pairwise IoU of equal boxes centred at the peaks, not clipped to the image.

    Args:
        peaks: (B, n, 2) y, x in pixels, n >= 2.
        box: Side of the boxes in pixels.

    Returns:
        (B,) float64 in [0, 1]: mean over the n (n - 1) / 2 pairs.
    """
    first, second = torch.triu_indices(peaks.shape[1], peaks.shape[1], 1, device=peaks.device)
    overlap = (box - (peaks[:, first] - peaks[:, second]).abs()).clamp(min=0).prod(-1)
    return (overlap.double() / (2 * box * box - overlap)).mean(1)


def strongest(maps: Tensor, top: int) -> Tensor:
    """The maps (B, min(top, k), H, W) with the highest maxima; of equals the first ones."""
    order = maps.flatten(2).amax(2).argsort(dim=1, descending=True, stable=True)[:, :top]
    return maps.gather(1, order[..., None, None].expand(-1, -1, *maps.shape[2:]))


class Distinctiveness(MeanMetric):
    """Protocol `nonparam-2025` (proto-non-param, CVPR 2025): 1 - mean IoU of the top boxes.

    Per image the ground-truth class's `top` prototypes by maximum of the map (all, if fewer);
    maps average-pooled 2 x 2 (left out where the grid has a side of one cell), upsampled
    bilinearly to the image, one box at each first maximum, not clipped; mean IoU of all pairs.

    Args:
        top: Prototypes per image.
        box: Side of the boxes, in pixels of a 224 x 224 image; it is scaled with the image.
    """

    placed = True
    title = "Distinctiveness"
    bounds = (0.0, 1.0)
    per_prototype = False
    protocol = "nonparam-2025"
    help = "1 minus the mean overlap of fixed boxes at the maxima of a class's prototypes."

    def __init__(self, top: int = 5, box: int = 72) -> None:
        super().__init__()
        self.top = top
        self.box = box

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        super().setup(shape)
        self.size = shape.size
        self.side = scaled(self.box, shape.size)
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on; the box in pixels of the `size` x `size` image."""
        return {
            "top": self.top,
            "box": self.side,
            "size": self.size,
            "pooling": 2,
            "upsampling": "bilinear",
        }

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        self.update(seen.maps, seen.batch["label"], seen.counts)

    def update(
        self, maps: Tensor, labels: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add a batch of maps (B, k, H, W) of one class's prototypes; for the rest see `add`."""
        if maps.shape[1] < 2:
            return
        chosen = strongest(maps.float(), self.top)
        if min(chosen.shape[2:]) >= 2:
            chosen = avg_pool2d(chosen, 2)
        overlap = box_iou(peak(chosen, (self.size, self.size), "bilinear"), self.side)
        self.add(1 - overlap, labels, counts)
