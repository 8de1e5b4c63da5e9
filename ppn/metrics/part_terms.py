"""Does a part's term live where its map says (part-term deletion, ours)?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ppn.errors import PPNError
from ppn.metrics.means import MeanMetric
from ppn.metrics.regions import BLUR_KERNEL, BLUR_SIGMA, blurred, largest, upsampled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ppn.metrics.base import Ends, Observation
    from ppn.metrics.probe import Probe


_NOTHING = 1e-3
"""Sum of terms, over the spread of the image's logits, up to which there is nothing to share."""


def term_score(before: Tensor, after: Tensor, parts: Tensor) -> Tensor:
    """(D_ii - mean over j != i of D_ij) / sum_j |contribution_j|, D being the fall of a term.

    Args:
        before: (B, k) contributions on the image, k >= 2.
        after: (B, k, k) contributions on the image changed for each of k parts.
        parts: (k,) whose own term each change is held against.

    Returns:
        (B, k) float64; NaN where all contributions are 0.
    """
    fall = before.double()[:, None] - after.double()
    k = before.shape[1]
    own = fall[:, torch.arange(k, device=fall.device), parts]
    others = (fall.sum(2) - own) / (k - 1)
    return (own - others) / before.double().abs().sum(1, keepdim=True)


def random_windows(indices: Tensor, k: int, size: tuple[int, int], share: float) -> Tensor:
    """(B, k, *size) bool: windows of the image's proportions, from each image's index alone."""
    height, width = (max(1, round(side * share**0.5)) for side in size)
    windows = torch.zeros(len(indices), k, *size, dtype=torch.bool)
    for row, index in zip(windows, indices.tolist(), strict=True):
        rng = np.random.default_rng([index, k])
        for window in row:
            y, x = rng.integers(size[0] - height + 1), rng.integers(size[1] - width + 1)
            window[y : y + height, x : x + width] = True
    return windows.to(indices.device)


class PartTermDeletion(MeanMetric):
    """Blur the pixels of a part: does its own term fall, and the others' stay?

    For each part of the predicted class the `share` of pixels in which its map, upsampled
    bicubically, is largest. Beside the score the same for a random window of that area, and for
    the mask of the next part: what says nothing of the part must score lower. Explainers without
    contributions, or of one map, have no score; nor have images whose terms are next to nothing
    (in sum at most a thousandth of the standard deviation of the image's logits).

    Args:
        share: Share of the pixels, in (0, 1).
    """

    title = "Part-term deletion"
    protocol = "part-term-deletion"
    help = (
        "How much more a part's own term falls than the others' when its place is blurred, in "
        "shares of the sum of absolute terms."
    )
    needs = frozenset({"model"})

    others: ClassVar[Mapping[str, Ends]] = {
        "random_window": (None, None),
        "other_part": (None, None),
    }

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise PPNError(f"share of {self.key} is {share}, but must be between 0 and 1.")
        self.share = share

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"share": self.share, "blur_kernel": BLUR_KERNEL, "blur_sigma": BLUR_SIGMA}

    def observe(self, seen: Observation) -> None:
        """Add a batch, if there are two terms to tell apart."""
        assert seen.probe is not None
        found = seen.probe.attribution
        if found.contributions is not None and found.contributions.shape[1] > 1:
            self.update(seen.probe, seen.probe.predicted, seen.counts)

    def update(
        self, probe: Probe, labels: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add a batch; for `labels` and `counts` see `add`."""
        before = probe.attribution.contributions
        assert before is not None
        images, k = probe.inputs.images, before.shape[1]
        size = (images.shape[2], images.shape[3])
        masks = largest(upsampled(probe.attribution.maps, size), self.share)
        windows = random_windows(probe.inputs.indices, k, size, self.share)
        after, elsewhere = (self._after(probe, where) for where in (masks, windows))
        parts = torch.arange(k, device=before.device)
        score = term_score(before, after, parts)
        told = before.abs().sum(1) > _NOTHING * probe.logits.std(1)
        score = torch.where(told[:, None], score, torch.nan)
        known = ~score.isnan()
        window = term_score(before, elsewhere, parts)
        self.add_other("random_window", window, labels, counts, known)
        other = term_score(before, after, (parts + 1) % k)
        self.add_other("other_part", other, labels, counts, known)
        self.add(score, labels, counts, known)

    @staticmethod
    def _after(probe: Probe, masks: Tensor) -> Tensor:
        """(B, k, k): the terms on images of which each of k masks (B, k, H, W) was blurred."""
        images, (count, k) = probe.inputs.images, masks.shape[:2]
        soft = blurred(images)
        changed = torch.where(masks[:, :, None], soft[:, None], images[:, None]).flatten(0, 1)
        rows = torch.arange(count, device=images.device).repeat_interleave(k)
        terms = probe.terms(changed, rows, probe.predicted[rows])
        assert terms is not None
        return terms.reshape(count, k, k)
