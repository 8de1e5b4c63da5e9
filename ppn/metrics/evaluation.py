"""All metrics of a network and of what explains it, over one evaluation set."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import torchmetrics
from torch import nn

from ppn.metrics.base import Metric, Observation, distinguished, expect_different
from ppn.metrics.compared import compared
from ppn.metrics.exchange import exchanged
from ppn.metrics.maps import peak
from ppn.metrics.probe import Model, Probe
from ppn.metrics.resampling import image_counts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from ppn.classifier import Classifier
    from ppn.data.interventions import Interventions
    from ppn.explainers.base import Explainer, Inputs
    from ppn.metrics.base import EvaluationShape, FoundAgain, Need
    from ppn.metrics.resampling import Values
    from ppn.prototypes.head import HeadOutput
    from ppn.types import Batch


class Results(NamedTuple):
    """What was measured.

    `figures`: plain values for `metrics.json`; `results`: what each metric's `compute` gave, by
    its key, for the network and the chosen explainer; `scores`: the figures of each explainer, by
    its name; `values`: what they are means of, by the figure's name.
    """

    figures: dict[str, Any]
    results: dict[str, Any]
    scores: dict[str, dict[str, Any]]
    values: dict[str, dict[str, Values]]

    def having(self, *fields: str) -> Any:  # noqa: ANN401 - whatever has them
        """Return the first result that has all of these fields, or None."""
        results = self.results.values()
        return next((r for r in results if all(hasattr(r, field) for field in fields)), None)

    def numbers(self) -> dict[str, float]:
        """Return the figures that are numbers, for a logger; an explainer's as FIGURE/EXPLAINER."""
        found = dict(self.figures)
        for explainer, values in self.scores.items():
            found |= {f"{name}/{explainer}": value for name, value in values.items()}
        return {k: float(v) for k, v in found.items() if isinstance(v, (int, float))}


class Scored(NamedTuple):
    """What `compute` of one metric gave, its plain values, and what of them are means of what."""

    result: Any
    figures: dict[str, Any]
    values: dict[str, Values]


def measurable(
    metrics: Iterable[Metric], shape: EvaluationShape, annotations: Collection[Need] = ()
) -> list[Metric]:
    """Return the metrics that need nothing that is not there.

    Args:
        metrics: Any metrics.
        shape: Tells whether there are keypoints.
        annotations: What else batches hold: "box", "mask".
    """
    given = {"noise", "peaks", *annotations} | ({"keypoints"} if shape.part_names else set())
    return [metric for metric in metrics if metric.needs <= given]


class MetricSet(nn.Module):
    """Metrics that observe the same things; their states are their own.

    Args:
        metrics: The metrics; they are copied.
        shape: The sizes of their states.
        places: How many of a class's maps have a place; see `Metric.placed`. None: all.
    """

    def __init__(
        self, metrics: Iterable[Metric], shape: EvaluationShape, places: int | None = None
    ) -> None:
        super().__init__()
        self.size = (shape.size, shape.size)
        self.places = shape.k if places is None else places
        placed = shape._replace(k=self.places)
        self.metrics = nn.ModuleList(
            [deepcopy(metric).setup(placed if metric.placed else shape) for metric in metrics]
        )
        self.needs = frozenset().union(*(metric.needs for metric in self._metrics()))

    def update(self, seen: Observation) -> None:
        """Add a batch; maxima are found here, once for all metrics."""
        if "peaks" in self.needs:
            noisy = seen.noisy_maps
            seen = seen._replace(
                peaks=peak(seen.maps, self.size),
                noisy_peaks=None if noisy is None else peak(noisy, self.size),
            )
        placed = seen.placed(self.places)
        for metric in self._metrics():
            metric.observe(placed if metric.placed else seen)

    def compute(self) -> dict[str, Scored]:
        """Return what each metric has found, by its key."""
        with warnings.catch_warnings():
            # A process may have no images, and an explainer no contributions.
            warnings.filterwarnings("ignore", "The ``compute`` method of metric")
            results = {metric.key: (metric, metric.compute()) for metric in self._metrics()}
        found = {}
        for key, (metric, result) in results.items():
            score = metric.values(result)
            values = {} if score is None else {key: score, **metric.beside(result)}
            found[key] = Scored(result, metric.figures(result), values)
        return found

    def constants(self) -> dict[str, dict[str, Any]]:
        """Return what the numbers of each metric depend on, by its key."""
        return {metric.key: metric.constants for metric in self._metrics()}

    def _metrics(self) -> list[Metric]:
        return [metric for metric in self.metrics if isinstance(metric, Metric)]


class Evaluation(nn.Module):
    """The metrics of a network, and those of maps for each explainer.

    Args:
        shape: The sizes of the metrics' states; k is each explainer's own.
        explainers: What is scored, prepared for the network; the first one is the chosen one,
            whose scores are the network's.
        metrics: What to measure, in the order of tables. Those that need what is not there are
            left out.
        annotations: What batches hold beside keypoints, which `shape` tells.
        classifier: What metrics may run on changed images; without it those that do are left out.
        interventions: The images without parts or objects; without them metrics that need them
            are left out.
        again: Lets the chosen explainer learn again; see `Observation`.

    Raises:
        PPNError: If two explainers or two metrics have one name.
    """

    def __init__(
        self,
        shape: EvaluationShape,
        explainers: Sequence[Explainer],
        metrics: Sequence[Metric],
        annotations: Collection[Need] = (),
        classifier: Classifier | None = None,
        interventions: Interventions | None = None,
        again: FoundAgain | None = None,
    ) -> None:
        super().__init__()
        self.model = None if classifier is None else Model(classifier)
        given: set[Need] = set(annotations)
        if classifier is not None:
            given.add("model")
        self.interventions = interventions
        if interventions is not None:
            given.add("interventions")
        self.again = again
        if again is not None:
            given.add("again")
        expect_different("explainers", [explainer.name for explainer in explainers])
        self.explainers = list(explainers)
        self.measured = measurable(distinguished(metrics), shape, given)
        shapes = [shape._replace(k=explainer.maps_per_class) for explainer in explainers]
        of_maps = [metric for metric in self.measured if metric.of_maps]
        of_network = [metric for metric in self.measured if not metric.of_maps]
        self.network = MetricSet(of_network, shapes[0])
        self.rows = nn.ModuleList(
            [
                MetricSet(of_maps, its_own, explainer.places)
                for its_own, explainer in zip(shapes, explainers, strict=True)
            ]
        )

    @property
    def needs_noise(self) -> bool:
        """Whether a metric compares the images with the same images with noise."""
        return any("noise" in metric.needs for metric in self.measured)

    def update(
        self, batch: Batch, inputs: Inputs, noisy: Inputs | None, output: HeadOutput
    ) -> None:
        """Add a batch.

        Args:
            batch: Labels and annotations.
            inputs: The images and their tokens.
            noisy: The same of the images with noise; None unless `needs_noise`.
            output: What the network says.
        """
        labels = batch["label"]
        blackbox = inputs.tokens.logits.float()
        shared: dict[object, Any] = {}
        counts = image_counts(inputs.indices, inputs.seed)
        for place, (explainer, row) in enumerate(zip(self.explainers, self._rows(), strict=True)):
            found = explainer.attribute(inputs, labels)
            again = None if noisy is None else explainer.attribute(noisy, labels)
            for said in (found,) if again is None else (found, again):
                said.expect_numbers(explainer.name)
            seen = Observation(
                batch,
                output.logits,
                blackbox,
                found.maps,
                None if again is None else again.maps,
                contributions=found.contributions,
                additive=explainer.additive,
                counts=counts,
                probe=self._probe(explainer, inputs, shared),
                elsewhere=found.elsewhere,
                again=self.again if place == 0 else None,
            )
            row.update(seen)
            if place == 0:
                self.network.update(seen._replace(every=output.contributions))

    def _probe(
        self, explainer: Explainer, inputs: Inputs, shared: dict[object, Any]
    ) -> Probe | None:
        if self.model is None:
            return None
        return Probe(self.model, explainer, inputs, shared, self.interventions)

    def compute(self) -> Results:
        """Return all results; a collective call: every process must make it."""
        with exchanged(m for m in self.modules() if isinstance(m, torchmetrics.Metric)):
            network = self.network.compute()
            rows = [row.compute() for row in self._rows()]
        chosen = network | rows[0]
        own: dict[str, Any] = {}
        for metric in self.measured:
            own |= chosen[metric.key].figures
        scores: dict[str, dict[str, Any]] = {}
        values: dict[str, dict[str, Values]] = {}
        for explainer, row in zip(self.explainers, rows, strict=True):
            found = scores[explainer.name] = {}
            means = values[explainer.name] = {}
            for scored in row.values():
                found |= scored.figures
                means |= scored.values
        of_maps = [metric for metric in self.measured if metric.of_maps]
        for name, further in compared(self.explainers, of_maps, scores, values).items():
            scores[name] |= further
        first = self.explainers[0].name
        of_network = [metric for metric in self.measured if not metric.of_maps]
        told = {name: value for one in network.values() for name, value in one.values.items()}
        own |= compared(self.explainers[:1], of_network, {first: own}, {first: told})[first]
        values[first] |= told
        explainers = {e.name: {**_describe(e), **scores[e.name]} for e in self.explainers}
        own |= scores[first]
        figures = {
            **own,
            "refinement": first,
            "explainers": explainers,
            "metrics": self._about(own),
        }
        results = {metric.key: chosen[metric.key].result for metric in self.measured}
        return Results(figures, results, scores, values)

    def _about(self, figures: Collection[str]) -> dict[str, Any]:
        """Describe the metrics that give a score."""
        constants = self.network.constants() | self._rows()[0].constants()
        return {
            metric.key: {
                **metric.about(),
                "title": metric.title,
                "protocol": metric.protocol,
                "constants": constants[metric.key],
                **({"of_maps": True} if metric.of_maps else {}),
            }
            for metric in self.measured
            if metric.key in figures
        }

    def _rows(self) -> list[MetricSet]:
        return [row for row in self.rows if isinstance(row, MetricSet)]


def _describe(explainer: Explainer) -> dict[str, Any]:
    return {
        "kind": explainer.kind,
        "title": explainer.title or explainer.name,
        "exact": explainer.exact,
        "additive": explainer.additive,
        "k": explainer.maps_per_class,
    }
