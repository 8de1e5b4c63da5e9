"""All metrics of a prototype network over one evaluation set, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from ppn.metrics.chance import chance_maps
from ppn.metrics.compactness import Compactness
from ppn.metrics.completeness import Completeness
from ppn.metrics.distinctiveness import Distinctiveness, DistinctPeaks
from ppn.metrics.exchange import exchanged
from ppn.metrics.fidelity import Fidelity
from ppn.metrics.maps import peak
from ppn.metrics.parts import (
    SWEEP_HALF_SIZES,
    SWEEP_THRESHOLDS,
    Consistency,
    ConsistencyResult,
    Stability,
)
from ppn.metrics.shares import ClassShares, ShareResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.metrics.chance import Chance
    from ppn.types import Batch

CHANCE: tuple[Chance, ...] = ("random", "centre", "uniform")


class Outputs(NamedTuple):
    """What a network says of a batch.

    `logits` and `blackbox_logits` (B, C); `contributions` (B, k) to the ground-truth class's
    logit; `maps` and `noisy_maps`: for each strategy (B, k, H, W) of the ground-truth class's
    prototypes, on the image and on the image with `stability_noise`; the latter None without part
    annotations.
    """

    logits: Tensor
    blackbox_logits: Tensor
    contributions: Tensor
    maps: dict[str, Tensor]
    noisy_maps: dict[str, Tensor] | None


class Results(NamedTuple):
    """`figures`: plain values for `metrics.json`; the rest is per class, for the report."""

    figures: dict[str, Any]
    shares: ShareResult
    consistency: ConsistencyResult | None

    def numbers(self) -> dict[str, float]:
        """Return the figures that are numbers, for a logger; those of maps as METRIC/MAPS."""
        found = dict(self.figures)
        for group in ("strategies", "chance"):
            for maps, values in self.figures[group].items():
                found |= {f"{name}/{maps}": value for name, value in values.items()}
        return {k: float(v) for k, v in found.items() if isinstance(v, (int, float))}


class MapScores(nn.Module):
    """The metrics of one set of maps: a refinement strategy, or a chance level.

    Args:
        num_classes: C.
        k: k.
        num_parts: Annotated parts; 0 leaves consistency and stability out.
        size: Side of the square input in pixels.
    """

    def __init__(self, num_classes: int, k: int, num_parts: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.distinctiveness = Distinctiveness(size=size)
        self.distinct_peaks = DistinctPeaks()
        self.consistency: Consistency | None = None
        self.stability: Stability | None = None
        if num_parts:
            self.consistency = Consistency(num_classes, k, num_parts, size=size)
            self.stability = Stability(num_classes, k, num_parts, size=size)

    def update(self, maps: Tensor, noisy_maps: Tensor | None, batch: Batch) -> None:
        """Add the maps (B, k, H, W) of a batch."""
        self.distinctiveness.update(maps)
        self.distinct_peaks.update(maps)
        if self.consistency is None or self.stability is None or noisy_maps is None:
            return
        peaks = peak(maps, (self.size, self.size))
        noisy = peak(noisy_maps, (self.size, self.size))
        self.consistency.update(peaks, batch["keypoints"], batch["label"])
        self.stability.update(peaks, noisy, batch["keypoints"], batch["label"])

    def compute(self) -> tuple[dict[str, Any], ConsistencyResult | None]:
        """Return the scores, and what consistency knows of each prototype."""
        figures: dict[str, Any] = {}
        consistency = None
        if self.consistency is not None and self.stability is not None:
            consistency = self.consistency.compute()
            stability = self.stability.compute()
            count = int((consistency.images > 0).sum()) * consistency.consistent.shape[1]
            share = float(consistency.score) / 100
            figures |= {
                "consistency": float(consistency.score),
                # Over prototypes, as if they were independent draws.
                "consistency_standard_error": 100 * (share * (1 - share) / max(1, count)) ** 0.5,
                "consistency_sweep": consistency.sweep.tolist(),
                "stability": float(stability.score),
                "stability_empty_share": float(stability.empty_share),
            }
        for name in ("distinctiveness", "distinct_peaks"):
            result = getattr(self, name).compute()
            figures[name] = float(result.score) if int(result.images) else None
        return figures, consistency


class Evaluation(nn.Module):
    """Accuracy, fidelity, compactness, and the map metrics of every strategy and chance level.

    Args:
        num_classes: C.
        k: k.
        part_names: Names of the annotated parts; empty leaves the part metrics out.
        size: Side of the square input in pixels.
        strategies: Names of the refinement strategies to compare; the first is the chosen one.
        seed: Seed of the chance maps.
        summing: Whether maps are meant to average to contributions; see `HeadInspection`.
    """

    def __init__(
        self,
        num_classes: int,
        k: int,
        part_names: Sequence[str],
        size: int,
        strategies: Sequence[str],
        seed: int = 0,
        summing: bool = True,
    ) -> None:
        super().__init__()
        self.k = k
        self.strategies = list(strategies)
        self.seed = seed
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.blackbox_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.fidelity = Fidelity()
        self.compactness = Compactness()
        self.completeness = Completeness() if summing else None
        self.shares = ClassShares(num_classes, k)
        rows = [*self.strategies, *CHANCE]
        self.rows = nn.ModuleDict(
            {row: MapScores(num_classes, k, len(part_names), size) for row in rows}
        )

    def update(self, batch: Batch, outputs: Outputs) -> None:
        """Add a batch."""
        labels = batch["label"]
        predictions = outputs.logits.argmax(1)
        self.accuracy.update(predictions, labels)
        self.blackbox_accuracy.update(outputs.blackbox_logits.argmax(1), labels)
        self.fidelity.update(outputs.logits, outputs.blackbox_logits)
        self.compactness.update(outputs.contributions)
        if self.completeness is not None:
            self.completeness.update(outputs.maps[self.strategies[0]], outputs.contributions)
        self.shares.update(outputs.contributions, labels, predictions)
        noisy = outputs.noisy_maps
        for strategy in self.strategies:
            other = None if noisy is None else noisy[strategy]
            self._row(strategy).update(outputs.maps[strategy], other, batch)
        shape = (self.k, *outputs.maps[self.strategies[0]].shape[-2:])
        for kind in CHANCE:
            draws = [
                chance_maps(kind, batch["index"], labels, shape, self.seed, draw)
                for draw in range(1 if noisy is None else 2)
            ]
            self._row(kind).update(draws[0], draws[-1] if noisy is not None else None, batch)

    def compute(self) -> Results:
        """Return all results; a collective call: every process must make it."""
        with exchanged(self._metrics()):
            return self._compute()

    def _compute(self) -> Results:
        rows = {name: self._row(name).compute() for name in self.rows}
        chosen, consistency = rows[self.strategies[0]]
        fidelity, compactness = self.fidelity.compute(), self.compactness.compute()
        complete = None if self.completeness is None else self.completeness.compute()
        figures: dict[str, Any] = {
            "images": int(fidelity.images),
            "accuracy": float(self.accuracy.compute()),
            "blackbox_accuracy": float(self.blackbox_accuracy.compute()),
            "agreement": float(fidelity.agreement),
            "max_logit_error": float(fidelity.max_logit_error),
            "mean_logit_error": float(fidelity.mean_logit_error),
            "max_relative_logit_error": float(fidelity.max_relative_error),
            "completeness_error": None if complete is None else float(complete.error),
            "max_completeness_error": None if complete is None else float(complete.max_error),
            **chosen,
            "negative_share": float(compactness.negative_share),
            "gini": float(compactness.gini),
            "hoyer": float(compactness.hoyer),
            "effective_prototypes": float(compactness.effective),
            "strategy": self.strategies[0],
            "strategies": {name: rows[name][0] for name in self.strategies},
            "chance": {name: rows[name][0] for name in CHANCE},
            "protocols": self._protocols(),
        }
        return Results(figures, self.shares.compute(), consistency)

    def reset(self) -> None:
        """Forget everything, before the next evaluation set."""
        for metric in self._metrics():
            metric.reset()

    def _metrics(self) -> list[Metric]:
        return [module for module in self.modules() if isinstance(module, Metric)]

    def _protocols(self) -> dict[str, Any]:
        row = self._row(self.strategies[0])
        metrics = {
            "agreement": self.fidelity,
            "completeness_error": self.completeness,
            "consistency": row.consistency,
            "stability": row.stability,
            "distinctiveness": row.distinctiveness,
            "distinct_peaks": row.distinct_peaks,
            "effective_prototypes": self.compactness,
        }
        protocols: dict[str, Any] = {
            name: {"protocol": metric.protocol, "constants": metric.constants}
            for name, metric in metrics.items()
            if metric is not None
        }
        if row.consistency is not None:
            protocols["consistency_sweep"] = {
                "half_sizes_at_224": list(SWEEP_HALF_SIZES),
                "thresholds": list(SWEEP_THRESHOLDS),
            }
        return protocols

    def _row(self, name: str) -> MapScores:
        row = self.rows[name]
        assert isinstance(row, MapScores)
        return row
