"""The few records that flow between the parts of the package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from typing_extensions import NotRequired

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class InputConfig:
    """What a classifier expects of its input image.

    Attributes:
        size: Height and width in pixels.
        mean: Mean per channel, on pixels in [0, 1].
        std: Standard deviation per channel, on pixels in [0, 1].
        interpolation: How images are resized.
        crop_pct: Side of the central crop over the side of the resized image, in (0, 1].
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: Interpolation = "bicubic"
    crop_pct: float = 0.875

    @property
    def channels(self) -> int:
        """Number of channels: 3 (RGB), 1 (grey), or what else a classifier is given as tensors."""
        return len(self.mean)

    def with_channels(self, channels: int) -> InputConfig:
        """Return the same for another number of channels: each gets the average mean and std."""
        if channels == self.channels:
            return self
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return replace(self, mean=(mean,) * channels, std=(std,) * channels)


class Batch(TypedDict):
    """A batch of images with what is known of them.

    `image` (B, 3, H, W) normalised; `label` (B,) int64; `index` (B,) int64, the image's index in
    its data set; `keypoints` (B, P, 3) float32: x, y in pixels of `image` and visibility 0 or 1
    (P = 0 without part annotations); `box` (B, 4) float32: x0, y0, x1, y1 in pixels of `image`
    (the whole frame where no box is known); `mask` (B, H, W) uint8, where it was asked for: 0 is
    background, i + 1 is the data set's `mask_names[i]`, 255 is unknown.
    """

    image: Tensor
    label: Tensor
    index: Tensor
    keypoints: Tensor
    box: Tensor
    mask: NotRequired[Tensor]


class Tokens(NamedTuple):
    """The patch features of a batch and all that the head needs of them.

    `tokens` (B, N, D) patch features in the space of `pooled`, row by row: raw ones where the
    head acts on their mean; empty (B, 0, D) if not asked for; `grid` (H, W) with H * W = N;
    `pooled` (B, D) the vector z on which the effective head acts, mostly the mean token; `scale`
    (B,) the positive factor 1/s of a normalised head, ones otherwise; `logits` (B, C) the black
    box's own output; `attribute` turns directions (B, k, D) into maps (B, k, N) whose mean over N
    is near <z, direction>; None where <token, direction> are the maps; `earlier` (B, N, E)
    features of an earlier layer on the same grid, where they are asked for.
    """

    tokens: Tensor
    grid: tuple[int, int]
    pooled: Tensor
    scale: Tensor
    logits: Tensor
    attribute: Callable[[Tensor], Tensor] | None = None
    earlier: Tensor | None = None

    @staticmethod
    def joined(parts: Sequence[Tokens]) -> Tokens:
        """Return the images of several batches as one; without `attribute`."""
        earlier = [one.earlier for one in parts if one.earlier is not None]
        return Tokens(
            torch.cat([one.tokens for one in parts]),
            parts[0].grid,
            torch.cat([one.pooled for one in parts]),
            torch.cat([one.scale for one in parts]),
            torch.cat([one.logits for one in parts]),
            earlier=torch.cat(earlier) if earlier else None,
        )

    def rows(self, rows: list[int]) -> Tokens:
        """Return some of the images; `attribute` belongs to whole batches and is left out."""
        earlier = None if self.earlier is None else self.earlier[rows]
        return self._replace(
            tokens=self.tokens[rows],
            pooled=self.pooled[rows],
            scale=self.scale[rows],
            logits=self.logits[rows],
            attribute=None,
            earlier=earlier,
        )
