"""Does noise leave the parts that a prototype covers (protocol `evalprotopnet-2023`)?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.noise import NOISE_CLIP, NOISE_STD
from ppn.metrics.resampling import DRAWS
from ppn.metrics.windows import WindowMetric, draw_again, mean_over_prototypes, window_values

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation
    from ppn.metrics.resampling import Values


class StabilityResult(NamedTuple):
    """What `Stability.compute` returns, of all processes.

    `score` () in percent; `sweep` (4,) the same over SWEEP_HALF_SIZES; `empty_share` () share, in
    [0, 1], of the pairs of prototype and image where no part was covered both times (they count
    as stable); `stable_share` (C, k) float64 in [0, 1]; `images` (C,) int64; `draws` (R,) the score
    over images drawn again. Classes without images do not enter the scores; without any image the
    scores are 0.
    """

    score: Tensor
    sweep: Tensor
    empty_share: Tensor
    stable_share: Tensor
    images: Tensor
    draws: Tensor


class Stability(WindowMetric):
    """Share of images on which noise leaves the parts that a prototype covers as they were.

    Per prototype the share of its class's images whose covered parts are the same, in all P
    entries, on the image and on the image plus `stability_noise`. A map that does
    not depend on the image is perfectly stable: read this score beside consistency.

    Args:
        half_size: Half the window's side, in pixels of a 224 x 224 image; it is scaled with the
            image.
    """

    title = "Stability"
    help = (
        "Share of images on which noise does not change the parts that a prototype covers. Maps "
        "that ignore the image are perfectly stable: read it beside consistency."
    )
    needs = frozenset({"keypoints", "noise", "peaks"})

    stable: Tensor
    empty: Tensor
    drawn_stable: Tensor
    drawn_images: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states.

        Raises:
            DataError: If no parts are annotated.
        """
        super().setup(shape)
        self.k = shape.k
        stable = torch.zeros(len(self.half_sizes), shape.num_classes, shape.k, dtype=torch.long)
        self.add_state("stable", stable, dist_reduce_fx="sum")
        drawn = torch.zeros(DRAWS, shape.num_classes, shape.k, dtype=torch.float64)
        self.add_state("drawn_stable", drawn, dist_reduce_fx="sum")
        self.add_state("drawn_images", drawn[:, :, 0].clone(), dist_reduce_fx="sum")
        self.add_state("empty", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on; half sizes in pixels of the `size` x `size` image."""
        return super().constants | {"noise_std": NOISE_STD, "noise_clip": NOISE_CLIP}

    def observe(self, seen: Observation) -> None:
        """Add a batch; it must hold the peaks of both images."""
        assert seen.peaks is not None
        assert seen.noisy_peaks is not None
        batch = seen.batch
        self.update(seen.peaks, seen.noisy_peaks, batch["keypoints"], batch["label"], seen.counts)

    def update(
        self,
        maps: Tensor,
        noisy_maps: Tensor,
        keypoints: Tensor,
        labels: Tensor,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch: arguments of `Consistency.update`, and the noisy images' maps or maxima."""
        clean, noisy = self._hits(maps, keypoints), self._hits(noisy_maps, keypoints)
        stable = (clean == noisy).all(-1)
        self.stable.index_add_(1, labels, stable.long())
        if counts is not None:
            draw_again(self.drawn_stable, stable[0], labels, counts)
            draw_again(self.drawn_images, torch.ones_like(labels), labels, counts)
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
            draws=self._draws(),
        )

    def _draws(self) -> Tensor:
        # A class that is not drawn has no share, and does not enter that draw's mean.
        share = self.drawn_stable.mean(-1) / self.drawn_images.clamp(min=1)
        return 100 * share.sum(-1) / (self.drawn_images > 0).sum(-1).clamp(min=1)

    def values(self, result: StabilityResult) -> Values:
        """Return the stable share of each prototype in percent, and their means."""
        return window_values(result.stable_share, result.images, result.draws)

    def figures(self, result: StabilityResult) -> dict[str, Any]:
        """Return the score, and the share of pairs with nothing covered."""
        return {
            self.key: float(result.score),
            f"{self.key}_empty_share": float(result.empty_share),
        }
