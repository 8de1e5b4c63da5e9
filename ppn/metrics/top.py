"""The strongest images of each prototype, as a state of fixed shape that processes can merge."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def strongest(rows: Tensor, top: int) -> Tensor:
    """(k, n, F) rows of score and index -> (k, top, F): highest score, then lowest index."""
    by_index = rows[..., 1].argsort(dim=1, stable=True)
    rows = rows.gather(1, by_index[..., None].expand_as(rows))
    order = rows[..., 0].argsort(dim=1, descending=True, stable=True)[:, :top]
    return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))


def best_of(states: Tensor) -> Tensor:
    """The strongest of what each process (world, C, k, top, F) has."""
    _, classes, k, top, _ = states.shape
    joined = states.movedim(0, 2).flatten(2, 3).flatten(0, 1)
    return strongest(joined, top).reshape(classes, k, top, -1)
