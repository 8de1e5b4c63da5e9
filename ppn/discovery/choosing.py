"""Which images to annotate next: of classes not seen yet, and what is least sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def image_uncertainty(probabilities: Tensor) -> Tensor:
    """How unsure a classifier of tokens is of the parts of each image.

    The entropy at the token that is most probably a part, over log(K + 1), averaged over the parts:
    what would be taken for the part is judged, so that a large background counts no more than a
    small one. A part that is not in the image counts as unsure unless its best token is another
    part's.

    Args:
        probabilities: (n, N, K + 1) of K parts and the background, as `TokenClassifier` gives them.

    Returns:
        (n,) in [0, 1].
    """
    parts = probabilities.shape[2] - 1
    best = probabilities[..., :-1].argmax(1)
    entropy = torch.special.entr(probabilities).sum(2)
    most = torch.log(entropy.new_tensor(parts + 1.0))
    unsure: Tensor = (entropy.gather(1, best) / most).mean(1).clamp(0, 1)
    return unsure


def choose_images(
    labels: Tensor,
    uncertainty: Tensor,
    annotated: Sequence[int] | Tensor = (),
    count: int | None = None,
) -> Tensor:
    """Return which images to annotate next, in this order.

    An image of a class with fewer annotated or chosen images comes first; among those, the one
    that is least sure.

    Args:
        labels: (n,) class of each image.
        uncertainty: (n,) of `image_uncertainty`; equal values keep the images' order.
        annotated: Which of the images are annotated already; they are not chosen again.
        count: How many are wanted; None orders all that are left.

    Returns:
        (count,) int64 positions, fewer where there are not as many images.
    """
    done = torch.zeros(len(labels), dtype=torch.bool)
    done[torch.as_tensor(annotated, dtype=torch.int64)] = True
    _, classes = labels.cpu().unique(return_inverse=True)  # type: ignore[no-untyped-call]
    before = torch.bincount(classes[done], minlength=len(labels))
    left = torch.arange(len(labels))[~done]
    unsure = uncertainty.cpu().double()[left]
    by_class = left[unsure.argsort(descending=True, stable=True)]
    by_class = by_class[classes[by_class].argsort(stable=True)]
    # How many of its class an image has before it: those annotated, and those less sure.
    found = classes[by_class]
    starts = torch.searchsorted(found, found)
    turn = before[found] + torch.arange(len(found)) - starts
    order = by_class.argsort()
    for key in (-uncertainty.cpu().double()[by_class], turn):
        order = order[key[order].argsort(stable=True)]
    return by_class[order][:count]
