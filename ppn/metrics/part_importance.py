"""Which parts an explanation calls important, and which parts tell a class from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ppn.metrics.regions import upsampled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ppn.explainers.base import Attribution

_MARGIN = 2 / 256
"""How far a part reaches beyond its own pixels, in sides of the image."""


class Rivals(NamedTuple):
    """Two classes, and the parts, as bits, that a third one shares with each of them."""

    first: int
    second: int
    of_first: int
    of_second: int


def margin(size: int) -> int:
    """Return how many pixels around a part count as its own, of an image of this side."""
    return round(_MARGIN * size)


def evidence(found: Attribution, size: tuple[int, int]) -> Tensor:
    """Where the evidence for a class is, in pixels.

    One map is taken as it is. Of several, each gives its contribution to the pixels where it has
    the contribution's sign, in proportion: the protocol's authors do so with the boxes of a
    ProtoPNet, whose contributions are positive. What speaks against a class is thus no evidence
    against the place that a part has found. Without contributions maps are summed.

    Args:
        found: What an explainer says.
        size: Height and width of the images.

    Returns:
        (B, *size) float32.
    """
    maps = upsampled(found.maps, size, "bilinear")
    if found.contributions is None or maps.shape[1] == 1:
        return maps.sum(1)
    contributions = found.contributions.float()[:, :, None, None]
    mass = (maps * contributions.sign()).clamp(min=0)
    mass = torch.where(mass.amax((2, 3), keepdim=True) > 0, mass, maps.abs())
    shares = mass / mass.sum((2, 3), keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)
    return (contributions * shares).sum(1)


def widened(regions: Tensor) -> Tensor:
    """Return regions (m, H, W) bool and a little around them, as float32."""
    reach = margin(regions.shape[1])
    return max_pool2d(regions.float()[:, None], 2 * reach + 1, 1, reach)[:, 0]


def importance(where: Tensor, regions: Sequence[Tensor]) -> Tensor:
    """Evidence within each region.

    Args:
        where: (B, H, W) of `evidence`.
        regions: Of each image (m, H, W) of `widened`; m may differ.

    Returns:
        (B, M) float64, 0 beyond an image's own regions.
    """
    found = where.new_zeros(len(where), max(map(len, regions), default=0), dtype=torch.float64)
    for row, (own, wide) in enumerate(zip(where, regions, strict=True)):
        found[row, : len(wide)] = wide.flatten(1).double() @ own.flatten().double()
    return found


def shared_parts(traits: Mapping[int, Sequence[object]], label: int) -> dict[int, int]:
    """Return which parts, as bits, every other class has in the same form as this one."""
    own = traits[label]
    return {
        other: sum(1 << k for k, (a, b) in enumerate(zip(own, form, strict=True)) if a == b)
        for other, form in traits.items()
        if other != label
    }


def minimal_sufficient_sets(traits: Mapping[int, Sequence[object]], label: int) -> list[int]:
    """Return the smallest sets of parts, as bits, that no other class has in the same form.

    Args:
        traits: The form of each kind of part, by label.
        label: The class.
    """
    shared = set(shared_parts(traits, label).values())
    kinds = range(len(traits[label]))
    sufficient = {
        parts for parts in range(1, 1 << len(kinds)) if all(parts & ~other for other in shared)
    }
    return sorted(
        parts
        for parts in sufficient
        if not any(parts >> k & 1 and parts & ~(1 << k) in sufficient for k in kinds)
    )


def covered_share(sets: Sequence[int], kinds: int) -> Tensor:
    """Return how much of one of some sets each set of parts covers, at best: (2^K,) float64."""
    if not sets:
        return torch.zeros(1 << kinds, dtype=torch.float64)
    bits = torch.arange(1 << kinds)[:, None] >> torch.arange(kinds) & 1
    given = torch.tensor(sets)[:, None] >> torch.arange(kinds) & 1
    return ((bits @ given.T).double() / given.sum(1)).amax(1)


def rivals(traits: Mapping[int, Sequence[object]], label: int, count: int = 2) -> Rivals | None:
    """Return the first two classes that share `count` parts each with a class, not the same ones.

    Args:
        traits: The form of each kind of part, by label.
        label: The class.
        count: How many parts each shares with it.
    """
    near = [(o, p) for o, p in shared_parts(traits, label).items() if p.bit_count() == count]
    for place, (first, of_first) in enumerate(near):
        for second, of_second in near[place + 1 :]:
            if not of_first & of_second:
                return Rivals(first, second, of_first, of_second)
    return None
