"""What evaluated images show: which class is taken for which, and where each part lands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torchvision.ops import roi_align

from ppn.distributed import gathered
from ppn.metrics.pointing import object_region
from ppn.metrics.regions import upsampled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Batch, Tokens

GRID = 5
"""Rows and columns of the object's box in which it is counted where a part lands."""
SIGHTINGS = 6
"""Evaluated images kept for each part, those to which it adds most."""


class Examined(NamedTuple):
    """What was seen.

    Attributes:
        indices: (n,) index of each image in its data set.
        labels: (n,) its class.
        predicted: (n,) its predicted class.
        probability: (n,) that of the predicted class.
        outside: (C, k) mean share of a part's positive evidence that lies outside of the object,
            on images of its class; NaN where no image says where the object is.
        places: (C, k, GRID, GRID) mean share in each cell of the object's box, of the picture
            where there is none.
        best: (C, k, SIGHTINGS) images of the class to which the part adds most; -1 for none.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probability: NDArray[np.float64]
    outside: NDArray[np.float64]
    places: NDArray[np.float64]
    best: NDArray[np.int64]

    @property
    def mistakes(self) -> list[int]:
        """Positions of the images predicted wrong, those of frequent confusions first.

        One of each pair of classes, the surest, comes before the second of any.
        """
        wrong = np.flatnonzero(self.labels != self.predicted)
        pairs = [(int(self.labels[i]), int(self.predicted[i])) for i in wrong]
        count = {pair: pairs.count(pair) for pair in set(pairs)}
        order = sorted(range(len(wrong)), key=lambda at: -self.probability[wrong[at]])
        rank, seen = {}, dict.fromkeys(count, 0)
        for at in order:
            rank[at] = seen[pairs[at]]
            seen[pairs[at]] += 1
        order.sort(key=lambda at: (rank[at], -count[pairs[at]]))
        return [int(wrong[at]) for at in order]


class Examination:
    """Examines evaluated images, batch by batch as they come.

    Args:
        network: A complete network.
    """

    def __init__(self, network: PrototypeNetwork) -> None:
        count, k = len(network.class_names), network.k
        self._head = network.head
        self._sums = (
            torch.zeros(count, k),
            torch.zeros(count),
            torch.zeros(count, k, GRID, GRID),
            torch.zeros(count),
        )
        self._most = torch.full((count, k, SIGHTINGS), -torch.inf)
        self._best = torch.full((count, k, SIGHTINGS), -1)
        self._rows: list[tuple[Tensor, ...]] = []

    @torch.no_grad()
    def update(self, batch: Batch, tokens: Tokens, contributions: Tensor) -> None:
        """Take a batch.

        Args:
            batch: The images, on any device.
            tokens: What the network needs of them.
            contributions: (B, C, k) of all prototypes.
        """
        labels, indices = batch["label"], batch["index"].cpu()
        logits = tokens.logits.float() + self._head.change(tokens)
        sure = logits.softmax(1).max(1)
        added = contributions[torch.arange(len(labels), device=labels.device), labels].cpu()
        maps = self._head.maps(tokens, labels).clamp(min=0)
        shares, told = (found.cpu() for found in _outside(maps, batch))
        places, labels = _places(maps, batch).cpu(), labels.cpu()
        self._rows.append((indices, labels, sure.indices.cpu(), sure.values.cpu()))
        of_batch = (shares * told[:, None], told, places, torch.ones(len(labels)))
        for total, values in zip(self._sums, of_batch, strict=True):
            total.index_add_(0, labels, values)
        for row, label in enumerate(labels.tolist()):
            new = indices[row].expand(self._best.shape[1], 1)
            self._keep(label, added[row, :, None], new)

    def _keep(self, label: int | slice, added: Tensor, images: Tensor) -> None:
        """Keep of some images those to which parts add most, beside those that were kept."""
        ranked = torch.cat([self._most[label], added], -1).topk(SIGHTINGS, dim=-1)
        together = torch.cat([self._best[label], images], -1)
        self._best[label] = together.gather(-1, ranked.indices)
        self._most[label] = ranked.values

    def result(self) -> Examined:
        """Return what all processes of the run have seen; all of them must ask."""
        own, *others = gathered((self._sums, self._most, self._best, self._rows))
        self._sums, self._most, self._best, self._rows = own
        for sums, most, best, rows in others:
            for total, values in zip(self._sums, sums, strict=True):
                total += values
            self._keep(slice(None), most, best)
            self._rows += rows
        outside, known, places, seen = (total.numpy() for total in self._sums)
        columns = [torch.cat(column).numpy() for column in zip(*self._rows, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        indices, labels, predicted, probability = (column[order] for column in columns)
        return Examined(
            indices,
            labels,
            predicted,
            probability,
            outside / np.where(known > 0, known, np.nan)[:, None],
            places / np.maximum(seen, 1)[:, None, None, None],
            self._best.numpy(),
        )


def _outside(maps: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """(B, k) share of each map outside of the object, and (B,) 1 where that is known."""
    height, width = batch["image"].shape[2:]
    if "mask" in batch:
        inside, known = object_region(batch, "mask", (height, width))
    else:
        inside, known = object_region(batch, "box", (height, width))
    fine = upsampled(maps, (height, width), "bilinear") * known[:, None]
    all_of = fine.sum((2, 3))
    share = (fine * ~inside[:, None]).sum((2, 3)) / all_of.clamp(min=1e-12)
    told = known.flatten(1).any(1).float()
    return share * (all_of > 0), told


def _places(maps: Tensor, batch: Batch) -> Tensor:
    """(B, k, GRID, GRID) share of each map in each cell of the object's box."""
    height, width = batch["image"].shape[2:]
    scale = maps.new_tensor([maps.shape[3] / width, maps.shape[2] / height] * 2)
    boxes = [box[None] for box in batch["box"].float() * scale]
    cells: Tensor = roi_align(maps, boxes, GRID, aligned=True)
    return cells / cells.sum((2, 3), keepdim=True).clamp(min=1e-12)
