"""What a loader is, and which images it gives, asked of its sampler without reading one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index as as_index
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
)

from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Chosen(NamedTuple):
    """Positions (n,) of images in a data set, ascending and each once; images of a batch."""

    positions: NDArray[np.int64]
    batch_size: int


def expect_loader(loader: object) -> None:
    """Refuse what gives no batches.

    Raises:
        DataError: If it is a data set, a DataModule of another package, or no iterable.
    """
    kind = type(loader).__name__
    if hasattr(loader, "train_dataloader"):
        raise DataError(f"The loader is a {kind}: give its train_dataloader() instead.")
    if isinstance(loader, Dataset) and not isinstance(loader, Iterable):
        raise DataError(
            f"The loader is a data set ({kind}): give DataLoader(dataset, batch_size=32) instead."
        )
    if not isinstance(loader, Iterable) or isinstance(loader, str | bytes | Mapping | Tensor):
        raise DataError(
            f"The loader is a {kind}: give a DataLoader, or any iterable of (images, labels)."
        )


def chosen_images(loader: DataLoader[Any]) -> Chosen | None:
    """Return which images a DataLoader gives in one pass, whatever their order.

    An image that its sampler draws several times counts once. Where shuffling decides which images
    an incomplete last batch loses (`drop_last`), none is lost: another epoch would give them.
    Random states are as before, so that the user's next pass over the loader is the same.

    Returns:
        None where this cannot be known: the loader or its data set decides while it reads.
    """
    sampler = loader.batch_sampler
    changed = type(loader).__iter__ is not DataLoader.__iter__
    if changed or sampler is None or isinstance(loader.dataset, IterableDataset):
        return None
    batches: Iterable[Any] = sampler
    if (
        type(sampler) is BatchSampler
        and isinstance(sampler.sampler, RandomSampler | SubsetRandomSampler)
        and not getattr(sampler.sampler, "replacement", False)
    ):
        batches = ([position] for position in sampler.sampler)
    owners = (loader, loader.sampler, sampler, getattr(sampler, "sampler", None))
    generators = [getattr(owner, "generator", None) for owner in owners]
    states = [(g, g.get_state()) for g in generators if isinstance(g, torch.Generator)]
    try:
        with torch.random.fork_rng(devices=[]):
            # A loader draws this first: samplers that share its random state then go on alike.
            torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
            return _collected(batches, len(loader.dataset), loader.batch_size)  # type: ignore[arg-type]
    except TypeError:  # keys that are no numbers
        return None
    finally:
        for generator, state in states:
            generator.set_state(state)


def reread(loader: DataLoader[Any], positions: Sequence[int], batch_size: int) -> DataLoader[Any]:
    """Return a loader of the same items, made to batches alike, at other positions."""
    return DataLoader(
        loader.dataset,
        batch_size=batch_size,
        sampler=positions,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory and torch.cuda.is_available(),
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator(),  # else a pass moves the caller's random state
    )


def _collected(batches: Iterable[Any], count: int, batch_size: int | None) -> Chosen | None:
    found: set[int] = set()
    largest = 1
    for batch in batches:
        positions = [as_index(position) for position in batch]
        found.update(positions)
        largest = max(largest, len(positions))
        if len(found) == count:  # some samplers never end
            break
    if found and min(found) < 0:
        return None
    return Chosen(np.array(sorted(found), dtype=np.int64), batch_size or largest)
