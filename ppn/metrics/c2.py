"""Are the places of a prototype alike to another network (C2-score)?

Parchami-Araghi et al., "FaCT: Faithful Concept Traces for Explaining Neural Network Decisions",
NeurIPS 2025 (arXiv 2510.25512).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from ppn.errors import PPNError
from ppn.metrics.base import Metric
from ppn.metrics.resampling import Values, jackknife_draws, known_draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from ppn.metrics.base import EvaluationShape, Observation

GROUPS = 20
"""Groups of images that are left out one after the other, for an interval."""


class C2Result(NamedTuple):
    """What `C2Score.compute` returns, of all processes.

    `score` (C, k) float64 in [-1, 1]; NaN where a prototype was active on fewer than two images.
    `without` (G, C, k), the same without the images of each group.
    """

    score: Tensor
    without: Tensor


def encodings(maps: Tensor, features: Tensor) -> Tensor:
    """Mean of dense features, weighted by a map's positive part, of unit length.

    Args:
        maps: (B, k, H, W); upsampled or reduced bilinearly to the grid of the features.
        features: (B, E, H', W').

    Returns:
        (B, k, E) float64; 0 where a map has no positive value.
    """
    size = (features.shape[2], features.shape[3])
    weight = interpolate(maps.float().clamp(min=0), size, mode="bilinear", align_corners=False)
    sums = weight.double().flatten(2) @ features.double().flatten(2).mT
    return normalize(sums, dim=2)


class _Dense:
    """A dense model that all copies of a metric share, whatever its size."""

    def __init__(self, model: Callable[[Tensor], Tensor]) -> None:
        self.model = model

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        return self

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return features (B, E, H', W'), where the images are."""
        if isinstance(self.model, torch.nn.Module):
            self.model.to(images.device)
        return self.model(images)


class C2Score(Metric):
    """Mean cosine of dense features of an independent network where a prototype is active.

    Per prototype over all pairs of different images of its class, each weighted by the product of
    the maps' maxima; no labels of parts are needed. Differs from the authors' code in that features
    are not upsampled by a further network, and that all images of a class count. It is defined for
    one dense model: numbers of different models cannot be compared.

    Args:
        features: What gives dense features (B, E, H', W') of images as the classifier takes them:
            a function, or `package.module:factory`, which is called without arguments and returns
            one.

    Raises:
        PPNError: If there is no such factory.
    """

    key = "c2_score"
    title = "C2-score"
    bounds = (-1.0, 1.0)
    protocol = "c2-2025"
    help = "Cosine of an independent network's features at the places of a prototype."
    needs = frozenset({"model"})

    total: Tensor
    weight: Tensor
    square: Tensor
    indexed: Tensor

    def __init__(self, features: str | Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.features = features
        self._dense = _Dense(_made(features) if isinstance(features, str) else features)
        self.width = 0

    @property
    def constants(self) -> dict[str, Any]:
        """What the numbers depend on."""
        given = self.features
        named = given if isinstance(given, str) else getattr(given, "__name__", repr(type(given)))
        return {"features": named, "width": self.width}

    def setup(self, shape: EvaluationShape) -> Self:
        """Make the states, whose width is found by running the dense model once."""
        self.width = self._dense(torch.zeros(1, 3, shape.size, shape.size)).shape[1]
        cells = torch.zeros(GROUPS, shape.num_classes, shape.k, dtype=torch.float64)
        total = torch.zeros(*cells.shape, self.width, dtype=torch.float64)
        self.add_state("total", total, dist_reduce_fx="sum")
        self.add_state("weight", cells, dist_reduce_fx="sum")
        self.add_state("square", cells.clone(), dist_reduce_fx="sum")
        self.add_state("indexed", torch.zeros(GROUPS, dtype=torch.long), dist_reduce_fx="sum")
        return self

    def observe(self, seen: Observation) -> None:
        """Add a batch."""
        assert seen.probe is not None
        images = seen.probe.inputs.images
        features = seen.probe.once((self.key, self._dense), lambda: self._dense(images))
        self.update(seen.maps, features, seen.batch["label"], seen.probe.inputs.indices)

    def update(
        self, maps: Tensor, features: Tensor, labels: Tensor, indices: Tensor | None = None
    ) -> None:
        """Add a batch.

        Args:
            maps: (B, k, H, W) of the ground-truth class's prototypes.
            features: (B, E, H', W') of the same images.
            labels: (B,) ground-truth classes.
            indices: (B,) place of each image in its data set; None: there is no interval.
        """
        active = maps.double().clamp(min=0).flatten(2).amax(2)
        groups = torch.zeros_like(labels) if indices is None else indices % GROUPS
        at = (groups.to(labels.device), labels)
        self.total.index_put_(at, active[..., None] * encodings(maps, features), accumulate=True)
        self.weight.index_put_(at, active, accumulate=True)
        self.square.index_put_(at, active.square(), accumulate=True)
        if indices is not None:
            self.indexed += torch.bincount(groups, minlength=GROUPS).to(labels.device)

    def compute(self) -> C2Result:
        """Score of each prototype; a collective call: every process must make it."""
        states = (self.total, self.weight, self.square)
        wholes = [state.sum(0) for state in states]
        without = [
            _score(*(whole - state[group] for whole, state in zip(wholes, states, strict=True)))
            for group in self.indexed.nonzero().flatten().tolist()
        ]
        score = _score(*wholes)
        return C2Result(score, torch.stack(without) if without else score[:0, None])

    def figures(self, result: C2Result) -> dict[str, Any]:
        """Return the mean over prototypes; None where there are none."""
        known = result.score[~result.score.isnan()]
        return {self.key: float(known.mean()) if len(known) else None}

    def values(self, result: C2Result) -> Values:
        """Return the score of each prototype, their means, and draws by `jackknife_draws`.

        A bootstrap of pairs would take a sum of features for each draw.
        """
        # A prototype without pairs in a group's absence does not move the mean of the others.
        change = (result.without - result.score).flatten(1).nanmean(1)
        draws = known_draws(jackknife_draws(result.score.nanmean(), change))
        return Values(result.score.nanmean(1), result.score, draws)


def _score(total: Tensor, weight: Tensor, square: Tensor) -> Tensor:
    """Mean cosine of all pairs of different images, from sums over images."""
    # The sum over pairs is the square of the sum, without the pairs of an image with itself.
    pairs = weight.square() - square
    alike = total.square().sum(-1) - square
    known = pairs > 1e-9 * weight.square().clamp(min=1e-30)
    return torch.where(known, alike / pairs, torch.nan)


def _made(path: str) -> Callable[[Tensor], Tensor]:
    module, _, name = path.partition(":")
    try:
        made: Callable[[Tensor], Tensor] = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError, ValueError) as error:
        raise PPNError(
            f"features of c2_score is '{path}', which cannot be made ({error}): give "
            "package.module:factory."
        ) from None
    return made
