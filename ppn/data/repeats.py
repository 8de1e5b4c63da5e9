"""Finds images that a data set holds more than once, by their decoded pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from PIL import Image

    from ppn.data.dataset import AnnotatedDataset

DIGEST_BYTES = 16


def digest(image: Image.Image) -> bytes:
    """Return 16 bytes that are the same for images of the same size and pixels only."""
    state = hashlib.blake2b(repr((image.mode, image.size)).encode(), digest_size=DIGEST_BYTES)
    state.update(image.tobytes())
    return state.digest()


def find_repeats(
    sources: Mapping[str, AnnotatedDataset],
    digests: Mapping[str, NDArray[np.uint8]],
    error: Callable[[str], None],
) -> int:
    """Name images that are in both splits, or in one split with two labels.

    Args:
        sources: The splits.
        digests: (n, 16) `digest` of each image; zeros for images that could not be read.
        error: Called with a sentence about each such image.

    Returns:
        How many images repeat another one of the same class and split, which does little harm.
    """
    splits = list(sources)
    split_of = np.repeat(np.arange(len(splits)), [len(digests[split]) for split in splits])
    index_of = np.concatenate([np.arange(len(digests[split])) for split in splits])
    harmless = 0
    for group in _groups(np.concatenate([digests[split] for split in splits])):
        copies = {split: index_of[group[split_of[group] == i]] for i, split in enumerate(splits)}
        copies = {split: indices for split, indices in copies.items() if len(indices)}
        if len(copies) > 1:
            listed = " and ".join(
                f"{split} ({', '.join(sources[split].name(int(i)) for i in indices)})"
                for split, indices in copies.items()
            )
            error(f"The same image is in {listed}: take it off one of the splits.")
        for split, indices in copies.items():
            source = sources[split]
            if len(np.unique(source.labels[indices])) > 1:
                listed = ", ".join(f"{source.name(int(i))} ({_class(source, i)})" for i in indices)
                error(f"The same image has different labels in {split}, correct them: {listed}.")
            else:
                harmless += len(indices) - 1
    return harmless


def _groups(digests: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Rows that are equal to another one, group by group; rows of zeros are left out."""
    words = np.ascontiguousarray(digests).view(np.uint64)
    order = np.lexsort(words.T)  # stable: equal images stay in the order of the lists
    ordered = words[order]
    begins = np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(1)])[: len(order)]
    starts = np.flatnonzero(begins)
    lengths = np.diff(np.append(starts, len(order)))
    several = lengths > 1
    for start, length in zip(starts[several], lengths[several], strict=True):
        if ordered[start].any():
            yield order[start : start + length]


def _class(source: AnnotatedDataset, index: int) -> str:
    label = int(source.labels[index])
    return source.class_names[label] if 0 <= label < len(source.class_names) else str(label)
