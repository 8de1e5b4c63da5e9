"""Where patch tokens are in the tensors that a network computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

Layout = Literal["NCHW", "NHWC", "NLC", "NCL"]

_MOST_EXTRA = 16
"""Most class, distillation and register tokens looked for where the model does not say."""


class Location(NamedTuple):
    """Patch tokens within a tensor: all cells of a map, or a range of a token sequence.

    `layout` of the tensor; `prefix` and `suffix` count the tokens of a sequence before and after
    the patches (class token, registers).
    """

    layout: Layout
    prefix: int = 0
    suffix: int = 0

    def read(self, features: Tensor) -> Tensor:
        """Return the patch tokens (B, N, D), row by row."""
        if self.layout == "NCHW":
            return features.flatten(2).transpose(1, 2)
        if self.layout == "NHWC":
            return features.flatten(1, 2)
        if self.layout == "NCL":
            return features.transpose(1, 2)
        return features[:, self.prefix : features.shape[1] - self.suffix]

    def replaced(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Return features that hold other patch tokens (B, N, D), and are as they were besides."""
        if self.layout == "NCHW":
            return tokens.transpose(1, 2).reshape(features.shape)
        if self.layout == "NHWC":
            return tokens.reshape(features.shape)
        if self.layout == "NCL":
            return tokens.transpose(1, 2)
        end = features.shape[1] - self.suffix
        return torch.cat([features[:, : self.prefix], tokens, features[:, end:]], dim=1)

    def filled(self, vectors: Tensor, shape: tuple[int, int]) -> Tensor:
        """Return features that hold a vector everywhere, in the place of extra tokens too.

        Args:
            vectors: (M, D).
            shape: Rows and columns of patches.

        Returns:
            M maps, or M token sequences.
        """
        height, width = shape
        if self.layout == "NCHW":
            return vectors[:, :, None, None].expand(-1, -1, height, width)
        if self.layout == "NHWC":
            return vectors[:, None, None, :].expand(-1, height, width, -1)
        if self.layout == "NCL":
            return vectors[:, :, None].expand(-1, -1, height * width)
        return vectors[:, None].expand(-1, self.prefix + height * width + self.suffix, -1)

    def grid(self, features: Tensor, size: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of patches.

        Args:
            features: The tensor.
            size: Height and width of the network's input in pixels, whose proportions tell how a
                sequence of tokens is folded.
        """
        if self.layout == "NCHW":
            return features.shape[2], features.shape[3]
        if self.layout == "NHWC":
            return features.shape[1], features.shape[2]
        length = features.shape[2 if self.layout == "NCL" else 1]
        found = fold_grid(length - self.prefix - self.suffix, size)
        assert found is not None, "a location is only made where the patches fill a grid"
        return found


def fold_grid(count: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return the rows and columns of a number of patches that has an image's proportions.

    Args:
        count: Number of patches.
        size: Height and width of the image in pixels.

    Returns:
        The grid whose patches are closest to squares, or None where no grid is within one row and
        one column of square patches.
    """
    options = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    fitting = [grid for grid in options if _fits(grid, size)]
    return min(fitting, key=lambda grid: abs(grid[0] * size[1] - grid[1] * size[0]), default=None)


def locations(
    features: Tensor, size: tuple[int, int], prefix: int | None = None, last: bool | None = None
) -> list[Location]:
    """Return where patch tokens may be in a tensor, likeliest first.

    Args:
        features: Any tensor that a network computed from images of that size.
        size: Height and width of the images in pixels.
        prefix: Number of leading tokens that are not patches, if the model says.
        last: Whether channels come last in maps, if the model says.
    """
    shape = tuple(features.shape)
    if features.dim() == 4:
        found: list[Location] = []
        if shape[2] * shape[3] > 1 and _fits((shape[2], shape[3]), size):
            found.append(Location("NCHW"))
        if shape[1] * shape[2] > 1 and _fits((shape[1], shape[2]), size):
            found.append(Location("NHWC"))
        # Where both fit, a feature map usually has more channels than columns.
        preferred = last if last is not None else shape[3] > shape[1]
        return sorted(found, key=lambda place: (place.layout == "NHWC") != preferred)
    if features.dim() != 3:
        return []
    if prefix is not None and shape[1] - prefix > 1 and fold_grid(shape[1] - prefix, size):
        return [Location("NLC", prefix)]
    whole = fold_grid(shape[1], size) if shape[1] > 1 else None
    found = [Location("NLC")] if whole else []
    # Leftover tokens are believed only where the others have exactly the image's proportions, and
    # all together have not.
    for extra in range(1, min(_MOST_EXTRA, shape[1] - 2) + 1):
        if whole is not None and _proportional(whole, size):
            break
        grid = fold_grid(shape[1] - extra, size)
        if grid is not None and _proportional(grid, size):
            found += [Location("NLC", extra), Location("NLC", 0, extra)]
            break
    if shape[1] >= shape[2] > 1 and fold_grid(
        shape[2], size
    ):  # fewer channels are a few class tokens
        found.append(Location("NCL"))
    return found


def _fits(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a grid divides an image into about square patches, give or take a row or column."""
    cells = grid[0] * grid[1]
    if cells > size[0] * size[1]:
        return False
    side = (size[0] * size[1] / cells) ** 0.5
    slack = 1.0 if cells > 8 else 0.56  # two tokens are no row of a square image
    return all(abs(n - extent / side) <= slack for n, extent in zip(grid, size, strict=True))


def _proportional(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    return grid[0] * size[1] == grid[1] * size[0]
