"""One linear classifier of patch tokens into named parts, shared by all classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEPS = 200
_FOLDS = 5
_FEW = 200


class ClickAccuracy(NamedTuple):
    """How points are named that the classifier has not seen.

    `hits` (K,) points of each part whose cell is more probably it than any other part; `lost` ()
    points whose cell is more probably background than any part; `points` (K,) how many there are.
    """

    hits: Tensor
    lost: Tensor
    points: Tensor

    @property
    def accuracy(self) -> float:
        """Share of points that get their own part's name, in [0, 1]; NaN without points."""
        return float(self.hits.sum() / self.points.sum())

    @property
    def missed(self) -> float:
        """Share of points that are taken for background, in [0, 1]; NaN without points."""
        return float(self.lost / self.points.sum())

    def account(self, names: Sequence[str]) -> dict[str, Any]:
        """Return plain values for files; None where there are no points.

        Args:
            names: Name of each of the K parts.
        """
        total = self.points.sum() > 0
        return {
            "points": int(self.points.sum()),
            "accuracy": self.accuracy if total else None,
            "missed": self.missed if total else None,
            "accuracy_of": {
                name: float(hits / points) if points > 0 else None
                for name, hits, points in zip(names, self.hits, self.points, strict=True)
            },
        }


class TokenClassifier(nn.Module):
    """Softmax regression of tokens: K named parts, and the background last.

    Args:
        width: D, channels of a token.
        parts: K.

    Attributes:
        weight: (K + 1, D) float32 buffer, acting on tokens as they are.
        bias: (K + 1,) float32 buffer.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        kind = torch.float32  # whatever torch's default is
        self.register_buffer("weight", torch.zeros(parts + 1, width, dtype=kind))
        self.register_buffer("bias", torch.zeros(parts + 1, dtype=kind))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return probabilities (..., K + 1) of tokens (..., D)."""
        return (tokens.float() @ self.weight.T + self.bias).softmax(-1)

    @torch.no_grad()
    def accuracy(
        self, tokens: Tensor, points: Tensor, grid: tuple[int, int], size: tuple[int, int]
    ) -> ClickAccuracy:
        """Return how many points' cells get the name of their part.

        Args:
            tokens: (n, N, D) tokens of images.
            points: (n, K, m, 3) x and y in pixels and visibility, up to m points of each part.
            grid: H, W of the tokens.
            size: Height and width of the images in pixels.
        """
        probabilities = self(tokens)
        named = probabilities[..., :-1].argmax(-1)
        missed = probabilities.argmax(-1) == points.shape[1]
        seen = points[..., 2] > 0
        row, column = (
            (points[..., axis].nan_to_num() * cells / pixels).long().clamp(0, cells - 1)
            for axis, cells, pixels in ((1, grid[0], size[0]), (0, grid[1], size[1]))
        )
        cell = (row * grid[1] + column).flatten(1)
        own = torch.arange(points.shape[1], device=points.device)[:, None]
        right = (named.gather(1, cell).view_as(seen) == own) & seen
        lost = missed.gather(1, cell).view_as(seen) & seen
        return ClickAccuracy(
            right.sum((0, 2)).double(), lost.sum().double(), seen.sum((0, 2)).double()
        )


def cross_validated(
    tokens: Tensor,
    targets: Tensor,
    points: Tensor,
    grid: tuple[int, int],
    size: tuple[int, int],
    decay: float | None = None,
) -> ClickAccuracy:
    """Return how points are named by classifiers that have not seen their image.

    Args:
        tokens: (m, N, D) of images, of which at most five parts are held out in turn.
        targets: (m, N, K + 1), as in `fit_token_classifier`.
        points: See `TokenClassifier.accuracy`.
        grid: H, W of the tokens.
        size: Height and width of the images in pixels.
        decay: See `fit_token_classifier`.

    Returns:
        Figures over all points; NaN with a single image.
    """
    hits, seen = torch.zeros(2, points.shape[1], dtype=torch.double, device=points.device)
    lost = hits.sum()
    fold = torch.arange(len(tokens), device=tokens.device) % _FOLDS
    for number in range(min(_FOLDS, len(tokens)) if len(tokens) > 1 else 0):
        held = fold == number
        shown, told = tokens[~held], targets[~held].flatten(0, 1)
        other = fit_token_classifier(shown.flatten(0, 1), told, len(shown), decay)
        found = other.accuracy(tokens[held], points[held], grid, size)
        hits, lost, seen = hits + found.hits, lost + found.lost, seen + found.points
    return ClickAccuracy(hits, lost, seen)


@torch.enable_grad()
def fit_token_classifier(
    tokens: Tensor, targets: Tensor, images: int, decay: float | None = None
) -> TokenClassifier:
    """Fit a softmax regression on standardised tokens by L-BFGS.

    Args:
        tokens: (n, D) of the annotated images.
        targets: (n, K + 1) probabilities, of `point_targets`.
        images: How many images they are from.
        decay: Weight of the squared norm of the weights; None: 1e-2 below 200 images, else 1e-3.
    """
    if decay is None:
        decay = 1e-2 if images < _FEW else 1e-3
    tokens = tokens.float()
    mean, std = tokens.mean(0), tokens.std(0)
    std = torch.where(std > 0, std, 1.0)  # a channel that never changes says nothing
    inputs = (tokens - mean) / std
    weight = tokens.new_zeros(targets.shape[1], tokens.shape[1], requires_grad=True)
    bias = tokens.new_zeros(targets.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = cross_entropy(inputs @ weight.T + bias, targets)
        value = value + decay * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    found = TokenClassifier(tokens.shape[1], targets.shape[1] - 1).to(tokens.device)
    found.weight.copy_(weight.detach() / std)
    found.bias.copy_(bias.detach() - found.weight @ mean)
    return found
