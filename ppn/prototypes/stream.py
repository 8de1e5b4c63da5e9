"""From a stream of batches to the tokens of one class after the other."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import torch

from ppn.discovery.base import ClassTokens
from ppn.types import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from ppn.prototypes.certificate import CertificateSample

TokenBatch = tuple[Tokens, list[int], torch.Tensor]
"""Tokens of a batch, the label of each image, and which images (B,) they are."""


GROUP = 8
"""Classes that are kept in memory together on a CPU, where grouping saves no time."""
_LARGEST_GROUP = 16
"""More would save little time and leave processes with unequal shares."""
_COPIES = 4
"""Of a group's tokens, at most at once: batches and their join, clipped, weighted, padded."""


def group_size(
    class_bytes: int,
    device: torch.device,
    memory: Callable[[torch.device], tuple[int, int]] = torch.cuda.mem_get_info,
) -> int:
    """Choose how many classes are kept in memory and factorised together.

    On a GPU as many as half of its free memory holds; a power of two, so that a resumed run, which
    finds about as much memory, chooses the same and can take over what is done.

    Args:
        class_bytes: Size of the tokens of the largest class.
        device: Where tokens are.
        memory: Free and total bytes of a GPU.
    """
    if device.type != "cuda":
        return GROUP
    fitting = memory(device)[0] // (2 * _COPIES * max(1, class_bytes))
    return int(min(_LARGEST_GROUP, 1 << max(0, fitting.bit_length() - 1)))


def class_by_class(
    batches: Iterable[TokenBatch],
    names: Sequence[str],
    sample: CertificateSample | None = None,
    sort: bool = False,
) -> Iterator[ClassTokens]:
    """Join the tokens of each class.

    Args:
        batches: Tokens in the order of the classes, each class in one piece.
        names: Name of each class.
        sample: Is given every image, for the certificate; None where there is to be none.
        sort: Whether batches come in any order; then all tokens are kept in memory at once.

    Yields:
        The tokens of one class after the other.
    """
    pending: dict[int, list[tuple[Tokens, Tensor]]] = {}
    for tokens, labels, indices in batches:
        for label, positions in groupby(range(len(labels)), key=labels.__getitem__):
            if not sort and pending and label not in pending:
                yield from (_joined(done, names, pending.pop(done)) for done in list(pending))
            rows = list(positions)
            chosen = tokens.rows(rows)
            if sample is not None:
                sample.add(label, chosen)
            pending.setdefault(label, []).append((chosen, indices[rows]))
    for label in sorted(pending):
        yield _joined(label, names, pending.pop(label))


def _joined(label: int, names: Sequence[str], pending: list[tuple[Tokens, Tensor]]) -> ClassTokens:
    found = Tokens.joined([tokens for tokens, _ in pending])
    indices = torch.cat([indices for _, indices in pending])
    return ClassTokens(
        label, names[label], found.tokens, indices, found.pooled, found.grid, found.earlier
    )
