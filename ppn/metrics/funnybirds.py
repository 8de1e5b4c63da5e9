"""The FunnyBirds protocol: explanations against what the classifier does without a part.

Hesse, Schaub-Meyer and Roth, "FunnyBirds: A Synthetic Vision Dataset for a Part-Based Analysis of
Explainable AI Methods", ICCV 2023; constants are those of its authors' code.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ppn.explainers.base import Attribution
from ppn.metrics.base import Metric
from ppn.metrics.changed import Changed
from ppn.metrics.part_importance import (
    covered_share,
    evidence,
    importance,
    margin,
    minimal_sufficient_sets,
    rivals,
)
from ppn.metrics.randomisation import rank_correlation
from ppn.metrics.resampling import DRAWS, Values, known_draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation
    from ppn.metrics.part_importance import Rivals
    from ppn.metrics.probe import Probe

THRESHOLDS = (0.01, 0.50, 80)
"""First, last and number of the shares of all evidence from which on a part is important."""
RELEVANT = 0.05
"""Share of the logit that must be lost without a part or object that matters."""


class FunnyBirdsResult(NamedTuple):
    """What `compute` returns, all float64: sums over each class's images, and their numbers.

    `checks` (4, C, T): controlled synthetic data check, preservation check, deletion check and
    distractibility at each threshold, `checked` (4, C); `others` (3, C): single deletion, target
    sensitivity and background independence, `others_known` (3, C). `drawn` (R, 4, T), `drawn_known`
    (R, 4), `drawn_others` (R, 3) and `drawn_others_known` (R, 3) are the same over images drawn
    again, of all classes.
    """

    checks: Tensor
    checked: Tensor
    others: Tensor
    others_known: Tensor
    drawn: Tensor
    drawn_known: Tensor
    drawn_others: Tensor
    drawn_others_known: Tensor


class FunnyBirdsProtocol(Metric):
    """The mean of completeness, correctness and contrastivity of the FunnyBirds framework.

    Parts and objects of the background are taken away one by one and together, and the classifier
    says what they were worth. It needs a data set that has such images: `SyntheticBirds`, or the
    complete FunnyBirds. The threshold is the one that is best for completeness, as its authors
    choose it: on the very images that are scored.
    """

    title = "FunnyBirds"
    bounds = (0.0, 1.0)
    protocol = "funnybirds-2023"
    help = (
        "Mean of completeness, correctness (single deletion) and contrastivity (target "
        "sensitivity), against what the classifier says without parts."
    )
    needs = frozenset({"model", "interventions"})

    checks: Tensor
    checked: Tensor
    others: Tensor
    others_known: Tensor
    drawn: Tensor
    drawn_known: Tensor
    drawn_others: Tensor
    drawn_others_known: Tensor

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states."""
        self.size, count = shape.size, shape.num_classes
        for name, sizes in (
            ("checks", (4, count, THRESHOLDS[2])),
            ("checked", (4, count)),
            ("others", (3, count)),
            ("others_known", (3, count)),
            ("drawn", (DRAWS, 4, THRESHOLDS[2])),
            ("drawn_known", (DRAWS, 4)),
            ("drawn_others", (DRAWS, 3)),
            ("drawn_others_known", (DRAWS, 3)),
        ):
            self.add_state(name, torch.zeros(sizes, dtype=torch.float64), dist_reduce_fx="sum")
        self._sufficient: dict[int, Tensor] = {}
        self._rivals: dict[int, Rivals | None] = {}
        return self

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on; the margin around parts is in pixels."""
        first, last, count = THRESHOLDS
        return {
            "thresholds": f"{count} from {first} to {last}, the best on these images",
            "relevant": RELEVANT,
            "margin": margin(self.size),
            "evidence": "contributions where maps have their sign, bilinear",
        }

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        assert seen.probe is not None
        found = Attribution(seen.maps, seen.contributions)
        self.update(seen.probe, seen.batch["label"], found, seen.counts)

    def update(
        self, probe: Probe, labels: Tensor, found: Attribution, counts: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            probe: The batch; it has interventions.
            labels: (B,) ground-truth classes.
            found: What the explainer says of them.
            counts: (B, R) of `image_counts`; None: nothing is drawn again.
        """
        if not len(labels):
            return
        times = labels.new_zeros(len(labels), DRAWS).double() if counts is None else counts
        changed: Changed = probe.once("interventions", lambda: Changed(probe))
        size = (probe.inputs.images.shape[2], probe.inputs.images.shape[3])

        def important(said: Attribution) -> tuple[Tensor, Tensor]:
            """Importance (B, M) of parts and objects, and (B, T, M) whether it is enough."""
            where = evidence(said, size)
            worth = importance(where, changed.regions)
            levels = torch.linspace(*THRESHOLDS, dtype=torch.float64, device=worth.device)
            least = where.double().sum((1, 2))[:, None] * levels
            return worth, worth[:, None] > least[:, :, None]

        k = changed.kinds
        worth, chosen = important(found)
        _, of_predicted = important(probe.attribution)
        lost = changed.losses(labels)
        target = probe.logits.gather(1, labels[:, None]).double()
        small = (lost.abs() < RELEVANT * target.abs()) | (lost < 0)
        matters = (lost.abs() >= RELEVANT * target.abs()) & (lost > 0)
        irrelevant = small & changed.known
        right = probe.predicted == labels
        covered = self._covered(probe, labels, _bits(chosen[..., :k]))
        self._check(0, covered, labels, times, right)
        bits, whole = _bits(of_predicted[..., :k]), (1 << k) - 1
        for place, gone, same in ((1, whole - bits, True), (2, bits, False)):
            said = changed.without_parts(gone).argmax(2) == probe.predicted[:, None]
            self._check(place, (said == same).double(), labels, times)
        misled = (chosen & irrelevant[:, None]).sum(2) / irrelevant.sum(1, keepdim=True).clamp(1)
        self._check(3, 1 - misled, labels, times, irrelevant.any(1))
        agreement = rank_correlation(lost[:, None, :k], worth[:, None, :k])
        self._other(0, (agreement + 1) / 2, labels, times, ~agreement.isnan())
        objects = changed.known[:, k:]
        self._other(2, ((~matters)[:, k:] & objects).sum(1), labels, times, objects.sum(1))
        self._sensitivity(probe, changed, labels, times, lambda said: important(said)[0][:, :k])

    def _covered(self, probe: Probe, labels: Tensor, bits: Tensor) -> Tensor:
        """(B, T): the largest share of a minimal sufficient set that is called important."""
        assert probe.interventions is not None
        traits = probe.interventions.traits
        for label in set(labels.tolist()) - set(self._sufficient):
            sets = minimal_sufficient_sets(traits, label)
            self._sufficient[label] = covered_share(sets, len(probe.interventions.kinds))
        tables = torch.stack([self._sufficient[label] for label in labels.tolist()])
        return tables.to(bits.device).gather(1, bits)

    def _sensitivity(
        self,
        probe: Probe,
        changed: Changed,
        labels: Tensor,
        times: Tensor,
        worth_of: Callable[[Attribution], Tensor],
    ) -> None:
        """Add whether parts that a class shares with another are worth more for that other."""
        assert probe.interventions is not None
        for label in set(labels.tolist()) - set(self._rivals):
            self._rivals[label] = rivals(probe.interventions.traits, label)
        named = [(row, self._rivals[label]) for row, label in enumerate(labels.tolist())]
        rows = torch.tensor([row for row, pair in named if pair is not None], dtype=torch.long)
        if not len(rows):
            return
        pairs = torch.tensor([pair for _, pair in named if pair is not None]).to(labels.device)
        rows = rows.to(labels.device)
        gone = torch.zeros(len(labels), 2, dtype=torch.long, device=labels.device)
        gone[rows] = pairs[:, 2:]
        logits = changed.without_parts(gone)[rows]
        said = logits.gather(2, pairs[:, None, :2].expand(-1, 2, -1))  # (n, without, of class)
        holds = (said[:, 0, 0] < said[:, 1, 0]) & (said[:, 1, 1] < said[:, 0, 1])
        told = []
        for place in (0, 1):
            target = labels.clone()
            target[rows] = pairs[:, place]
            worth = worth_of(probe.explainer.attribute(probe.inputs, target))[rows]
            inside = pairs[:, 2:, None] >> torch.arange(changed.kinds, device=labels.device) & 1
            told.append((worth[:, None] * inside).sum(2))
        more = torch.stack([told[0][:, 0] > told[1][:, 0], told[1][:, 1] > told[0][:, 1]])
        self._other(1, more.double().mean(0), labels[rows], times[rows], holds)

    def _check(
        self,
        place: int,
        values: Tensor,
        labels: Tensor,
        times: Tensor,
        known: Tensor | None = None,
    ) -> None:
        there = torch.ones_like(labels) if known is None else known
        rows, there = values.double() * there[:, None], there.double()
        self.checks[place].index_add_(0, labels, rows)
        self.checked[place].index_add_(0, labels, there)
        self.drawn[:, place] += times.T @ rows
        self.drawn_known[:, place] += times.T @ there

    def _other(
        self, place: int, values: Tensor, labels: Tensor, times: Tensor, known: Tensor
    ) -> None:
        there = known.double()
        values = torch.where(there > 0, values.double(), 0.0)
        self.others[place].index_add_(0, labels, values)
        self.others_known[place].index_add_(0, labels, there)
        self.drawn_others[:, place] += times.T @ values
        self.drawn_others_known[:, place] += times.T @ there

    def compute(self) -> FunnyBirdsResult:
        """Sums over all images; a collective call: every process must make it."""
        return FunnyBirdsResult(*(getattr(self, name).clone() for name in FunnyBirdsResult._fields))

    def figures(self, result: FunnyBirdsResult) -> dict[str, Any]:
        """Return the mean, the seven checks and completeness; None where no image has one."""
        place = _best(result)
        checks = result.checks.sum(1)[:, place] / result.checked.sum(1)
        others = result.others.sum(1) / result.others_known.sum(1)
        named = self._named(checks, others)
        first, last, count = THRESHOLDS
        level = first + place * (last - first) / (count - 1)
        numbers = {name: float(value) for name, value in named.items()}
        plain = {name: None if math.isnan(n) else n for name, n in numbers.items()}
        return {**plain, f"{self.key}_threshold": level}

    def values(self, result: FunnyBirdsResult) -> Values:
        """Return the mean of each class and draw, at the threshold of all."""
        return self._values(result)[self.key]

    def beside(self, result: FunnyBirdsResult) -> dict[str, Values]:
        """Return the same of each check and of completeness."""
        return {name: value for name, value in self._values(result).items() if name != self.key}

    def _values(self, result: FunnyBirdsResult) -> dict[str, Values]:
        place = _best(result)
        checks = result.checks[:, :, place] / result.checked
        classes = self._named(checks, result.others / result.others_known)
        drawn = (result.drawn[..., place] / result.drawn_known).T
        draws = self._named(drawn, (result.drawn_others / result.drawn_others_known).T)
        return {n: Values(value, draws=known_draws(draws[n])) for n, value in classes.items()}

    def _named(self, checks: Tensor, others: Tensor) -> dict[str, Tensor]:
        """From checks (4, ...) and others (3, ...) to the score and all figures beside it."""
        told = dict(zip(("csdc", "pc", "dc", "distractibility"), checks, strict=True))
        told |= dict(zip(("sd", "ts", "background_independence"), others, strict=True))
        told["completeness"], score = _means(checks, others)
        return {self.key: score} | {f"{self.key}_{name}": value for name, value in told.items()}


def _bits(chosen: Tensor) -> Tensor:
    """(..., K) bool -> (...) int64."""
    return (chosen.long() << torch.arange(chosen.shape[-1], device=chosen.device)).sum(-1)


def _best(result: FunnyBirdsResult) -> int:
    """Place of the first threshold that is best for completeness."""
    means = result.checks.sum(1) / result.checked.sum(1)[:, None]
    return int((means[:3].mean(0) + means[3]).nan_to_num(-1).argmax())


def _means(checks: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """From checks (4, ...) and others (3, ...) to completeness and the mean of the dimensions.

    Correctness is single deletion, contrastivity is target sensitivity.
    """
    completeness = (checks[:3].mean(0) + checks[3]) / 2
    return completeness, (completeness + others[0] + others[1]) / 3
