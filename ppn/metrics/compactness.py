"""How few prototypes carry a decision?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.metrics.means import MeanMetric
from ppn.metrics.resampling import DRAWS, Values, known_draws

if TYPE_CHECKING:
    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation

OTHERS = ("negative_share", "gini", "hoyer")
"""Figures beside the score."""


class CompactnessResult(NamedTuple):
    """What `Compactness.compute` returns, of all processes; float64 scalars but for `images`.

    `negative_share` share of contributions below 0, in [0, 1]; `gini` in [0, 1 - 1/k] and `hoyer`
    in [0, 1], means over images; `effective` in [1, k], the mean number of prototypes needed for
    90 % of the positive logit, over the images with a positive contribution (0 if there are
    none); `images` int64. Without images all are 0. `total`, `known` and `drawn` are those of
    `effective`, as in `MeanResult`; `others` (3, C), `seen` (C,), `drawn_others` (3, R) and
    `drawn_seen` (R,) the same of the three that come first.
    """

    negative_share: Tensor
    gini: Tensor
    hoyer: Tensor
    effective: Tensor
    images: Tensor
    total: Tensor
    known: Tensor
    drawn: Tensor
    others: Tensor
    seen: Tensor
    drawn_others: Tensor
    drawn_seen: Tensor


def gini(contributions: Tensor) -> Tensor:
    """Gini coefficient of the contributions' absolute values: 0 all equal, 1 - 1/k one alone.

    Args:
        contributions: (B, k) real values.

    Returns:
        (B,) in [0, 1 - 1/k]; 0 where all are 0.
    """
    size = contributions.abs().sort(dim=1).values
    k = size.shape[1]
    rank = torch.arange(1, k + 1, device=size.device, dtype=size.dtype)
    total = size.sum(1)
    return _ratio((size * (2 * rank - k - 1)).sum(1), k * total)


def hoyer(contributions: Tensor) -> Tensor:
    """Hoyer's sparsity (sqrt(k) - L1 / L2) / (sqrt(k) - 1): 0 all equal, 1 one alone.

    Args:
        contributions: (B, k) real values.

    Returns:
        (B,) in [0, 1]; 0 where all are 0 or k = 1.
    """
    k = contributions.shape[1]
    norm = torch.linalg.vector_norm(contributions, dim=1)
    sparse = k**0.5 * norm - contributions.abs().sum(1)
    return _ratio(sparse, (k**0.5 - 1) * norm).clamp(0, 1)


def effective_prototypes(contributions: Tensor, share: float = 0.9) -> Tensor:
    """K_eff: least number of prototypes whose sum is `share` of the positive contributions' sum.

    Args:
        contributions: (B, k) real values.
        share: In (0, 1].

    Returns:
        (B,) int64 in [1, k]; 0 where no contribution is positive.
    """
    running = contributions.clamp(min=0).sort(dim=1, descending=True).values.cumsum(1)
    total = running[:, -1:]
    return ((running < share * total).sum(1) + 1) * (total[:, 0] > 0)


class Compactness(MeanMetric):
    """Negative share, Gini, Hoyer and K_eff of one class's contributions per image.

    Args:
        share: The share of the positive logit that K_eff asks for, in (0, 1].
    """

    key = "effective_prototypes"
    title = "Effective prototypes"
    higher_is_better = None
    protocol = "compactness"
    help = (
        "Mean number of prototypes needed for most of the positive logit: 1 where one alone "
        "decides, k where all count alike."
    )

    per_prototype = False

    others: Tensor
    seen: Tensor
    drawn_others: Tensor
    drawn_seen: Tensor

    def __init__(self, share: float = 0.9) -> None:
        super().__init__()
        self.share = share

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        count = len(OTHERS)
        for name, sizes in (
            ("others", (count, shape.num_classes)),
            ("seen", (shape.num_classes,)),
            ("drawn_others", (count, DRAWS)),
            ("drawn_seen", (DRAWS,)),
        ):
            self.add_state(name, torch.zeros(sizes, dtype=torch.float64), dist_reduce_fx="sum")
        return super().setup(shape)

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        return {"share": self.share, "gini_and_hoyer_of": "absolute contributions"}

    def observe(self, seen: Observation) -> None:
        """Add a batch, if it has contributions."""
        if seen.contributions is not None:
            self.update(seen.contributions, seen.batch["label"], seen.counts)

    def update(
        self, contributions: Tensor, labels: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add a batch: (B, k) contributions of one class per image, without the bias; see `add`."""
        values = contributions.double()
        effective = effective_prototypes(values, self.share)
        self.add(effective, labels, counts, effective > 0)
        others = torch.stack([(values < 0).double().mean(1), gini(values), hoyer(values)])
        classes = torch.zeros(len(values), dtype=torch.long) if labels is None else labels
        classes = classes.to(values.device)
        self.others.index_add_(1, classes, others)
        self.seen.index_add_(0, classes, torch.ones_like(others[0]))
        if counts is not None:
            self.drawn_others += others @ counts
            self.drawn_seen += counts.sum(0)

    def compute(self) -> CompactnessResult:  # type: ignore[override]
        """Means over all images; a collective call: every process must make it."""
        images = self.seen.sum()
        mean = super().compute()
        negative_share, gini, hoyer = self.others.sum(1) / images.clamp(min=1)
        return CompactnessResult(
            negative_share,
            gini,
            hoyer,
            effective=mean.score,
            images=images.long(),
            total=mean.total,
            known=mean.known,
            drawn=mean.drawn,
            others=self.others.clone(),
            seen=self.seen.clone(),
            drawn_others=self.drawn_others.clone(),
            drawn_seen=self.drawn_seen.clone(),
        )

    def figures(self, result: Any) -> dict[str, Any]:  # noqa: ANN401 - as the base
        """Return the four means; None where there were no contributions."""
        known = int(result.images) > 0
        told = {name: getattr(result, name) for name in OTHERS} | {self.key: result.effective}
        return {name: float(value) if known else None for name, value in told.items()}

    def beside(self, result: CompactnessResult) -> dict[str, Values]:
        """Return the means of classes and of draws of the other three."""
        classes = result.others / result.seen
        draws = result.drawn_others / result.drawn_seen
        return {
            name: Values(classes[place], draws=known_draws(draws[place]))
            for place, name in enumerate(OTHERS)
        }


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Part over whole, 0 where the whole is 0."""
    return torch.where(whole == 0, 0, part / whole)
