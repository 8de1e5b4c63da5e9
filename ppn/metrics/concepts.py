"""What becomes of a prediction as its prototypes are removed, or added, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import Tensor

from ppn.metrics.curves import CurveMetric, area

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from ppn.metrics.base import Ends, EvaluationShape, Observation


def logit_curves(logits: Tensor, contributions: Tensor, order: Tensor, inserts: bool) -> Tensor:
    """The predicted class's logit without some of its prototypes.

    Args:
        logits: (B,) of the predicted class, with all of them.
        contributions: (B, k) to it.
        order: (B, k) which prototype comes first, second and so on.
        inserts: Whether they are added to none instead of taken from all.

    Returns:
        (B, k + 1) float64.
    """
    sorted_ = contributions.double().gather(1, order)
    running = torch.nn.functional.pad(sorted_.cumsum(1), (1, 0))
    if inserts:
        return (logits.double() - sorted_.sum(1))[:, None] + running
    return logits.double()[:, None] - running


def random_order(indices: Tensor, k: int, seed: int) -> Tensor:
    """(B, k) int64, a random order for each image, from (seed, index) alone."""
    drawn = [np.random.default_rng([seed, index]).permutation(k) for index in indices.tolist()]
    return torch.from_numpy(np.array(drawn).reshape(-1, k)).to(indices.device)


class ConceptDeletion(CurveMetric):
    """Area under the probability's curve as prototypes are removed, the largest contribution first.

    Removing a prototype of the predicted class takes its contribution from that class's logit and
    leaves the others, so that nothing has to be run again. Of explainers without contributions
    there is none.

    Args:
        seed: Seed of the random order that it is compared with.
    """

    title = "Concept deletion"
    bounds = (0.0, 1.0)
    higher_is_better = False
    protocol = "concept-deletion"
    help = "Mean probability of the predicted class as its prototypes are removed, largest first."
    needs = frozenset({"model"})
    inserts = False

    others: ClassVar[Mapping[str, Ends]] = {"random": (0, 1)}

    right: Tensor

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self._expect_seed()

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        self.add_curve_state(shape.num_classes, shape.k)
        points = torch.zeros(shape.k + 1, dtype=torch.float64)
        self.add_state("right", points, dist_reduce_fx="sum")
        return super().setup(shape)

    def observe(self, seen: Observation) -> None:
        """Add a batch, if the predicted classes have contributions."""
        assert seen.probe is not None
        contributions = seen.probe.attribution.contributions
        if contributions is not None:
            batch, logits = seen.batch, seen.blackbox_logits
            self.update(contributions, logits, batch["label"], batch["index"], seen.counts)

    def update(
        self,
        contributions: Tensor,
        logits: Tensor,
        labels: Tensor,
        indices: Tensor,
        counts: Tensor | None = None,
    ) -> None:
        """Add a batch.

        Args:
            contributions: (B, k) to the logit of the class with the largest one.
            logits: (B, C) the classifier's own.
            labels: (B,) ground-truth classes.
            indices: (B,) of each image in its data set.
            counts: See `add`.
        """
        if not len(labels):
            return
        largest = contributions.argsort(dim=1, descending=True, stable=True)
        if self.inserts:
            largest = largest.flip(1)
        chance, right = self._curves(contributions, logits, largest, labels)
        order = random_order(indices, contributions.shape[1], self.seed)
        at_random, _ = self._curves(contributions, logits, order, labels)
        self.right += right.double().sum(0)
        self.add_other("random", area(at_random), labels, counts)
        self.add_curves(chance, labels, counts)

    def _curves(
        self, contributions: Tensor, logits: Tensor, order: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, k + 1) probability of the predicted class, and whether the prediction is right."""
        top = logits.argmax(1)
        own = logits.gather(1, top[:, None])[:, 0]
        changed = logits.double()[:, None].repeat(1, order.shape[1] + 1, 1)
        curve = logit_curves(own, contributions, order, self.inserts)
        at = top[:, None, None].expand(-1, changed.shape[1], 1)
        changed.scatter_(2, at, curve[..., None])
        chance = changed.softmax(2).gather(2, at)[..., 0]
        return chance, changed.argmax(2) == labels[:, None]

    def further(self) -> dict[str, Tensor]:
        """Return curves (k + 1,) of probability and accuracy."""
        return {**super().further(), "accuracy": self.right / self.images.clamp(min=1)}


class ConceptInsertion(ConceptDeletion):
    """Area under the probability's curve as prototypes are added to none, the smallest first.

    The order is that of deletion, the other way round.

    Args:
        seed: Seed of the random order that it is compared with.
    """

    title = "Concept insertion"
    protocol = "concept-insertion"
    help = "Mean probability of the predicted class as its prototypes are added, smallest first."
    inserts = True
