"""One explainer on one stream of images: what was measured, and how long it took."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ppn.errors import DataError
from ppn.explainers.base import Inputs
from ppn.metrics.base import EvaluationShape
from ppn.metrics.evaluation import Evaluation
from ppn.metrics.noise import stability_noise
from ppn.prototypes.head import HeadOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from ppn.data.interventions import Interventions
    from ppn.explainers.base import Explainer
    from ppn.metrics.base import FoundAgain, Metric, Need
    from ppn.metrics.resampling import Values
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Batch, Tokens

    TokensOf = Callable[[Tensor, Tensor, int], Tokens]
    """Tokens of images (B, C, H, W) with indices (B,), of a draw; see `Inputs`."""


@dataclass(frozen=True)
class Evaluated:
    """What was measured of one explainer.

    Attributes:
        name: Its name.
        about: Its title, `kind`, whether it is `exact`, and `k` maps per class.
        figures: Every number by name, as in `metrics.json`: the score of a metric under its key,
            its interval over classes under `{key}_interval`, over images under
            `{key}_image_interval`.
        metrics: How each score is read: title, unit, bounds, direction, protocol, constants.
        values: What figures are means of, by name: of each class, and of each prototype.
        class_names: Name of each class.
        images: Number of images.
        seconds: Seconds that an explanation of one image took, without the classifier's own pass.
        floors: Scores of what knows nothing of the image, by its name and the metric's key.
    """

    name: str
    about: dict[str, Any]
    figures: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    values: dict[str, Values]
    class_names: list[str]
    images: int
    seconds: float
    floors: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def scores(self) -> dict[str, float]:
        """The score of each metric that was measured, by its key."""
        found = {key: self.figures.get(key) for key in self.metrics}
        return {key: float(score) for key, score in found.items() if score is not None}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Ends of each score's 95 % interval over classes, where it has one."""
        found = {key: self.figures.get(f"{key}_interval") for key in self.metrics}
        return {key: (ends[0], ends[1]) for key, ends in found.items() if ends is not None}

    def floor(self, key: str) -> float | None:
        """Return the best score of a metric among the floors; None where there is none."""
        better = self.metrics[key]["higher_is_better"]
        found = [scores[key] for scores in self.floors.values() if key in scores]
        return None if better is None or not found else (max if better else min)(found)

    def prototypes(self) -> list[dict[str, Any]]:
        """Return a row for each prototype of each class, with what each metric says of it alone.

        Metrics of places say NaN of a remainder, which has none.
        """
        measured = {
            key: values.prototypes
            for key, values in self.values.items()
            if values.prototypes is not None
        }
        return [
            {"class": name, "prototype": part}
            | {
                key: float(table[label, part]) if part < table.shape[1] else math.nan
                for key, table in measured.items()
            }
            for label, name in enumerate(self.class_names)
            for part in range(self.about["k"])
            if measured and any(bool(table[label].isfinite().any()) for table in measured.values())
        ]

    def __str__(self) -> str:
        """Return a line for each score, with the best floor."""
        lines = [f"{self.about['title']} ({self.images} images)"]
        for key, score in self.scores.items():
            ends = self.intervals.get(key)
            between = "" if ends is None else f"  [{ends[0]:.4g}, {ends[1]:.4g}]"
            floor = self.floor(key)
            between += "" if floor is None else f"  floor {floor:.4g}"
            unit = self.metrics[key]["unit"]
            lines.append(
                f"  {self.metrics[key]['title']} {unit}".rstrip() + f"  {score:.4g}{between}"
            )
        return "\n".join(lines)


class Images(NamedTuple):
    """`batches` of images to score; `part_names` of their keypoints; what else they hold.

    `interventions`: the same images without parts or objects, where there are such.
    """

    batches: Iterable[Batch]
    part_names: Sequence[str]
    annotations: Sequence[Need]
    interventions: Interventions | None = None


@torch.no_grad()
def score(
    explainer: Explainer,
    network: PrototypeNetwork,
    images: Images,
    metrics: Sequence[Metric],
    seed: int = 0,
    tokens_of: TokensOf | None = None,
    progress: Callable[[int], None] | None = None,
    again: FoundAgain | None = None,
    floors: Sequence[Explainer] = (),
) -> Evaluated:
    """Score a prepared and fitted explainer.

    Args:
        explainer: The explainer.
        network: The network that it was prepared for.
        images: What it is scored on.
        metrics: What to measure.
        seed: Seed of noise and chance maps.
        tokens_of: Gives tokens that may be known already; None runs the classifier.
        progress: Is told how many images were scored.
        again: Lets it learn again; see `Observation`.
        floors: Prepared explainers to be scored beside it.
    """
    height, width = network.input_config.size
    # The protocols of parts are defined on square inputs.
    parts = images.part_names if height == width else []
    shape = EvaluationShape(len(network.class_names), explainer.maps_per_class, parts, height)
    evaluation = Evaluation(
        shape,
        [explainer, *floors],
        metrics,
        images.annotations,
        network.classifier,
        images.interventions,
        again,
    ).to(network.device)
    look = tokens_of or (lambda pixels, _indices, _draw: network.tokens(pixels))
    count, silent = 0, False
    with timed(explainer) as spent:
        for batch in images.batches:
            pixels, indices = batch["image"], batch["index"]
            inputs = Inputs(pixels, look(pixels, indices, 0), indices, 0, seed)
            noisy = None
            if evaluation.needs_noise:
                moved = pixels + stability_noise(pixels, indices, seed)
                noisy = Inputs(moved, look(moved, indices, 1), indices, 1, seed)
            said = explainer.surrogate(inputs)
            silent = said is None
            logits = inputs.tokens.logits if said is None else said
            output = HeadOutput(logits, logits.new_zeros(*logits.shape, 0))
            evaluation.update(batch, inputs, noisy, output)
            count += len(indices)
            if progress is not None:
                progress(len(indices))
    if not count:
        raise DataError("The loader gives no image.")
    found = evaluation.compute()
    described = found.figures["explainers"][explainer.name]
    about = {key: described[key] for key in ("title", "kind", "exact", "additive", "k")}
    own = {key: value for key, value in described.items() if key not in about}
    # Without logits of its own it has no accuracy of its own.
    of_network = {} if silent else found.figures
    apart = ("explainers", "metrics", "refinement")
    figures = {key: value for key, value in of_network.items() if key not in apart} | own
    return Evaluated(
        explainer.name,
        about,
        figures,
        found.figures["metrics"],
        {key: told for key, told in found.values[explainer.name].items() if key in figures},
        list(network.class_names),
        count,
        spent.seconds / max(1, spent.images),
        {
            floor.name: {
                key: float(value)
                for key in found.figures["metrics"]
                if (value := found.scores[floor.name].get(key)) is not None
            }
            for floor in floors
        },
    )


class Spent:
    """`seconds` that explanations of `images` took."""

    seconds = 0.0
    images = 0


@contextmanager
def timed(explainer: Explainer) -> Iterator[Spent]:
    """Time what an explainer does, within the block."""
    spent, attribute = Spent(), explainer.attribute

    def clocked(inputs: Inputs, target: Tensor) -> Any:  # noqa: ANN401 - as the explainer's own
        _synchronise(target.device)
        began = time.perf_counter()
        found = attribute(inputs, target)
        _synchronise(target.device)
        spent.seconds += time.perf_counter() - began
        spent.images += len(target)
        return found

    vars(explainer)["attribute"] = clocked
    try:
        yield spent
    finally:
        del vars(explainer)["attribute"]


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
