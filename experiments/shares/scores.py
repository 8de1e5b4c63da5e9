"""Figures of maps class by class, so that ways can be paired over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ppn.metrics.distinct_peaks import coinciding_share
from ppn.metrics.distinctiveness import box_iou, strongest
from ppn.metrics.maps import peak
from ppn.metrics.windows import part_hits

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.shares.tokens import Extracted, Images

HALF_SIZE, THRESHOLD, BOX = 36, 0.8, 72
METRICS = ("consistency", "stability", "distinct_peaks", "distinctiveness", "negative_share")


class Sample(NamedTuple):
    """Some images of a split that are scored: `images`, and which `rows` of them."""

    images: Images
    rows: Tensor


@torch.no_grad()
def scores(
    extracted: Extracted, sample: Sample, prototypes: Tensor, parts: int | None = None
) -> dict[str, Tensor]:
    """Score prototypes by the protocols' definitions (metrics.md), each class by itself.

    Args:
        extracted: The data set.
        sample: What is scored.
        prototypes: (C, k, D); classes of NaN are left out.
        parts: How many of the k have a place; None: all. A remainder is counted in the negative
            share only.

    Returns:
        For each of `METRICS` (C,) float64 in percent, NaN for classes without images.
    """
    images, rows = sample
    size = extracted.size
    labels = images.labels[rows]
    found = {name: torch.full((len(prototypes),), torch.nan).double() for name in METRICS}
    for label in labels.unique().tolist():
        own = prototypes[label]
        if own.isnan().any():
            continue
        chosen = rows[labels == label]
        clean, noisy = (
            (images.tokens[kind][chosen] @ own.T).mT.unflatten(2, extracted.grid)
            for kind in ("clean", "metric")
        )
        found["negative_share"][label] = 100 * (clean.mean((2, 3)) < 0).double().mean()
        placed = clean[:, :parts]
        points = images.keypoints[chosen]
        if points.shape[1]:
            hits, again = (
                part_hits(peak(m[:, :parts], (size, size)), points, [HALF_SIZE], (size, size))[0]
                for m in (clean, noisy)
            )
            visible = (points[..., 2] > 0).sum(0).clamp(min=1)
            share = hits.double().sum(0) / visible
            found["consistency"][label] = 100 * (share.amax(1) >= THRESHOLD).double().mean()
            found["stability"][label] = 100 * (hits == again).all(-1).double().mean()
        if placed.shape[1] > 1:
            found["distinct_peaks"][label] = 100 * (1 - coinciding_share(placed).mean())
            top = torch.nn.functional.avg_pool2d(strongest(placed, 5), 2)
            boxes = peak(top, (size, size), "bilinear")
            found["distinctiveness"][label] = 100 * (1 - box_iou(boxes, BOX).mean())
    return found
