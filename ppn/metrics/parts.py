"""Protocol `evalprotopnet-2023`: does a prototype find the same part, again and under noise?

Huang et al., "Evaluation and Improvement of Interpretability for Self-Explainable Part-Prototype
Networks", ICCV 2023.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from ppn.errors import DataError
from ppn.metrics.maps import peak
from ppn.metrics.noise import NOISE_CLIP, NOISE_STD
from ppn.metrics.protocol import scaled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.metrics.protocol import Constants

SWEEP_HALF_SIZES = (18, 27, 36, 45)
SWEEP_THRESHOLDS = (0.6, 0.7, 0.8, 0.9)


class ConsistencyResult(NamedTuple):
    """What `Consistency.compute` returns, of all processes.

    `score` () consistent prototypes in percent; `sweep` (4, 4) the same over SWEEP_HALF_SIZES x
    SWEEP_THRESHOLDS; `consistent` (C, k) bool; `best_part` (C, k) int64, the part that each
    prototype covers most often where visible, the first of equals; `best_share` (C, k) float64 in
    [0, 1], how often; `images` (C,) int64, the images of each class. Rows of classes without
    images are False, 0 and 0, and do not enter the scores; without any image the scores are 0.
    """

    score: Tensor
    sweep: Tensor
    consistent: Tensor
    best_part: Tensor
    best_share: Tensor
    images: Tensor


class StabilityResult(NamedTuple):
    """What `Stability.compute` returns, of all processes.

    `score` () in percent; `sweep` (4,) the same over SWEEP_HALF_SIZES; `empty_share` () share, in
    [0, 1], of the pairs of prototype and image where no part was covered both times (they count
    as stable); `stable_share` (C, k) float64 in [0, 1]; `images` (C,) int64. Classes without
    images do not enter the scores; without any image the scores are 0.
    """

    score: Tensor
    sweep: Tensor
    empty_share: Tensor
    stable_share: Tensor
    images: Tensor


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


class _PartMetric(Metric):
    """What consistency and stability share: the window's sizes, and images per class."""

    protocol: ClassVar[str] = "evalprotopnet-2023"
    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    images: Tensor

    def __init__(self, num_classes: int, k: int, num_parts: int, half_size: int, size: int) -> None:
        super().__init__()
        if num_parts < 1:
            raise DataError(
                f"{type(self).__name__} needs part annotations but num_parts is {num_parts}: "
                "use a data set with keypoints, or leave this metric out."
            )
        self.k = k
        self.size = size
        # The score's own window first, then those of the sweep.
        self.half_sizes = [scaled(h, size) for h in (half_size, *SWEEP_HALF_SIZES)]
        self.add_state("images", torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    @property
    def constants(self) -> Constants:
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


class Consistency(_PartMetric):
    """Share of prototypes that cover one part in most of their class's images.

    Per prototype and part: a = images where the part is visible and in the window around the
    map's maximum, over images where it is visible. A prototype is consistent when a reaches the
    threshold for any part. Only the ground-truth class's prototypes count, whether or not the
    prediction is right. Equal for every batch size and number of processes: all states are counts.

    Args:
        num_classes: Number of classes C.
        k: Prototypes per class k.
        num_parts: Annotated parts P, at least 1.
        half_size: Half the window's side, in pixels of a 224 x 224 image (scaled with `size`).
        threshold: Least share a of a consistent prototype, in (0, 1].
        size: Side of the square input image in pixels.
    """

    hits: Tensor
    visible: Tensor

    def __init__(
        self,
        num_classes: int,
        k: int,
        num_parts: int,
        half_size: int = 36,
        threshold: float = 0.8,
        size: int = 224,
    ) -> None:
        super().__init__(num_classes, k, num_parts, half_size, size)
        self.threshold = threshold
        shape = (len(self.half_sizes), num_classes, k, num_parts)
        self.add_state("hits", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        parts = torch.zeros(num_classes, num_parts, dtype=torch.long)
        self.add_state("visible", parts, dist_reduce_fx="sum")

    @property
    def constants(self) -> Constants:
        """What the numbers depend on; half sizes in pixels of the `size` x `size` image."""
        thresholds = list(SWEEP_THRESHOLDS)
        return super().constants | {"threshold": self.threshold, "sweep_thresholds": thresholds}

    def update(self, maps: Tensor, keypoints: Tensor, labels: Tensor) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W) maps of the ground-truth class's prototypes; or (B, k, 2) int64,
                their maxima as `peak` gives them, so that metrics can share them.
            keypoints: (B, P, 3) x, y in pixels of the image, and visibility.
            labels: (B,) ground-truth classes.
        """
        self.hits.index_add_(1, labels, self._hits(maps, keypoints).long())
        self.visible.index_add_(0, labels, (keypoints[..., 2] > 0).long())
        self._count(labels)

    def compute(self) -> ConsistencyResult:
        """Scores over all images; a collective call: every process must make it."""
        share = self.hits.double() / self.visible.clamp(min=1)[:, None]
        best, part = share.max(-1)  # (W, C, k)
        thresholds = best.new_tensor(SWEEP_THRESHOLDS)[:, None, None]
        consistent = best[0] >= self.threshold
        return ConsistencyResult(
            score=mean_over_prototypes(consistent, self.images),
            sweep=mean_over_prototypes(best[1:, None] >= thresholds, self.images),
            consistent=consistent,
            best_part=part[0],
            best_share=best[0],
            images=self.images.clone(),
        )


class Stability(_PartMetric):
    """Share of images on which noise leaves the parts that a prototype covers as they were.

    Per prototype the share of its class's images whose covered parts are the same, in all P
    entries, on the image and on the image plus `stability_noise`. A map that does
    not depend on the image is perfectly stable: read this score beside consistency.

    Args:
        num_classes: Number of classes C.
        k: Prototypes per class k.
        num_parts: Annotated parts P, at least 1.
        half_size: Half the window's side, in pixels of a 224 x 224 image (scaled with `size`).
        size: Side of the square input image in pixels.
    """

    stable: Tensor
    empty: Tensor

    def __init__(
        self,
        num_classes: int,
        k: int,
        num_parts: int,
        half_size: int = 36,
        size: int = 224,
    ) -> None:
        super().__init__(num_classes, k, num_parts, half_size, size)
        shape = (len(self.half_sizes), num_classes, k)
        self.add_state("stable", torch.zeros(shape, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("empty", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    @property
    def constants(self) -> Constants:
        """What the numbers depend on; half sizes in pixels of the `size` x `size` image."""
        return super().constants | {"noise_std": NOISE_STD, "noise_clip": NOISE_CLIP}

    def update(self, maps: Tensor, noisy_maps: Tensor, keypoints: Tensor, labels: Tensor) -> None:
        """Add a batch: arguments of `Consistency.update`, and the noisy images' maps or maxima."""
        clean, noisy = self._hits(maps, keypoints), self._hits(noisy_maps, keypoints)
        self.stable.index_add_(1, labels, (clean == noisy).all(-1).long())
        self.empty += (~(clean[0] | noisy[0])).all(-1).sum()
        self._count(labels)

    def compute(self) -> StabilityResult:
        """Scores over all images; a collective call: every process must make it."""
        share = self.stable.double() / self.images.clamp(min=1)[:, None]
        scores = mean_over_prototypes(share, self.images)
        pairs = self.images.sum() * self.k
        return StabilityResult(
            score=scores[0],
            sweep=scores[1:],
            empty_share=self.empty.double() / pairs.clamp(min=1),
            stable_share=share[0],
            images=self.images.clone(),
        )
