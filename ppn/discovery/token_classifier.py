"""One linear classifier of patch tokens into named parts, shared by all classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Sequence

SPREAD = 24 / 224
"""Standard deviation of the Gaussian round a point, in units of the image's side."""
BACKGROUND = 0.15
"""Weight of the background at every cell, where a part has 1 at its own point."""
_STEPS = 200
_FEW = 200


class ClickAccuracy(NamedTuple):
    """How well points are named that the classifier has not seen.

    `accuracy` share of points whose cell gets their own part's name, in [0, 1]; `per_part` (K,) the
    same of each part, NaN without a point; `points` (K,) how many each part has.
    """

    accuracy: float
    per_part: Tensor
    points: Tensor


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
        self.register_buffer("weight", torch.zeros(parts + 1, width))
        self.register_buffer("bias", torch.zeros(parts + 1))

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
        named = self(tokens).argmax(-1)
        seen = points[..., 2] > 0
        row, column = (
            (points[..., axis].nan_to_num() * cells / pixels).long().clamp(0, cells - 1)
            for axis, cells, pixels in ((1, grid[0], size[0]), (0, grid[1], size[1]))
        )
        cell = (row * grid[1] + column).flatten(1)
        own = torch.arange(points.shape[1], device=points.device)[:, None]
        right = (named.gather(1, cell).view_as(seen) == own) & seen
        count = seen.sum((0, 2))
        hits = right.sum((0, 2)).double()
        return ClickAccuracy(
            float(hits.sum() / count.sum()) if count.sum() else float("nan"),
            hits / count,
            count,
        )


def point_evidence(
    points: Tensor, grid: tuple[int, int], size: tuple[int, int], spread: float = SPREAD
) -> Tensor:
    """How close each cell is to a point of each part: a Gaussian of the nearest one's distance.

    Args:
        points: (n, K, m, 3) x and y in pixels and visibility (positive: visible).
        grid: H, W of the tokens.
        size: Height and width of the images in pixels.
        spread: Standard deviation, in units of the square root of the image's area.

    Returns:
        (n, H * W, K) float32 in [0, 1]; 0 for a part without a visible point.
    """
    rows, columns = (
        (torch.arange(cells, device=points.device) + 0.5) * pixels / cells
        for cells, pixels in zip(grid, size, strict=True)
    )
    across = points[..., 0, None] - columns
    down = points[..., 1, None] - rows
    squared = down.square()[..., :, None] + across.square()[..., None, :]
    sigma = spread * (size[0] * size[1]) ** 0.5
    near = torch.exp(-squared / (2 * sigma**2)).flatten(3)
    # An invisible point's coordinates may be anything, NaN too.
    near = torch.where(points[..., 2, None] > 0, near, 0.0)
    return near.amax(2).mT.float()


def point_targets(evidence: Tensor, background: float = BACKGROUND) -> Tensor:
    """Return probabilities (..., K + 1) of parts, and of the background last.

    Args:
        evidence: (..., K) of `point_evidence`.
        background: Its evidence at every cell, positive.
    """
    rest = evidence.new_full((*evidence.shape[:-1], 1), background)
    joined = torch.cat([evidence, rest], dim=-1)
    return joined / joined.sum(-1, keepdim=True)


def grouped_points(
    keypoints: Tensor, part_names: Sequence[str], groups: dict[str, list[str]]
) -> Tensor:
    """Sort keypoints by named part.

    Args:
        keypoints: (n, P, 3).
        part_names: Name of each of the P.
        groups: For each of the K names the keypoints that belong to it.

    Returns:
        (n, K, m, 3), where m is the size of the largest group; what is missing is not visible.

    Raises:
        DiscoveryError: If a group is empty or names an unknown keypoint.
    """
    from ppn.errors import DiscoveryError

    known = list(part_names)
    for name, members in groups.items():
        strange = [member for member in members if member not in known]
        if strange or not members:
            what = f"keypoint '{strange[0]}', which there is not" if strange else "no keypoint"
            raise DiscoveryError(f"Part '{name}' has {what}: choose from {', '.join(known)}.")
    most = max(map(len, groups.values()), default=0)
    sorted_ = keypoints.new_zeros(len(keypoints), len(groups), most, 3)
    for row, members in enumerate(groups.values()):
        sorted_[:, row, : len(members)] = keypoints[:, [known.index(m) for m in members]]
    return sorted_


@torch.enable_grad()
def fit_token_classifier(
    tokens: Tensor, targets: Tensor, images: int, decay: float | None = None
) -> TokenClassifier:
    """Fit a softmax regression on standardised tokens by L-BFGS.

    Args:
        tokens: (n, D) of the annotated images, and of disturbed copies of them.
        targets: (n, K + 1) probabilities, of `point_targets`.
        images: How many images they are from, copies not counted.
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

    optimiser.step(loss)  # type: ignore[arg-type]
    found = TokenClassifier(tokens.shape[1], targets.shape[1] - 1).to(tokens.device)
    found.weight.copy_(weight.detach() / std)
    found.bias.copy_(bias.detach() - found.weight @ mean)
    return found
