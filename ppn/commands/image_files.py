"""Image files as batches of what a network takes, read by other processes where there are many."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader, Dataset

from ppn.data.conversion import Preprocessing
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from ppn.prototypes.network import PrototypeNetwork

_FEW = 64
"""Up to so many images, starting processes takes longer than it saves."""


class _Files(Dataset[tuple[int, "Tensor | str"]]):
    """The index of each file with its pixels, or with the sentence why there are none."""

    def __init__(self, files: Sequence[Path], prepare: Preprocessing) -> None:
        self.files = files
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[int, Tensor | str]:
        try:
            return index, self.prepare(self.files[index])[0]
        except PPNError as error:
            return index, str(error)


def image_batches(
    network: PrototypeNetwork, files: Sequence[Path], batch_size: int, num_workers: int = -1
) -> Iterable[list[tuple[int, Tensor | str]]]:
    """Return batches of files, in order.

    Args:
        network: The network, which says how images are prepared.
        files: The files.
        batch_size: Files in a batch.
        num_workers: Processes that read them; -1: some, where there are many files.
    """
    workers = num_workers
    if workers < 0:
        spare = max(1, (os.cpu_count() or 1) - 1)
        workers = 0 if len(files) <= _FEW else min(4, spare)
    prepare = network.preprocessing or Preprocessing(network.input_config)
    return DataLoader(
        _Files(files, prepare),
        batch_size,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=_one_thread if workers else None,
    )


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
