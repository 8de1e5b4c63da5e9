"""Nearest patches of any direction among all training images, whatever their class."""

from __future__ import annotations

import shutil
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ppn.discovery.faiss_index import Inverted, kind_for, write_inverted
from ppn.errors import DataError
from ppn.prototypes.diagnostics import PatchGrid
from ppn.prototypes.patch_shards import PatchShards, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from ppn.discovery.faiss_index import Kind
    from ppn.prototypes.patch_shards import Shard

FOLDER = "index"
"""Of a run's directory."""
_INVERTED = "inverted.faiss"
_PROBES = 32
_CANDIDATES = 200
"""Least number of vectors that codes propose and whose exact score is then taken."""


class Nearest(NamedTuple):
    """The nearest patches of q directions, at most one of an image, the nearest first.

    `score` (q, m) float32, -inf where there are fewer images; `label` (q, m) class, `image` (q, m)
    training image, `cell` (q, m) place on the grid, all int64; `box` (q, m, 4) x0, y0, x1, y1 in
    pixels of the network's input.
    """

    score: Tensor
    label: Tensor
    image: Tensor
    cell: Tensor
    box: Tensor


class PatchIndex:
    """All patches of the training images, on disk.

    Up to some hundred thousand patches are searched exactly. More are searched by FAISS: an
    inverted file, whose lists are memory-mapped, proposes patches, and their exact score (of tokens
    in half precision) decides.

    Args:
        folder: What `build_index` has completed.

    Raises:
        DataError: If files are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.shards = PatchShards(folder)
        self.about = self.shards.about
        self._of = [self.shards.read(label) for label in self.shards.labels]
        if not self._of:
            raise DataError(f"{folder} holds no patches yet: run `ppn index`.")
        self.cells = self.about.grid[0] * self.about.grid[1]
        counts = [len(shard.images) for shard in self._of]
        self._starts = np.cumsum([0, *counts])
        self._images = np.concatenate([np.array(s.images, np.int64) for s in self._of])
        self._labels = np.repeat([shard.label for shard in self._of], counts)
        path = folder / _INVERTED
        self._inverted = Inverted(path) if path.exists() else None
        kept = self._inverted
        if kept is not None and (kept.count, kept.width) != (len(self), self.about.width):
            raise DataError(f"{path} is not of the patches beside it: run `ppn index` again.")
        if kept is None and kind_for(len(self)) != "flat":
            raise DataError(f"{folder} is not complete: run `ppn index` again.")

    def __len__(self) -> int:
        """Return the number of patches."""
        return int(self._starts[-1]) * self.cells

    @property
    def images(self) -> int:
        """Number of training images."""
        return int(self._starts[-1])

    def name(self, image: int) -> str:
        """Return the name of a training image by its index."""
        place = int(np.flatnonzero(self._images == image)[0])
        shard = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._of[shard].names[place - int(self._starts[shard])]

    def nearest(
        self, directions: Tensor, count: int = 10, cosine: bool = False, probes: int = _PROBES
    ) -> Nearest:
        """Return the patches on which directions fire most.

        Args:
            directions: (q, D), such as prototypes.
            count: Patches of each, of as many images.
            cosine: Whether scores are cosines instead of inner products.
            probes: Inverted lists that are looked through, where there are any.

        Raises:
            DataError: If the directions have another width.
        """
        if directions.ndim != 2 or directions.shape[1] != self.about.width:
            raise DataError(
                f"Directions are {tuple(directions.shape)}, but the index holds patches of "
                f"{self.about.width} channels: give the classifier's own tokens or prototypes."
            )
        queries = directions.detach().float()
        if cosine:
            queries = torch.nn.functional.normalize(queries, dim=1)
        if self._inverted is None:
            score, place, cell = self._exact(queries, count, cosine)
        else:
            score, place, cell = self._proposed(queries.cpu(), count, cosine, probes)
        grid = PatchGrid(self.about.grid, self.about.size)
        at = place.clamp(min=0).numpy()
        label, image = torch.from_numpy(self._labels[at]), torch.from_numpy(self._images[at])
        return Nearest(score, label, image, cell, grid.boxes(cell))

    def _exact(self, queries: Tensor, count: int, cosine: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Look at every patch, on the queries' device: scores, places of images, and cells."""
        best: tuple[Tensor, ...] = (
            queries.new_full((len(queries), count), -torch.inf),
            torch.full((len(queries), count), -1, device=queries.device),
            torch.zeros(len(queries), count, dtype=torch.int64, device=queries.device),
        )
        place = 0
        for shard in self._of:
            for block in blocks(shard.tokens):
                tokens = torch.from_numpy(block).to(queries.device)
                if cosine:
                    tokens = torch.nn.functional.normalize(tokens, dim=2)
                fires = queries @ tokens.flatten(0, 1).T
                score, cell = fires.reshape(len(queries), len(block), -1).max(2)
                where = torch.arange(place, place + len(block), device=queries.device)
                found = (score, where.expand_as(cell), cell)
                joined = [torch.cat(pair, dim=1) for pair in zip(best, found, strict=True)]
                # Stable, so that of equal scores the first image comes first on every machine.
                order = joined[0].sort(dim=1, descending=True, stable=True).indices[:, :count]
                best = tuple(one.gather(1, order) for one in joined)
                place += len(block)
        score, where, cell = (one.cpu() for one in best)
        return score, where, cell

    def _proposed(
        self, queries: Tensor, count: int, cosine: bool, probes: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look at the patches that the inverted file proposes."""
        assert self._inverted is not None
        wanted = max(_CANDIDATES, 20 * count)
        rows = self._inverted.candidates(queries.numpy(), wanted, probes, cosine)
        score = torch.full((len(queries), count), -torch.inf)
        place = torch.full((len(queries), count), -1)
        cell = torch.zeros(len(queries), count, dtype=torch.int64)
        for number, (query, proposed) in enumerate(zip(queries, rows, strict=True)):
            chosen = np.sort(proposed[proposed >= 0])  # in the files' order
            tokens = torch.from_numpy(self._rows(chosen))
            if cosine:
                tokens = torch.nn.functional.normalize(tokens, dim=1)
            values = tokens @ query
            order = values.argsort(descending=True, stable=True).numpy()
            images, cells = np.divmod(chosen[order], self.cells)
            _, first = np.unique(images, return_index=True)
            kept = np.sort(first)[:count]
            score[number, : len(kept)] = values[order[kept]]
            place[number, : len(kept)] = torch.from_numpy(images[kept])
            cell[number, : len(kept)] = torch.from_numpy(cells[kept])
        return score, place, cell

    def _rows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the tokens (n, D) of patches by their number."""
        images, cells = np.divmod(rows, self.cells)
        found = np.empty((len(rows), self.about.width), np.float32)
        of = np.searchsorted(self._starts, images, side="right") - 1
        for shard in np.unique(of):
            here = of == shard
            found[here] = self._of[shard].tokens[images[here] - self._starts[shard], cells[here]]
        return found


def build_index(
    shards: PatchShards, labels: Sequence[int], kind: Kind | None = None, seed: int = 0
) -> PatchIndex:
    """Complete an index whose classes are all there.

    Args:
        shards: The patches.
        labels: The classes that must be there.
        kind: How they are searched; None: as fits their number.
        seed: Seed of k-means.

    Raises:
        DataError: If a class is missing, or files are damaged.
    """
    shards.expect(labels)
    of = [shards.read(label) for label in shards.labels]
    number = sum(shard.tokens.shape[0] * shard.tokens.shape[1] for shard in of)
    chosen = kind or kind_for(number)
    path = shards.folder / _INVERTED
    if chosen == "flat":
        path.unlink(missing_ok=True)
    else:
        write_inverted(
            path, chosen, number, lambda most: _sample(of, number, most), _flat_blocks(of), seed
        )
    return PatchIndex(shards.folder)


def place_index(found: Path, target: Path, labels: Sequence[int]) -> PatchIndex:
    """Move patches to their place, where an earlier index is set aside, and complete their index.

    Args:
        found: Folder of the patches.
        target: Where they are to be.
        labels: The classes that must be there.

    Raises:
        DataError: If a class is missing, or files are damaged.
    """
    if target.exists():  # of an earlier run in this directory
        free = next(n for n in count(1) if not target.with_name(f"{target.name}-{n}").exists())
        target.rename(target.with_name(f"{target.name}-{free}"))
    shutil.move(found, target)
    return build_index(PatchShards(target), labels)


def _sample(of: Sequence[Shard], count: int, most: int) -> NDArray[np.float32]:
    """At most so many patches (m, D), spread evenly, without those that are zero."""
    step = max(1, -(-count // most))
    found, passed = [], 0
    for shard in of:
        flat = shard.tokens.reshape(-1, shard.tokens.shape[2])
        found.append(flat[-passed % step :: step].astype(np.float32))
        passed += len(flat)
    rows = np.concatenate(found)
    return rows[rows.any(1)]


def _flat_blocks(of: Sequence[Shard]) -> Iterator[NDArray[np.float32]]:
    for shard in of:
        for block in blocks(shard.tokens):
            yield block.reshape(-1, block.shape[2])
