"""Do an image's prototypes look at different places?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d
from torchmetrics import Metric

from ppn.metrics.maps import cell_peak, peak
from ppn.metrics.protocol import scaled

if TYPE_CHECKING:
    from ppn.metrics.protocol import Constants


class DistinctResult(NamedTuple):
    """A score () in [0, 1] and how many images () it is the mean of.

    With one prototype per class nothing can coincide: then `images` is 0 and `score`, which
    means nothing, is 0.
    """

    score: Tensor
    images: Tensor


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


def coinciding_share(maps: Tensor) -> Tensor:
    """Share of prototype pairs whose maxima lie in the same cell: (B, k, H, W) -> (B,) float64."""
    cells = cell_peak(maps)
    first, second = torch.triu_indices(cells.shape[1], cells.shape[1], 1, device=cells.device)
    return (cells[:, first] == cells[:, second]).double().mean(1)


class _MeanOverImages(Metric):
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        self.total += values.sum()
        self.images += len(values)

    def compute(self) -> DistinctResult:
        """1 - the mean over all images; a collective call: every process must make it."""
        score = (self.images - self.total) / self.images.clamp(min=1)
        return DistinctResult(score, self.images.clone())


class Distinctiveness(_MeanOverImages):
    """Protocol `nonparam-2025` (proto-non-param, CVPR 2025): 1 - mean IoU of the top boxes.

    Per image the ground-truth class's `top` prototypes by maximum of the map (all, if fewer);
    maps average-pooled 2 x 2 (left out where the grid has a side of one cell), upsampled
    bilinearly to the image, one box at each first maximum, not clipped; mean IoU of all pairs.

    Args:
        top: Prototypes per image.
        box: Side of the boxes, in pixels of a 224 x 224 image (scaled with `size`).
        size: Side of the square input image in pixels.
    """

    protocol: ClassVar[str] = "nonparam-2025"

    def __init__(self, top: int = 5, box: int = 72, size: int = 224) -> None:
        super().__init__()
        self.top = top
        self.box = scaled(box, size)
        self.size = size

    @property
    def constants(self) -> Constants:
        """What the numbers depend on; the box in pixels of the `size` x `size` image."""
        return {
            "top": self.top,
            "box": self.box,
            "size": self.size,
            "pooling": 2,
            "upsampling": "bilinear",
        }

    def update(self, maps: Tensor) -> None:
        """Add a batch of maps (B, k, H, W) of the ground-truth class's prototypes."""
        if maps.shape[1] < 2:
            return
        chosen = strongest(maps.float(), self.top)
        if min(chosen.shape[2:]) >= 2:
            chosen = avg_pool2d(chosen, 2)
        self._add(box_iou(peak(chosen, (self.size, self.size), "bilinear"), self.box))


class DistinctPeaks(_MeanOverImages):
    """1 - the share of prototype pairs whose maxima lie in the same cell of the grid (ours).

    The measure by which strategies of refinement are compared; needs no image size.
    """

    protocol: ClassVar[str] = "distinct_peaks"

    @property
    def constants(self) -> Constants:
        """Nothing: the definition has no free number."""
        return {}

    def update(self, maps: Tensor) -> None:
        """Add a batch of maps (B, k, H, W) of one class's prototypes per image."""
        if maps.shape[1] >= 2:
            self._add(coinciding_share(maps))
