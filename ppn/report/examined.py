"""One pass over the evaluated images: which class is taken for which, and where each part lands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.ops import roi_align

from ppn.metrics.pointing import object_region
from ppn.metrics.regions import upsampled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Batch, Split

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


@torch.no_grad()
def examine(network: PrototypeNetwork, data: FineGrainedDataModule, split: Split) -> Examined:
    """Run the network over a split once more.

    Args:
        network: A complete network.
        data: The data.
        split: Which of its images.
    """
    device, count, k = network.device, len(network.class_names), network.k
    outside, places = torch.zeros(count, k), torch.zeros(count, k, GRID, GRID)
    known, seen = torch.zeros(count), torch.zeros(count)
    most = torch.full((count, k, SIGHTINGS), -torch.inf)
    best = torch.full((count, k, SIGHTINGS), -1)
    rows: list[tuple[Tensor, ...]] = []
    loader = DataLoader(data.view(split), data.batch_size, num_workers=data.num_workers)
    for batch in loader:
        tokens = network.tokens(batch["image"].to(device))
        logits = tokens.logits.float() + network.head.change(tokens)
        labels = batch["label"]
        added = network.head(tokens).contributions.cpu()[torch.arange(len(labels)), labels]
        maps = network.head.maps(tokens, labels.to(device)).cpu().clamp(min=0)
        sure = logits.softmax(1).max(1)
        rows.append((batch["index"], labels, sure.indices.cpu(), sure.values.cpu()))
        shares, told = _outside(maps, batch)
        outside.index_add_(0, labels, shares * told[:, None])
        known.index_add_(0, labels, told)
        places.index_add_(0, labels, _places(maps, batch))
        seen.index_add_(0, labels, torch.ones(len(labels)))
        for row, label in enumerate(labels.tolist()):
            ranked = torch.cat([most[label], added[row, :, None]], 1).topk(SIGHTINGS, dim=1)
            new = batch["index"][row].expand(k, 1)
            best[label] = torch.cat([best[label], new], 1).gather(1, ranked.indices)
            most[label] = ranked.values
    columns = (torch.cat(column).numpy() for column in zip(*rows, strict=True))
    indices, labels, predicted, probability = columns
    with np.errstate(invalid="ignore"):
        return Examined(
            indices,
            labels,
            predicted,
            probability,
            outside.numpy() / np.where(known > 0, known, np.nan)[:, None],
            places.numpy() / np.maximum(seen.numpy(), 1)[:, None, None, None],
            best.numpy(),
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
