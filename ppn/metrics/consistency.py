"""Does a prototype find the same part again (protocol `evalprotopnet-2023`)?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.resampling import DRAWS
from ppn.metrics.windows import WindowMetric, draw_again, mean_over_prototypes, window_values

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation
    from ppn.metrics.resampling import Values

SWEEP_THRESHOLDS = (0.6, 0.7, 0.8, 0.9)


class ConsistencyResult(NamedTuple):
    """What `Consistency.compute` returns, of all processes.

    `score` () consistent prototypes in percent; `sweep` (4, 4) the same over SWEEP_HALF_SIZES x
    SWEEP_THRESHOLDS; `consistent` (C, k) bool; `best_part` (C, k) int64, the part that each
    prototype covers most often where visible, the first of equals; `best_share` (C, k) float64 in
    [0, 1], how often; `images` (C,) int64, the images of each class; `draws` (R,) the score over
    images drawn again. Rows of classes without images are False, 0 and 0, and do not enter the
    scores; without any image the scores are 0.
    """

    score: Tensor
    sweep: Tensor
    consistent: Tensor
    best_part: Tensor
    best_share: Tensor
    images: Tensor
    draws: Tensor

    def covered(self, label: int, index: int) -> tuple[int, float, bool] | None:
        """Return part, share and whether it is consistent of one prototype.

        Returns:
            None where the class has no images, or the prototype, a remainder, no place.
        """
        if not bool(self.images[label] > 0) or index >= self.best_part.shape[1]:
            return None
        key = label, index
        best = int(self.best_part[key]), float(self.best_share[key])
        return (*best, bool(self.consistent[key]))


class Consistency(WindowMetric):
    """Share of prototypes that cover one part in most of their class's images.

    Per prototype and part: a = images where the part is visible and in the window around the
    map's maximum, over images where it is visible. A prototype is consistent when a reaches the
    threshold for any part. Only the ground-truth class's prototypes count, whether or not the
    prediction is right. Equal for every batch size and number of processes: all states are counts.

    Args:
        half_size: Half the window's side, in pixels of a 224 x 224 image; it is scaled with the
            image.
        threshold: Least share a of a consistent prototype, in (0, 1].
    """

    title = "Consistency"
    help = (
        "Share of prototypes whose maximum covers the same annotated part in most of their "
        "class's images."
    )
    needs = frozenset({"keypoints", "peaks"})

    hits: Tensor
    visible: Tensor
    drawn_hits: Tensor
    drawn_visible: Tensor

    def __init__(self, half_size: int = 36, threshold: float = 0.8) -> None:
        super().__init__(half_size)
        self.threshold = threshold

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states.

        Raises:
            DataError: If no parts are annotated.
        """
        super().setup(shape)
        parts = len(shape.part_names)
        hits = torch.zeros(
            len(self.half_sizes), shape.num_classes, shape.k, parts, dtype=torch.long
        )
        visible = torch.zeros(shape.num_classes, parts, dtype=torch.long)
        self.add_state("hits", hits, dist_reduce_fx="sum")
        self.add_state("visible", visible, dist_reduce_fx="sum")
        drawn = torch.zeros(DRAWS, shape.num_classes, shape.k, parts, dtype=torch.float64)
        self.add_state("drawn_hits", drawn, dist_reduce_fx="sum")
        self.add_state("drawn_visible", drawn[:, :, 0].clone(), dist_reduce_fx="sum")
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on; half sizes in pixels of the `size` x `size` image."""
        thresholds = list(SWEEP_THRESHOLDS)
        return super().constants | {"threshold": self.threshold, "sweep_thresholds": thresholds}

    def observe(self, seen: Observation) -> None:
        """Add a batch; it must hold peaks."""
        assert seen.peaks is not None
        self.update(seen.peaks, seen.batch["keypoints"], seen.batch["label"], seen.counts)

    def update(
        self, maps: Tensor, keypoints: Tensor, labels: Tensor, counts: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W) maps of the ground-truth class's prototypes; or (B, k, 2) int64,
                their maxima as `peak` gives them, so that metrics can share them.
            keypoints: (B, P, 3) x, y in pixels of the image, and visibility.
            labels: (B,) ground-truth classes.
            counts: (B, R) of `image_counts`; None: nothing is drawn again.
        """
        hits, visible = self._hits(maps, keypoints), keypoints[..., 2] > 0
        self.hits.index_add_(1, labels, hits.long())
        self.visible.index_add_(0, labels, visible.long())
        self._count(labels)
        if counts is not None:
            draw_again(self.drawn_hits, hits[0], labels, counts)
            draw_again(self.drawn_visible, visible, labels, counts)

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
            draws=self._draws(),
        )

    def _draws(self) -> Tensor:
        # A class that is not drawn has no share, and does not enter that draw's mean.
        share = self.drawn_hits / self.drawn_visible.clamp(min=1)[:, :, None]
        consistent, drawn = share.amax(-1) >= self.threshold, self.drawn_visible.any(-1)
        per_class = consistent.double().mean(-1) * drawn
        return 100 * per_class.sum(-1) / drawn.sum(-1).clamp(min=1)

    def values(self, result: ConsistencyResult) -> Values:
        """Return 0 or 100 for each prototype, and their means."""
        return window_values(result.consistent, result.images, result.draws)

    def figures(self, result: ConsistencyResult) -> dict[str, Any]:
        """Return the score, its standard error in percent, and the sweep."""
        count = int((result.images > 0).sum()) * result.consistent.shape[1]
        share = float(result.score) / 100
        return {
            self.key: float(result.score),
            # Over prototypes, as if they were independent draws.
            f"{self.key}_standard_error": 100 * (share * (1 - share) / max(1, count)) ** 0.5,
            f"{self.key}_sweep": result.sweep.tolist(),
        }
