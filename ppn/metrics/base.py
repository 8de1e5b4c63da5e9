"""What every metric is: from maps or outputs to numbers, and all that others must know of it."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections import Counter
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import torchmetrics

from ppn.configured import Configured
from ppn.errors import DataError, PPNError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from typing_extensions import Self

    from ppn.metrics.probe import Probe
    from ppn.metrics.resampling import Values
    from ppn.types import Batch

    FoundAgain = Callable[[bool, tuple[int, int] | None], tuple[Tensor, Tensor] | None]
    """Lets an explainer learn twice, from halves of the training images (True) or all of them, of
    which it may leave out one group of several: the directions (C, k, D) of its parts both times,
    None where they have none."""

Ends = tuple[float | None, float | None]
"""The ends of a scale, None where it has none."""
Need = Literal["keypoints", "mask", "box", "noise", "peaks", "model", "interventions", "again"]
"""What an evaluation must provide: annotations, the maps of the images with noise, maxima, the
classifier itself, to be run on changed images, images without parts and objects, or what the
explainer finds when it learns again."""


class EvaluationShape(NamedTuple):
    """The sizes that states of metrics depend on.

    `num_classes` C; `k` maps per class; `part_names` of the annotated keypoints, empty where there
    are none; `size` of the square input in pixels (its height where it is not square).
    """

    num_classes: int
    k: int
    part_names: Sequence[str] = ()
    size: int = 224


class Observation(NamedTuple):
    """What a metric may look at: one batch, and what one explainer says of it.

    `batch` labels and annotations; `logits` (B, C), sums of contributions and bias, and
    `blackbox_logits` (B, C), the classifier's own; `maps` (B, k, H, W) of the ground-truth class,
    `noisy_maps` the same on images with `stability_noise`; `peaks` and `noisy_peaks` (B, k, 2)
    int64 the maxima of both, y and x in pixels, found once for all metrics; each of the three is
    None where no metric needs it. `contributions` (B, k) to the ground-truth class's logit, None
    where the explainer has none; `additive` whether the maps are meant to average to them,
    but for `elsewhere` (B, k);
    `counts` (B, R) how often each image counts in a bootstrap (`image_counts`), None for none;
    `probe` asks the explainer and the classifier further, None where there is no classifier;
    `every` (B, C, k) what the network's prototypes contribute to all logits, None where the
    explainer is not the network's own; `again` lets the explainer learn twice more, None where it
    cannot.
    """

    batch: Batch
    logits: Tensor
    blackbox_logits: Tensor
    maps: Tensor
    noisy_maps: Tensor | None = None
    peaks: Tensor | None = None
    noisy_peaks: Tensor | None = None
    contributions: Tensor | None = None
    additive: bool = False
    counts: Tensor | None = None
    probe: Probe | None = None
    elsewhere: Tensor | None = None
    every: Tensor | None = None
    again: FoundAgain | None = None

    def placed(self, places: int) -> Observation:
        """Return the same of the first maps of each class alone."""
        kept = {
            name: value[:, :places]
            for name in ("maps", "noisy_maps", "peaks", "noisy_peaks", "contributions", "elsewhere")
            if (value := getattr(self, name)) is not None
        }
        return self._replace(**kept)


class Metric(Configured, torchmetrics.Metric):
    """A torchmetrics metric whose constructor holds options only and whose class says what it is.

    Its states are made by `setup`, when the sizes are known, and are sums of fixed shape.

    Attributes:
        title: Name in tables, such as "Consistency". Beside others of its class a metric's key and
            title tell its options too, see `distinguished`.
        unit: "%" or nothing.
        bounds: Ends of its scale; None: unbounded.
        higher_is_better: Its direction; None where neither end is good.
        protocol: Name of the protocol.
        help: One or two sentences for a reader: what it measures, and how to read it.
        needs: What the evaluation must provide; without it the metric is left out.
        placed: Whether it is about where maps are. A remainder, what no other part covers, has no
            place and is then left out.
        of_maps: Whether it scores each explainer; otherwise it is about the network and computed
            once, from what the first explainer says.
    """

    title: str = ""
    unit: ClassVar[str] = ""
    bounds: ClassVar[tuple[float, float] | None] = None
    higher_is_better: bool | None = True
    protocol: ClassVar[str] = ""
    help: ClassVar[str] = ""
    needs: ClassVar[frozenset[Need]] = frozenset()
    placed: ClassVar[bool] = False
    of_maps: ClassVar[bool] = True
    is_differentiable = False
    full_state_update = False

    def __init__(self) -> None:  # without the keywords of torchmetrics, which are no options
        super().__init__()

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on, as plain values."""
        return dict(self.options)

    @abstractmethod
    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states; returns itself."""

    def expect_parts(self, shape: EvaluationShape) -> None:
        """Refuse data without keypoints, for a metric of parts.

        Raises:
            DataError: If no parts are annotated.
        """
        if not shape.part_names:
            raise DataError(
                f"{type(self).__name__} needs part annotations but the data has none: use a data "
                "set with keypoints, or leave this metric out."
            )

    @abstractmethod
    def observe(self, seen: Observation) -> None:
        """Take from a batch what `update` needs."""

    @abstractmethod
    def figures(self, result: Any) -> dict[str, Any]:  # noqa: ANN401 - what `compute` returns
        """Return plain values for `metrics.json`; the score itself under `key`.

        Tables and figures show the standard error of the score under `{key}_standard_error`. The
        report shows scores over two constants under `{key}_sweep`, a list of lists: the values
        tried of a constant `size` are then the constant `sweep_sizes`, those of the rows first.

        Args:
            result: What `compute` returned.
        """

    def values(self, result: Any) -> Values | None:  # noqa: ANN401 - what `compute` returns
        """Return what the score is the mean of, for intervals; None where it is no mean.

        Args:
            result: What `compute` returned.
        """
        del result
        return None

    def beside(self, result: Any) -> dict[str, Values]:  # noqa: ANN401 - what `compute` returns
        """Return what figures beside the score are means of, by name; see `beside_bounds`.

        Args:
            result: What `compute` returned.
        """
        del result
        return {}

    @property
    def beside_bounds(self) -> dict[str, Ends]:
        """Ends of the scales of figures beside the score; [0, 1] of those that it leaves out."""
        return {}

    @classmethod
    def about(cls) -> dict[str, Any]:
        """Return what tables and figures must know of it, as plain values."""
        return {
            "title": cls.title,
            "unit": cls.unit,
            "bounds": None if cls.bounds is None else list(cls.bounds),
            "higher_is_better": cls.higher_is_better,
            "help": cls.help,
        }


def distinguished(metrics: Sequence[Metric]) -> list[Metric]:
    """Return the metrics, those of one class with keys and titles that tell their options.

    Of two `PixelDeletion` the one with `baseline="blur"` is `pixel_deletion_baseline_blur`.

    Raises:
        PPNError: If there is none, or two are the same.
    """
    if not metrics:
        raise PPNError("There is nothing to measure: give metrics.")
    names, times = [metric.name for metric in metrics], Counter(metric.key for metric in metrics)
    found = []
    for metric, name in zip(metrics, names, strict=True):
        if times[metric.key] > 1 and name != metric.key:
            made = deepcopy(metric)
            made.key = re.sub(r"\W+", "_", name).strip("_").lower()
            made.title = f"{metric.title} {name.removeprefix(metric.key)}"
            metric = made
        found.append(metric)
    expect_different("metrics", [metric.key for metric in found])
    return found


def expect_different(what: str, names: Sequence[str]) -> None:
    """Refuse two of one name.

    Raises:
        PPNError: If a name is there twice.
    """
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise PPNError(f"Two {what} are called '{twice[0]}': leave one of them out.")
