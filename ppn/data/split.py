"""Splits: names of splits, images held out, and classes shared out among processes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ppn.types import Split

_SPLIT_OF: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_named(name: str) -> tuple[Split | None, bool]:
    """Read a user's name of a split, such as `Train`, `validation`, `train_cropped` or `test2017`.

    Returns:
        The split, or None if the name is not that of one; and whether the name says nothing else.
    """
    words = re.findall(r"[^\W\d_]+|\d+", name.lower())
    found = next((_SPLIT_OF[word] for word in (*words[:1], *words[-1:]) if word in _SPLIT_OF), None)
    return found, len(words) == 1


def stratified_split(
    labels: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Carve a validation split out of the training images, class by class.

    Each class draws from its own generator, so that the split of one class does not depend on
    which other classes are there.

    Args:
        labels: (n,) class of each training image.
        fraction: Share of each class that goes to validation, in [0, 1); rounded to the nearest
            count, but a class never loses its last training image.
        seed: Seed of the draw.

    Returns:
        Indices of the training and of the validation images, each sorted.
    """
    validation: list[NDArray[np.int64]] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(round(fraction * len(members)), len(members) - 1)
        order = np.random.default_rng([seed, int(label)]).permutation(len(members))
        validation.append(members[order[:count]])
    chosen = np.sort(np.concatenate(validation)) if validation else np.zeros(0, np.int64)
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def grouped_classes(counts: Sequence[int], images: int, most: int) -> list[list[int]]:
    """Join successive classes into groups, by their counts alone and not by who works on them.

    Args:
        counts: Images of each class.
        images: Most images of a group, unless one class alone has more.
        most: Most classes of a group.

    Returns:
        The labels of each group, all ascending.
    """
    groups: list[list[int]] = []
    total = 0
    for label, count in enumerate(counts):
        if not groups or total + count > images or len(groups[-1]) == most:
            groups.append([])
            total = 0
        groups[-1].append(label)
        total += count
    return groups


def balanced(counts: Sequence[int], processes: int) -> list[list[int]]:
    """Share items among processes so that each has about as many images.

    The largest item goes first, each to the process with the fewest images so far.

    Args:
        counts: Images of each item.
        processes: Number of processes.

    Returns:
        For each process its items, ascending; none for processes beyond the number of items.
    """
    owned: list[list[int]] = [[] for _ in range(processes)]
    load = [0] * processes
    for item in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
        lightest = load.index(min(load))
        owned[lightest].append(item)
        load[lightest] += counts[item]
    return [sorted(items) for items in owned]
