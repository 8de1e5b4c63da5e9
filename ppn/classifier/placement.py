"""Whether patch tokens have a place: change a region of the image, and the token there must move.

The shape of a tensor does not tell patches from channels, learned queries or shuffled tokens.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ppn.classifier.cut_point import noise_like
from ppn.classifier.layout import Location
from ppn.classifier.running import out_of_memory

if TYPE_CHECKING:
    from ppn.classifier.cut_point import CutPoint, Features
    from ppn.classifier.layout import Layout

LOCATED = 0.9
"""Share of patches whose own token moves most, above which tokens count as located."""
_SOMEWHERE = 0.8
"""Share of pairs of patches in order, from which tokens count as mixed rather than misplaced, and
a patch as in its place."""
_CLEAR = 0.95
_RELIABLE = 0.5
"""Correlation of two halves of the images from which movements say something."""
_AT_ONCE = 4
"""Regions that are changed in one batch, beside the image as it is."""
_SHIFTS = (0.0, -0.5, 0.5)
"""Where the middle of a token's receptive field may be, in cells from the middle of its region.

Padding decides it: after convolutions of stride 2 that pad one pixel, it is the region's corner.
"""
_FLAT = 1e-3
"""Relative difference of the tokens' movements up to which all of them moved alike."""


class Placement(NamedTuple):
    """How well tokens follow the regions that they are said to be of.

    Two patches are in order if their two own tokens move more, in sum, as their regions change,
    than the two exchanged: neither tokens that always move much nor mixing over the whole image
    hide that, and for tokens of no place it holds half the time.

    Tokens that know their row alone, or half of them, are in order with most. So in a sequence, and
    where channels come last, the own token of a patch also has to move more, against how much it
    mostly does, than half of those in its row, and than half of those in its column. Convolutions
    keep cells in order, but their kernels need not have the most in the middle.

    `share`: of the patches that were tried, those whose own token moves most of all tokens or is
    in order with nearly all other patches, in [0, 1]; `order`: of all pairs, those in order;
    `flat`: whether all tokens moved alike, so that neither means anything; `unclear`: whether
    which token moves with which region is another one from image to image, as in deep networks of
    few patches that nobody has trained.
    """

    share: float
    order: float
    flat: bool = False
    unclear: bool = False


class Placed(NamedTuple):
    """Where the very same classifier was measured to have its patches, and their `share`."""

    features: str | None
    leaf: int
    layout: Layout
    prefix: int
    suffix: int
    share: float


class Placements:
    """The placements of what a cut gives, each measured once.

    Args:
        split: The cut classifier.
        features: What it gives for a batch of images.
        reference: A tensor of the type and device that it takes.
        thorough: Whether to look at a copy with other weights where these show no place.
        placed: What was measured of this cut before, and is not measured again.
    """

    def __init__(
        self,
        split: CutPoint,
        features: Features,
        reference: Tensor,
        thorough: bool,
        placed: Placed | None = None,
    ) -> None:
        self.split = split
        self.features = features
        self.reference = reference
        self.thorough = thorough
        self.trusting = False
        """Whether tokens that all moved alike may have a place all the same."""
        self._known: dict[tuple[int, Location], Placement] = {}
        if placed is not None:
            location = Location(placed.layout, placed.prefix, placed.suffix)
            self._known[placed.leaf, location] = Placement(placed.share, 1.0)

    def somewhere(self, leaf: int, location: Location) -> bool:
        """Whether tokens are of their regions, if blurred over others."""
        placement = self.of(leaf, location)
        # A map keeps its cells in order; where nothing speaks against that, it is believed, and
        # its share tells how little is known. A sequence has to show its order.
        believed = placement.unclear and location.layout in ("NCHW", "NHWC")
        return believed or (self.trusting and placement.flat) or _follows(placement)

    def of(self, leaf: int, location: Location) -> Placement:
        """Return the placement of the tokens at a location in one tensor of the features."""
        key = (leaf, location)
        if key not in self._known:
            found = self._measured(self.split, leaf, location)
            if self.thorough and not _follows(found):
                # Or so it seems: the last blocks of fresh networks may do nothing.
                other = self._with_other_weights(leaf, location)
                found = other._replace(share=found.share) if _follows(other) else found
            self._known[key] = found
        return self._known[key]

    @property
    def flat(self) -> bool:
        """Whether all tokens moved alike wherever they were looked for, and thus said nothing."""
        return bool(self._known) and all(found.flat for found in self._known.values())

    def _with_other_weights(self, leaf: int, location: Location) -> Placement:
        """Measure a copy of the network with noise on its weights, none of which is zero then."""
        try:
            model = deepcopy(self.split.model)
        except (RuntimeError, TypeError) as error:
            if out_of_memory(error):
                raise
            return Placement(0.0, 0.0)
        _disturb(model)
        return self._measured(self.split.of(model), leaf, location)

    def _measured(self, split: CutPoint, leaf: int, location: Location) -> Placement:
        tried = []
        few = self._cells(leaf, location) <= 8
        for shift in _SHIFTS:
            found = self._tried(split, leaf, location, shift, 8, 4 if few else 2)
            if found.share > LOCATED or found.flat:
                return found
            tried.append((found, shift))
        best, shift = max(tried)
        # Few regions and images tell mixed tokens from misplaced ones only where it is clear.
        clear = best.order > _CLEAR and not few
        return best if clear else self._tried(split, leaf, location, shift, 16, 4)

    def _cells(self, leaf: int, location: Location) -> int:
        rows, columns = location.grid(self.features.leaves[leaf], self.features.size)
        return rows * columns

    def _tried(
        self,
        split: CutPoint,
        leaf: int,
        location: Location,
        shift: float,
        regions: int,
        images: int,
    ) -> Placement:
        """Change some regions of some images, and compare how far all tokens move."""
        features = self.features
        grid = location.grid(features.leaves[leaf], features.size)
        cells = _spread(grid, regions)
        moved = []
        for seed in range(images):
            image, other = _pictures(self.reference, (features.channels, *features.size), seed)
            rows = []
            for some in [cells[i : i + _AT_ONCE] for i in range(0, len(cells), _AT_ONCE)]:
                changed = [_changed(image, other, grid, cell, shift) for cell in some]
                found, _ = split.run(torch.stack([image, *changed]))
                tokens = location.read(found.leaves[leaf]).detach().double().cpu()
                rows.append((tokens[1:] - tokens[:1]).norm(dim=2))
            moved.append(torch.cat(rows))
        lines = None if location.layout == "NCHW" else grid
        return _compared(torch.stack(moved), torch.tensor(cells), lines)


def _follows(placement: Placement) -> bool:
    if placement.share > LOCATED:
        return True
    return not placement.flat and placement.order >= _SOMEWHERE


def _compared(moved: Tensor, cells: Tensor, lines: tuple[int, int] | None) -> Placement:
    """Summarise movements (images, R, N) of all tokens, as regions of some cells changed.

    `lines`: rows and columns in which the own tokens have to stand out; None: they need not.
    """
    mean = moved.mean(dim=0)
    top = mean.amax(dim=1)
    flat = bool((top - mean.amin(dim=1) <= _FLAT * top).double().mean() > 0.5)
    among = moved[:, :, cells]
    own = among.diagonal(dim1=1, dim2=2)
    won = own[:, :, None] + own[:, None] > among + among.mT
    # Of the comparisons with each other patch; with itself nothing is won.
    wins = won.double().mean(dim=0).sum(dim=1) / max(1, len(cells) - 1)
    most = mean.argmax(dim=1) == cells
    ahead = most | (torch.ones_like(most) if lines is None else _ahead(moved, cells, lines))
    placed = most | (ahead & (wins >= _SOMEWHERE))
    share = 0.0 if flat else placed.double().mean().item()
    order = (wins * ahead).mean().item()
    return Placement(share, order, flat, _reliability(moved) < _RELIABLE)


def _ahead(moved: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Whether the own token (R,) moves more than half of those in its row and in its column."""
    log = _centred(moved).mean(dim=0).reshape(-1, *grid)
    region, row, column = torch.arange(len(cells)), cells // grid[1], cells % grid[1]
    own = log[region, row, column]
    behind = [
        2 * (beside < own[:, None]).sum(dim=1) >= beside.shape[1] - 1
        for beside in (log[region, row], log[region, :, column])
    ]
    return behind[0] & behind[1]


def _centred(moved: Tensor) -> Tensor:
    """Logarithms of movements (images, R, N) without what each region or each token mostly adds."""
    log = moved.clamp(min=1e-30).log()
    centred: Tensor = log - log.mean(1, keepdim=True) - log.mean(2, keepdim=True)
    return centred


def _reliability(moved: Tensor) -> float:
    """How far two halves of the images agree on which token moves with which region, at most 1."""
    log = _centred(moved)
    halves = torch.stack([log[half::2].mean(dim=0).flatten() for half in (0, 1)])
    return float(torch.corrcoef(halves)[0, 1].nan_to_num())


def _spread(grid: tuple[int, int], most: int) -> list[int]:
    """Return some cells of a grid, in no pattern that a transposed or mirrored grid would share."""
    order = torch.randperm(grid[0] * grid[1], generator=torch.Generator().manual_seed(0))
    return order[:most].tolist()


def _pictures(reference: Tensor, shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Return an image of one colour, and one of coarse texture, from which regions are taken.

    A network that was trained reacts to white noise, which no photograph is like, with tokens that
    are much the same everywhere.
    """
    channels, height, width = shape
    colour = 0.3 * noise_like(reference, (channels, 1, 1), 10 + seed)
    coarse = noise_like(
        reference, (1, channels, max(2, height // 16), max(2, width // 16)), 20 + seed
    )
    texture = interpolate(coarse, (height, width), mode="bicubic", align_corners=False)[0]
    grain = 0.3 * noise_like(reference, shape, 30 + seed)
    return colour.expand(shape), texture + grain


def _changed(
    image: Tensor, other: Tensor, grid: tuple[int, int], cell: int, shift: float
) -> Tensor:
    """Return an image whose region of a cell is taken from another image."""
    place = divmod(cell, grid[1])
    rows, columns = (
        slice(
            max(0, round((index + shift) * extent / count)),
            round((index + 1 + shift) * extent / count),
        )
        for index, count, extent in zip(place, grid, image.shape[1:], strict=True)
    )
    changed = image.clone()
    changed[:, rows, columns] = other[:, rows, columns]
    return changed


@torch.no_grad()
def _disturb(model: nn.Module) -> None:
    """Add noise to all weights, in place, so that none is zero by initialisation."""
    for seed, parameter in enumerate(model.parameters()):
        parameter.add_(0.1 * noise_like(parameter, parameter.shape, seed))
