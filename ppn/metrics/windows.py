"""Which annotated parts lie around the maxima of maps (protocol `evalprotopnet-2023`).

Huang et al., "Evaluation and Improvement of Interpretability for Self-Explainable Part-Prototype
Networks", ICCV 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ppn.metrics.base import Metric
from ppn.metrics.maps import peak
from ppn.metrics.protocol import scaled
from ppn.metrics.resampling import Values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape

SWEEP_HALF_SIZES = (18, 27, 36, 45)


def part_hits(
    peaks: Tensor, keypoints: Tensor, half_sizes: Sequence[int], size: tuple[int, int]
) -> Tensor:
    """Which visible parts lie in the window around each peak.

    The window is [max(0, y* - h), min(S, y* + h)] and likewise in x, inclusive at both ends;
    keypoint coordinates are truncated towards zero, as int() does.

    Args:
        peaks: (B, k, 2) y, x in pixels.
        keypoints: (B, P, 3) x, y in pixels and visibility (positive: visible).
        half_sizes: W half sizes h of the window, in pixels.
        size: Height and width of the image in pixels.

    Returns:
        (W, B, k, P) bool.
    """
    # An invisible part's coordinates may be anything, NaN too: -1 is in no window.
    visible = keypoints[..., 2] > 0
    yx = torch.where(visible[..., None], keypoints[..., [1, 0]], -1).trunc().long()
    limit = torch.tensor(size, device=peaks.device)
    inside = ((yx >= 0) & (yx <= limit)).all(-1)
    distance = (yx[:, None] - peaks[:, :, None]).abs().amax(-1)
    return torch.stack([(distance <= h) & inside[:, None] for h in half_sizes])


def mean_over_prototypes(values: Tensor, images: Tensor) -> Tensor:
    """100 x the mean over the prototypes of the classes that had an image.

    Args:
        values: (..., C, k) bool, or shares in [0, 1].
        images: (C,) images of each class.

    Returns:
        (...) float64 in [0, 100]; 0 without any image.
    """
    per_class = values.double().mean(-1) * (images > 0)
    return 100 * per_class.sum(-1) / (images > 0).sum().clamp(min=1)


def window_values(shares: Tensor, images: Tensor, draws: Tensor) -> Values:
    """Return what a score is the mean of, in percent.

    Args:
        shares: (C, k) bool, or in [0, 1].
        images: (C,) images of each class.
        draws: (R,) the score over images drawn again, 0 throughout if none were.
    """
    known = torch.where(images[:, None] > 0, 100 * shares.double(), torch.nan)
    return Values(known.mean(1), known, draws if bool(draws.any()) else None)


def draw_again(state: Tensor, covered: Tensor, labels: Tensor, counts: Tensor) -> None:
    """Add what images show to the sums of their classes, as often as each draw has them.

    Args:
        state: (R, C, ...) float64, added to in place.
        covered: (B, ...) of each image.
        labels: (B,) their classes.
        counts: (B, R) of `image_counts`.
    """
    times = counts.T[:, :, None] * covered.double().reshape(len(covered), -1)
    state.view(*state.shape[:2], -1).index_add_(1, labels, times)


class WindowMetric(Metric):
    """What consistency and stability share: the window's sizes, and images per class.

    Args:
        half_size: Half the window's side, in pixels of a 224 x 224 image; it is scaled with the
            image.
    """

    unit = "%"
    placed = True
    bounds = (0.0, 100.0)
    protocol = "evalprotopnet-2023"

    images: Tensor

    def __init__(self, half_size: int = 36) -> None:
        super().__init__()
        self.half_size = half_size

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states.

        Raises:
            DataError: If no parts are annotated.
        """
        self.expect_parts(shape)
        self.size = shape.size
        # The score's own window first, then those of the sweep.
        self.half_sizes = [scaled(h, shape.size) for h in (self.half_size, *SWEEP_HALF_SIZES)]
        images = torch.zeros(shape.num_classes, dtype=torch.long)
        self.add_state("images", images, dist_reduce_fx="sum")
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on; half sizes in pixels of the `size` x `size` image."""
        return {
            "size": self.size,
            "half_size": self.half_sizes[0],
            "sweep_half_sizes": self.half_sizes[1:],
            "upsampling": "bicubic, a=-0.75",
        }

    def _hits(self, maps: Tensor, keypoints: Tensor) -> Tensor:
        """(W, B, k, P) bool for the score's window and the sweep's."""
        size = (self.size, self.size)
        peaks = peak(maps, size) if maps.dim() == 4 else maps
        return part_hits(peaks, keypoints, self.half_sizes, size)

    def _count(self, labels: Tensor) -> None:
        self.images.index_add_(0, labels, torch.ones_like(labels))
