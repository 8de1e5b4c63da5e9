"""One exchange between the processes for all metrics, instead of several for each state."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torchmetrics import Metric


@contextmanager
def exchanged(metrics: Iterable[Metric]) -> Iterator[None]:
    """Let metrics be computed from the states of all processes, which are gathered at once.

    torchmetrics gathers each state by itself, in three messages: some 170 for an evaluation, in
    which processes mostly wait for each other. Here it is one per type of number. What torchmetrics
    then does with the states of all processes is the same, and so are the results.

    Args:
        metrics: Whose states are tensors of a shape that is the same on every process.
    """
    chosen = list(metrics)
    if not (distributed.is_available() and distributed.is_initialized()):
        yield
        return
    states = [state for metric in chosen for state in metric.metric_state.values()]
    everywhere = _gather([state for state in states if isinstance(state, Tensor)])

    def look_up(state: Tensor, group: object = None) -> list[Tensor]:
        del group
        return everywhere[id(state)]

    for metric in chosen:
        metric.dist_sync_fn = look_up
    try:
        yield
    finally:
        for metric in chosen:
            metric.dist_sync_fn = None


def _gather(tensors: list[Tensor]) -> dict[int, list[Tensor]]:
    """Return each tensor's values on every process, by the identity of the tensor."""
    values: dict[int, list[Tensor]] = {}
    for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        ours = torch.cat([tensor.flatten() for tensor in same])
        theirs = [torch.empty_like(ours) for _ in range(distributed.get_world_size())]
        distributed.all_gather(theirs, ours)
        sizes = [tensor.numel() for tensor in same]
        parts = zip(*(torch.split(other, sizes) for other in theirs), strict=True)
        for tensor, ranks in zip(same, parts, strict=True):
            values[id(tensor)] = [part.view_as(tensor) for part in ranks]
    return values
