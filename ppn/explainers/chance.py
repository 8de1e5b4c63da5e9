"""Maps that know nothing of the image: the levels to hold every localisation score against."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from torch import Tensor

    from ppn.explainers.base import Inputs, Kind
    from ppn.prototypes.network import PrototypeNetwork

Shape = tuple[int, int, int]
"""Maps per class and the grid: (k, H, W)."""


class ChanceMaps(Explainer):
    """Maps without information, as many as the network has prototypes, scored like any others."""

    kind: ClassVar[Kind] = "floor"
    _count = 0

    @property
    def maps_per_class(self) -> int:
        """The network's prototypes per class."""
        return self._count

    def prepare(self, network: PrototypeNetwork) -> None:
        """Take over the number of prototypes."""
        self._count = network.k

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return maps on the grid of the patch tokens, without contributions."""
        shape = (self.maps_per_class, *inputs.tokens.grid)
        return Attribution(self.maps(inputs.indices, target, shape, inputs.seed, inputs.draw))

    @abstractmethod
    def maps(self, indices: Tensor, target: Tensor, shape: Shape, seed: int, draw: int) -> Tensor:
        """Return maps (B, k, H, W) float32.

        Args:
            indices: (B,) non-negative index of each image in its data set; its device is the
                result's.
            target: (B,) class whose prototypes the maps stand for.
            shape: (k, H, W).
            seed: Non-negative seed.
            draw: Number of the independent draw; see `Inputs`.
        """


class RandomMaps(ChanceMaps):
    """Independent uniform values in [0, 1), other ones for the image with noise.

    Seeded by (seed, draw, target, index): equal for every batch size and number of processes. A
    random map that stayed the same under noise would be perfectly stable; this is the level of a
    detector whose maximum the noise moves anywhere.
    """

    key = "random"
    title = "chance: random"

    def maps(self, indices: Tensor, target: Tensor, shape: Shape, seed: int, draw: int) -> Tensor:
        """Return random maps; see `ChanceMaps.maps`."""
        maps = torch.zeros(len(indices), *shape)
        for row, index, label in zip(maps, indices.tolist(), target.tolist(), strict=True):
            drawn = np.random.default_rng([seed, draw, label, index]).random(shape, np.float32)
            row.copy_(torch.from_numpy(drawn))
        return maps.to(indices.device)


class CentreMaps(ChanceMaps):
    """A cone whose upsampled maximum is at the image's centre; stable by construction.

    The centre is one of the two middle pixels per axis where the side is even. Grids of less than
    3 x 3 cannot tell the centre from a side.
    """

    key = "centre"
    title = "chance: centre"

    def maps(self, indices: Tensor, target: Tensor, shape: Shape, seed: int, draw: int) -> Tensor:
        """Return one cone for all; see `ChanceMaps.maps`."""
        maps = torch.zeros(len(indices), *shape)
        y, x = (torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1) for side in shape[1:])
        maps -= y.abs()[:, None] + x.abs()
        return maps.to(indices.device)


class UniformMaps(ChanceMaps):
    """Zeros, whose first maximum is the pixel (0, 0); stable by construction."""

    key = "uniform"
    title = "chance: uniform"

    def maps(self, indices: Tensor, target: Tensor, shape: Shape, seed: int, draw: int) -> Tensor:
        """Return zeros; see `ChanceMaps.maps`."""
        return torch.zeros(len(indices), *shape, device=indices.device)
