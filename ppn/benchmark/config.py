"""What a benchmark compares: one YAML file."""

from __future__ import annotations

from itertools import product
from typing import Any

from ppn.configured import Configured, expect_least, kinds_of, seeded
from ppn.data.datamodule import FineGrainedDataModule  # noqa: TC001 - for jsonargparse
from ppn.discovery.base import Discoverer  # noqa: TC001 - for jsonargparse
from ppn.errors import PPNError
from ppn.explainers.base import Explainer  # noqa: TC001 - for jsonargparse
from ppn.explainers.ceiling import ceiling_of
from ppn.explainers.part_prototypes import PartPrototypes
from ppn.metrics.base import Metric, distinguished, expect_different
from ppn.metrics.defaults import default_controls, default_floors, default_metrics
from ppn.refinement.base import Refinement  # noqa: TC001 - for jsonargparse


class Benchmark:
    """One classifier, one data set, and everything that is to be compared on them.

    Every seed s varies which training images are seen (all but those held out for validation), the
    random numbers of explainers (their option `seed` plus s), and the noise and chance maps of
    metrics.

    Args:
        data: The data set; its test images are scored.
        classifier_ckpt: The black box: a checkpoint of `ClassificationTask`, or a state dict
            together with `architecture`. `{seed}` in it stands for each seed.
        discoverers: Ways to find parts; each is combined with each of `refinements`.
        refinements: Ways to split the head.
        explainers: What they are compared with, beside ceiling, controls and floors.
        metrics: What to measure; null takes what `ppn test` does.
        columns: Keys of the metrics in `results.tex`, and the first of them on the axis of
            trade-offs; null takes the first six.
        seeds: Seeds, at least 0.
        k: Prototypes per class.
        images_per_class: Scored images of each class, at most; null: all.
        architecture: See `PrototypeTask`.
        image_size: See `PrototypeTask`.
        model_options: See `PrototypeTask`.

    Raises:
        PPNError: If there is nothing to compare or to measure, a seed is negative or twice there,
            two explainers or two metrics have one name, or a column is not measured.
    """

    def __init__(
        self,
        data: FineGrainedDataModule,
        classifier_ckpt: str,
        discoverers: list[Discoverer] | None = None,
        refinements: list[Refinement] | None = None,
        explainers: list[Explainer] | None = None,
        metrics: list[Metric] | None = None,
        columns: list[str] | None = None,
        seeds: list[int] | None = None,
        k: int = 3,
        images_per_class: int | None = None,
        architecture: str | None = None,
        image_size: int | None = None,
        model_options: dict[str, Any] | None = None,
    ) -> None:
        self.data = data
        self.classifier_ckpt = classifier_ckpt
        self.seeds = [0] if seeds is None else seeds
        self.metrics = distinguished(default_metrics() if metrics is None else metrics)
        self.columns = columns
        self.k = k
        self.images_per_class = images_per_class
        self.architecture = architecture
        self.image_size = image_size
        self.model_options = model_options
        ours = product(discoverers or [], refinements or [])
        given: list[Explainer] = [PartPrototypes(*pair) for pair in ours]
        given += explainers or []
        if not given:
            raise PPNError("There is nothing to compare: give explainers, or ways to make them.")
        ceiling = ceiling_of(data.train_source, k, data.masks)
        levels: list[Explainer] = [*default_controls(), *default_floors()]
        levels[:0] = [] if ceiling is None else [ceiling]
        names = {explainer.name for explainer in given}
        self.explainers = [*given, *(level for level in levels if level.name not in names)]
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise PPNError(f"seeds are {self.seeds}, but must be different, and at least 0.")
        expect_least(1, PPNError, images_per_class=images_per_class)
        expect_different("explainers", [explainer.name for explainer in self.explainers])
        measured = [metric.key for metric in self.metrics]
        for column in columns or []:  # of a metric that is left out for once there is none
            if column not in {*measured, *(kind.key for kind in kinds_of(Metric))}:  # type: ignore[type-abstract]
                raise PPNError(f"columns has '{column}', but there are {', '.join(measured)}.")
        expect_different("columns", columns or [])

    def explainer(self, name: str, seed: int) -> Explainer:
        """Return a new explainer of one seed; its name is that of all seeds."""
        (template,) = (one for one in self.explainers if one.name == name)
        return seeded(template, seed)


def described(one: Configured) -> dict[str, Any]:
    """Return class and options, those of what it is made of included, as plain values."""
    kind = type(one)
    options = {name: _plain(value) for name, value in one.options.items()}
    return {"class": f"{kind.__module__}.{kind.__qualname__}", "options": options}


def _plain(value: object) -> Any:  # noqa: ANN401 - lists, dicts, or text
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return described(value) if isinstance(value, Configured) else repr(value)
