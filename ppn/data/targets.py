"""What a data set lists as its labels, confirmed by a few of its items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ppn.data.batches import unpack
from ppn.data.chosen import reread
from ppn.data.wrapped import listed_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.utils.data import DataLoader

_PROBES = 64
"""Images, besides two of each class, that must agree with what a data set lists as its labels."""


def confirmed_targets(
    loader: DataLoader[Any], positions: NDArray[np.int64], batch_size: int, guess: bool = False
) -> dict[Any, int] | None:
    """Return the label of each value that a data set lists, as its items have it.

    Two images of each value are read, and some more: where they do not agree with each other, the
    list is not one of labels, and nothing is known ({}).

    Args:
        loader: Gives one label per image.
        positions: (n,) which images of its data set are used; no other is read.
        batch_size: Images read at a time.
        guess: See `listed_targets`.

    Returns:
        None if nothing is listed.
    """
    listed = listed_targets(loader.dataset, guess)
    if listed is None or not len(positions):
        return None
    values = listed[positions]
    first, last = (np.unique(part, return_index=True)[1] for part in (values, values[::-1]))
    spread = np.linspace(0, len(values) - 1, min(_PROBES, len(values))).astype(int)
    probes = np.unique(np.concatenate([first, len(values) - 1 - last, spread]))
    found: dict[Any, int] = {}
    keys = iter(values[probes].tolist())
    for batch in reread(loader, positions[probes].tolist(), batch_size):
        labels = unpack(batch).labels
        if labels.ndim > 1 or bool((labels != labels.long()).any()):
            return {}
        # The batch comes first: zip takes from its first argument before it finds the other empty.
        for label, key in zip(labels.long().tolist(), keys, strict=False):
            if found.setdefault(key, label) != label:
                return {}
    return found
