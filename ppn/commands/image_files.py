"""Image files as batches of what a network takes, read by threads beside where there are many."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import torch

from ppn.data.conversion import Preprocessing
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from torch import Tensor

    from ppn.prototypes.network import PrototypeNetwork

_FEW = 64
"""Up to so many images are read between the batches."""
_AHEAD = 2
"""Batches for each thread that may wait to be taken."""


class FileBatch(NamedTuple):
    """Some files that were read together.

    Attributes:
        files: (B) the file of each image.
        images: (B, C, H, W) what the network takes; None where no file could be read.
        refused: For each file that could not be read, a sentence that says why.
    """

    files: list[Path]
    images: Tensor | None
    refused: list[str]


def image_batches(
    network: PrototypeNetwork, files: Sequence[Path], batch_size: int, num_workers: int = -1
) -> Iterator[FileBatch]:
    """Yield batches of files, in order.

    Threads, because decoding and resizing let others run, while a process would be a copy of one
    that holds gigabytes: each of its pages is copied when the network next writes to it.

    Args:
        network: The network, which says how images are prepared.
        files: The files.
        batch_size: Files in a batch.
        num_workers: Threads that read them; -1: some, where there are many files. No more than one
            for a transform of the user's, which may not bear two calls at a time.
    """
    workers = num_workers
    if workers < 0:
        workers = 0 if len(files) <= _FEW else min(4, max(1, (os.cpu_count() or 1) - 1))
    prepare = network.preprocessing or Preprocessing(network.input_config)
    if prepare.transform is not None:
        workers = min(workers, 1)
    pieces = [files[i : i + batch_size] for i in range(0, len(files), batch_size)]
    if workers == 0:
        yield from (_read(prepare, piece) for piece in pieces)
        return
    pool = ThreadPoolExecutor(workers, "reader")
    waiting: deque[Future[FileBatch]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(_read, prepare, piece))
            if len(waiting) > _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _read(prepare: Preprocessing, files: Sequence[Path]) -> FileBatch:
    read: list[Path] = []
    images: list[Tensor] = []
    refused: list[str] = []
    for file in files:
        try:
            images.append(prepare(file)[0])
            read.append(file)
        except PPNError as error:
            refused.append(str(error))
    return FileBatch(read, torch.stack(images) if images else None, refused)
