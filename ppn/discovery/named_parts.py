"""Parts that have names, from points on a few images of any classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from ppn.discovery.base import Discoverer, Parts
from ppn.discovery.points import BACKGROUND, SPREAD, grouped_points, point_evidence, point_targets
from ppn.discovery.token_classifier import ClickAccuracy, fit_token_classifier
from ppn.errors import DiscoveryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from ppn.discovery.base import ClassTokens
    from ppn.discovery.token_classifier import TokenClassifier

_FOLDS = 5


class NamedParts(Discoverer):
    """Parts that a classifier of tokens tells apart, the same ones for every class (ours).

    Points on some images, of whichever classes, train one linear classifier of tokens. Its
    probabilities on a class's images are the parts' coefficients. The last part is a remainder with
    the background's coefficient, so that nothing is pushed into a name where it does not belong.
    Give the points to `annotate` first. Refine with `CompactSplit(ridge=1, rounds=2)`.

    Args:
        groups: For each name the keypoints that belong to it: `{"head": ["beak", "crown"]}`.
        rest: Weight of the background's probability against that of a name, at least 0; with 0
            there is no remainder, and the names share everything.
        decay: Weight of the classifier's L2 penalty; None: chosen by the number of images.
        spread: Standard deviation of the Gaussian round a point, in units of the image's side.
        background: Evidence for the background at every cell, where a part's is 1 at its point.

    Attributes:
        classifier: What `fit` has learned.
        accuracy: How it names the points of images that it did not see (cross-validated).

    Raises:
        DiscoveryError: If there is no name, or an option is out of range.
    """

    shared: ClassVar[bool] = True

    def __init__(
        self,
        groups: dict[str, list[str]],
        rest: float = 0.1,
        decay: float | None = None,
        spread: float = SPREAD,
        background: float = BACKGROUND,
    ) -> None:
        if not groups:
            raise DiscoveryError("There is no named part: give at least one name and its points.")
        for name, value in (("spread", spread), ("background", background)):
            if not value > 0:
                raise DiscoveryError(f"{name} is {value}, but must be positive.")
        for name, value in (("rest", rest), ("decay", 0.0 if decay is None else decay)):
            if not value >= 0:
                raise DiscoveryError(f"{name} is {value}, but must be at least 0.")
        self.groups = groups
        self.rest = rest
        self.decay = decay
        self.spread = spread
        self.background = background
        self.classifier: TokenClassifier | None = None
        self.accuracy: ClickAccuracy | None = None
        self._points: dict[int, Tensor] = {}
        self._size = (0, 0)

    @property
    def part_names(self) -> list[str]:
        """Name of each part that `discover` returns."""
        return [*self.groups, *(["rest"] if self.rest else [])]

    def annotate(
        self,
        indices: Sequence[int],
        keypoints: Tensor,
        keypoint_names: Sequence[str],
        size: tuple[int, int],
    ) -> None:
        """Take the points that `fit` learns from.

        Args:
            indices: Which training images are annotated, m of them, as in `ClassTokens.indices`.
            keypoints: (m, P, 3) x and y in pixels of the classifier's input, and visibility.
            keypoint_names: Name of each of the P.
            size: Height and width of the input in pixels.

        Raises:
            DiscoveryError: If a name's keypoint is unknown, or a name has no visible point.
        """
        points = grouped_points(keypoints, keypoint_names, self.groups)
        shown = (points[..., 2] > 0).any(2).sum(0)
        for name, count in zip(self.groups, shown.tolist(), strict=True):
            if count == 0:
                raise DiscoveryError(
                    f"No image shows part '{name}': annotate it on an image, or drop the name."
                )
        self._points = dict(zip(indices, points, strict=True))
        self._size = size

    def fit(self, classes: Iterable[ClassTokens], weight: Tensor, k: int) -> None:
        """Train the classifier of tokens on the annotated images.

        Raises:
            DiscoveryError: If k does not fit the names, or no annotated image is among the classes.
        """
        self._expect(k)
        tokens, points, grid = [], [], (0, 0)
        for item in classes:
            grid = item.grid
            for row, index in enumerate(item.indices.tolist()):
                if index in self._points:
                    tokens.append(item.tokens[row].float())
                    points.append(self._points[index])
        if not tokens:
            raise DiscoveryError(
                "None of the training images is annotated: name images of this data set."
            )
        seen = torch.stack(tokens), torch.stack(points).to(tokens[0].device), grid, self._size
        self.accuracy = self.cross_validate(*seen)
        self.learn(*seen)

    def learn(
        self,
        tokens: Tensor,
        points: Tensor,
        grid: tuple[int, int],
        size: tuple[int, int],
        copies: Sequence[Tensor] = (),
    ) -> None:
        """Train the classifier of tokens.

        Args:
            tokens: (m, N, D) of annotated images.
            points: (m, K, p, 3) as `grouped_points` sorts them.
            grid: (H, W) of the tokens.
            size: Height and width of the images in pixels.
            copies: Each (m, N, D), tokens of disturbed copies of the same images.
        """
        evidence = point_evidence(points, grid, size, self.spread)
        targets = point_targets(evidence, self.background)
        every = torch.cat([tokens, *copies]).flatten(0, 1)
        repeated = targets.repeat(1 + len(copies), 1, 1).flatten(0, 1)
        self.classifier = fit_token_classifier(every, repeated, len(tokens), self.decay)

    def cross_validate(
        self, tokens: Tensor, points: Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> ClickAccuracy:
        """Return how points are named by a classifier that has not seen their image.

        Args:
            tokens: See `learn`; at most five parts of the images are held out in turn.
            points: See `learn`.
            grid: See `learn`.
            size: See `learn`.

        Returns:
            Figures over all points; NaN with a single image.
        """
        named, seen = torch.zeros(2, len(self.groups), dtype=torch.double, device=points.device)
        missed = named.sum()
        fold = torch.arange(len(tokens), device=tokens.device) % _FOLDS
        other = NamedParts(**self.options)
        for number in range(min(_FOLDS, len(tokens)) if len(tokens) > 1 else 0):
            held = fold == number
            other.learn(tokens[~held], points[~held], grid, size)
            assert other.classifier is not None
            found = other.classifier.accuracy(tokens[held], points[held], grid, size)
            named += found.hits
            missed += found.lost.sum()
            seen += found.points
        return ClickAccuracy(named, missed, seen)

    def discover(self, group: Sequence[ClassTokens], weight: Tensor, k: int) -> list[Parts]:
        """Take the probabilities of the parts as their coefficients.

        Raises:
            DiscoveryError: If nothing is learned, k does not fit the names, or tokens are not
                finite.
        """
        self._expect(k)
        if self.classifier is None:
            raise DiscoveryError("The named parts are not learned yet: call fit first.")
        found = []
        for item in group:
            tokens = item.tokens.float().flatten(0, 1)
            coefficients = self.classifier(tokens)
            coefficients[:, -1] *= self.rest
            coefficients = coefficients[:, :k]
            if not bool(torch.isfinite(coefficients).all()):
                raise DiscoveryError(
                    f"The features of class {item.name} contain NaN or infinity: check the "
                    "classifier's weights and the precision (bf16-mixed instead of 16-mixed, or "
                    "32-true)."
                )
            parts = torch.nn.functional.normalize(coefficients.T @ tokens, dim=1)
            found.append(Parts(parts, coefficients, self.rest > 0))
        return found

    def _expect(self, k: int) -> None:
        expected = len(self.part_names)
        if k != expected:
            raise DiscoveryError(
                f"k is {k}, but the parts are {', '.join(self.part_names)}: set k to {expected}."
            )
