"""How many evaluations of a network may wait for their backward passes in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from torch import Tensor, nn

MOST = 16
"""Most in one batch, however little each takes."""
_BYTES = 2**31
"""What one batch may keep for its backward passes."""
_known: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


def at_once(model: nn.Module, key: Hashable, evaluate: Callable[[], Tensor]) -> int:
    """Return how many evaluations fit into one batch, between 1 and 16.

    Args:
        model: The network.
        key: What is evaluated; each is measured once.
        evaluate: Runs it for one input, with gradients.
    """
    known = _known.setdefault(model, {})
    if key not in known:
        known[key] = max(1, min(MOST, _BYTES // max(1, _kept(model, evaluate))))
    return known[key]


def _kept(model: nn.Module, evaluate: Callable[[], Tensor]) -> int:
    """Return how many bytes autograd keeps of one evaluation, beside the network's own tensors."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Any:  # noqa: ANN401 - a hook
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # keeps its memory from being given out again, and no graph alive

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        evaluate()
    return sum(kept.values())
