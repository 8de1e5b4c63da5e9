"""Maps that add up for every classifier: path integrals from some layer, or from the pixels."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from ppn.classifier.at_once import at_once
from ppn.classifier.integral import path_integral
from ppn.classifier.running import copied, guarded
from ppn.classifier.span import span_key

if TYPE_CHECKING:
    from ppn.classifier import Classifier
    from ppn.classifier.cut_point import Features
    from ppn.classifier.span import Span

Baseline = Literal["blurred", "grey", "colour", "tokens"]
"""What a picture is compared with: itself blurred; the mean colour that the classifier's input is
normalised by; its own mean colour; or, behind a layer, its own mean patch token everywhere."""
TOLERANCE = 0.01
"""Default completeness error allowed, over the contributions' standard deviation."""
MOST_NODES = 512
_HELD = 2**25
"""Most numbers that attributions of all directions have at once: images come in turn beyond it."""
_BLUR = 1 / 16
"""Standard deviation of the blurred baseline over the image's shorter side."""


class CompleteMaps(NamedTuple):
    """Where contributions come from, as terms that add up to them.

    `maps` (B, k, H, W): a map's mean is what the places contribute; `elsewhere` (B, k): what comes
    through tokens without a place, such as the class token; `baseline` (B, k): the contribution
    to the baseline image; `error` (B,): largest |mean + elsewhere + baseline - contribution| over
    the contributions' standard deviation; `nodes` (B,) int64, evaluations per image that the maps
    are the mean of.
    """

    maps: Tensor
    elsewhere: Tensor
    baseline: Tensor
    error: Tensor
    nodes: Tensor


def complete_maps(
    classifier: Classifier,
    span: Span,
    images: Tensor,
    directions: Tensor,
    spread: Tensor,
    tolerance: float = TOLERANCE,
    baseline: Baseline = "blurred",
    nodes: int = 4,
    most: int = MOST_NODES,
    begun: tuple[Features, Tensor] | None = None,
) -> CompleteMaps:
    """Attribute contributions <y, direction> to places at the beginning of a span.

    Costs a forward pass for each end of the path, and for each node one run of the span with one
    backward pass through it for each direction; what was tried before with fewer nodes comes on
    top. The backward passes share the run: on a CPU a batch of them takes 1.1 times as long (by
    torch's `is_grads_batched`), and runs repeated for each 1.5 times.

    Args:
        classifier: The classifier.
        span: What is run: from the pixels, the last features, or a module on.
        images: (B, C, H, W) as the classifier takes them.
        directions: (B, k, D), the prototypes wanted on each image.
        spread: (B,) standard deviation of the contributions, to which errors are relative.
        tolerance: Largest error allowed.
        baseline: What the picture is compared with.
        nodes: Nodes of the first quadrature.
        most: Nodes of the last one.
        begun: What `span.start` gives for the images, where they went through before.
    """
    model = classifier.model
    # A Trainer evaluates in inference mode, whose tensors autograd does not accept: copies do.
    with guarded(model), torch.inference_mode(False), torch.enable_grad():
        images = images.detach().clone()
        directions = directions.detach().clone().float()
        with torch.no_grad():
            features, y = _copies(*begun) if begun else span.start(classifier, images)
            below, y0 = _below(classifier, span, images, features, baseline)
            c, c0 = (torch.einsum("bd,bkd->bk", v.double(), directions.double()) for v in (y, y0))
        moving = [
            index
            for index, leaf in enumerate(features.leaves)
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and len(leaf) == len(images)
        ]

        def function(some: Tensor, points: list[Tensor], rows: Tensor) -> Tensor:
            rows = some[rows]
            leaves = [
                leaf[rows] if isinstance(leaf, Tensor) and leaf.dim() > 0 else leaf
                for leaf in features.leaves
            ]
            for index, point in zip(moving, points, strict=True):
                leaves[index] = point
            return span.respond(classifier, features._replace(leaves=leaves))

        def one() -> Tensor:
            ends = [features.leaves[index][:1].clone().requires_grad_() for index in moving]
            first = torch.zeros(1, dtype=torch.long, device=c.device)
            return function(first, ends, first)

        batch = at_once(model, (span.kind, span.name, *span_key(model, images)), one)
        spread = spread.detach().double().clamp(min=torch.finfo(torch.float32).tiny)
        each = directions.shape[1] * sum(features.leaves[index][0].numel() for index in moving)
        pieces = []
        for some in torch.split(torch.arange(len(images), device=c.device), _HELD // each or 1):
            found = path_integral(
                partial(function, some),
                [below.leaves[index][some] for index in moving],
                [features.leaves[index][some] for index in moving],
                directions[some],
                (c - c0)[some],
                tolerance * spread[some],
                nodes,
                most,
                batch,
            )
            error = (found.error.amax(1) / spread[some]).float()
            placed = _placed(span, features, moving, found.parts, c0[some])
            pieces.append(placed._replace(error=error, nodes=found.nodes))
    return CompleteMaps(*map(torch.cat, zip(*pieces, strict=True)))


def _copies(features: Features, y: Tensor) -> tuple[Features, Tensor]:
    return features._replace(leaves=copied(features.leaves)), y.clone()


def _placed(
    span: Span, features: Features, moving: list[int], parts: list[Tensor], c0: Tensor
) -> CompleteMaps:
    """Sum attributions over channels, and tell those with a place from the others."""
    part = parts[moving.index(span.leaf)]
    count, k = part.shape[:2]
    tokens = span.location.read(part.flatten(0, 1))
    cells = tokens.shape[1]
    rows, columns = span.location.grid(features.leaves[span.leaf], features.size)
    places = tokens.sum(-1).reshape(count, k, rows, columns)
    total = torch.stack([part.double().flatten(2).sum(2) for part in parts]).sum(0)
    elsewhere = total - places.double().sum((2, 3))
    if sum(p[0, 0].numel() for p in parts) == tokens[0].numel():
        elsewhere = torch.zeros_like(elsewhere)  # all has a place: the rest is rounding
    empty = c0.new_zeros(count)
    return CompleteMaps((places * cells).float(), elsewhere.float(), c0.float(), empty, empty)


def _below(
    classifier: Classifier, span: Span, images: Tensor, features: Features, baseline: Baseline
) -> tuple[Features, Tensor]:
    """Return what is at the cut for the baseline, and y (B, D) of it."""
    if baseline != "tokens" or span.kind == "pixels":
        return span.start(classifier, baseline_images(images, baseline))
    leaf = features.leaves[span.leaf]
    tokens = span.location.read(leaf)
    mean = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
    below = features.with_leaf(span.leaf, span.location.replaced(leaf, mean))
    return below, span.respond(classifier, below)


def baseline_images(images: Tensor, baseline: Baseline) -> Tensor:
    """Return the images that others are compared with, (B, C, H, W) normalised as they are."""
    if baseline == "grey":
        return torch.zeros_like(images)
    if baseline != "blurred":
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images).clone()
    sigma = max(0.5, _BLUR * min(images.shape[2:]))
    width = 2 * min(int(3 * sigma), (min(images.shape[2:]) - 1) // 2) + 1
    # One axis after the other, as matrices: the same, and hundreds of times less work.
    down, across = (_blurring(side, width, sigma).to(images) for side in images.shape[2:])
    return down.T @ images @ across


@lru_cache(maxsize=8)
def _blurring(side: int, width: int, sigma: float) -> Tensor:
    """Return the matrix (side, side) that blurs rows of pixels which are multiplied by it."""
    blurred: Tensor = gaussian_blur(torch.eye(side)[None], [width, 1], [sigma, sigma])[0]
    return blurred
