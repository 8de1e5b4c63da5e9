"""Which images each process reads, and in which order; the same for any number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch.utils.data import DistributedSampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Draw(NamedTuple):
    """A position in a data set, and the seed of the random changes of its image."""

    position: int
    seed: int


class ShuffleSampler(DistributedSampler[Any]):
    """All images in random order, each with a seed of its own for augmentation.

    Order and seeds come from seed and epoch alone. So batches are the same however many workers
    load them, and n processes together read in each step what one process with n times the batch
    size would. Their shares are equally large: up to n - 1 images are read twice.
    """

    def __iter__(self) -> Iterator[Draw]:
        chance = np.random.default_rng([self.seed, self.epoch])
        self.epoch += 1  # for plain loops; Lightning sets it before every epoch
        count = len(self.dataset)  # type: ignore[arg-type]
        order = np.resize(chance.permutation(count), self.total_size)
        seeds = chance.integers(2**63, size=count)
        for position in order[self.rank :: self.num_replicas].tolist():
            yield Draw(position, int(seeds[position]))


class ShardSampler(DistributedSampler[Any]):
    """Every `world_size`-th image, each exactly once, in order.

    PyTorch's DistributedSampler repeats images until all ranks have equally many, which changes
    every metric; Lightning leaves samplers of that class alone, hence the subclass.
    """

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]


def batches_apart(sizes: Sequence[int], batch_size: int) -> list[list[int]]:
    """Return positions of successive groups of images, in batches of one group each."""
    batches = []
    first = 0
    for size in sizes:
        end = first + size
        batches += [list(range(i, min(i + batch_size, end))) for i in range(first, end, batch_size)]
        first = end
    return batches
