"""Evaluation across processes without duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DistributedSampler

if TYPE_CHECKING:
    from collections.abc import Iterator


class ShardSampler(DistributedSampler[Any]):
    """Every `world_size`-th image, each exactly once, in order.

    PyTorch's DistributedSampler repeats images until all ranks have equally many, which changes
    every metric; Lightning leaves samplers of that class alone, hence the subclass.
    """

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]
