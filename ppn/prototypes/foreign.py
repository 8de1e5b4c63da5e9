"""Does a prototype fire on other classes as much as on its own?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.prototypes.patch_index import PatchIndex

TOP = 10
"""Images with a prototype's strongest patches that are looked at."""


def foreign_share(labels: Tensor, own: Tensor, known: Tensor, images: Tensor) -> Tensor:
    """Share of other classes among the images on which a prototype fires most.

    Of a class with fewer images than are looked at, only as many count: else a prototype that fires
    on all of its own images first would seem to fire on others.

    Args:
        labels: (..., m) class of each image, the one with the strongest patch first.
        own: (...) the prototype's class.
        known: (..., m) whether there is such an image.
        images: (...) how many images the class has.

    Returns:
        (...) float64 in [0, 1], NaN where there is no image.
    """
    place = torch.arange(labels.shape[-1], device=labels.device)
    counted = known & (place < images[..., None])
    other = counted & (labels != own[..., None])
    return other.sum(-1).double() / counted.sum(-1)


@torch.no_grad()
def foreign_shares(index: PatchIndex, prototypes: Tensor, images: Tensor) -> Tensor:
    """Look up every prototype among the patches of all classes.

    Args:
        index: The patches of all training images.
        prototypes: (C, k, D).
        images: (C,) training images of each class.

    Returns:
        (C, k) float64, see `foreign_share`; NaN for prototypes of zeros, which fire on nothing.
    """
    classes, k = prototypes.shape[:2]
    nearest = index.nearest(prototypes.flatten(0, 1), TOP)
    own = torch.arange(classes).repeat_interleave(k)
    counts = images.cpu().repeat_interleave(k)
    found = foreign_share(nearest.label, own, nearest.score > -torch.inf, counts)
    return found.view(classes, k).masked_fill(~prototypes.any(2).cpu(), torch.nan)
