"""Random changes of training images that carry keypoints and masks along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torchvision.transforms import v2

if TYPE_CHECKING:
    from torch import nn

Augmentation = Literal["none", "flip", "standard"]
"""What happens to training images.

- "none": nothing, as in evaluation and discovery;
- "flip": mirrored with probability 1/2;
- "standard": the same, with random resized crop and colour jitter.
"""
UNKNOWN = 255
"""What masks hold where nothing is known, also outside of the image."""


def random_geometry(
    augmentation: Augmentation, size: tuple[int, int], mode: v2.InterpolationMode
) -> nn.Module | None:
    """Return what moves pixels in place of the resizing of evaluation; None where nothing does.

    Args:
        augmentation: The recipe.
        size: Height and width of the network's input.
        mode: How pixels are interpolated.
    """
    if augmentation != "standard":
        return None
    crop: nn.Module = v2.RandomResizedCrop(list(size), scale=(0.35, 1.0), interpolation=mode)
    return crop


def random_content(augmentation: Augmentation) -> nn.Module | None:
    """Return what comes after geometry and flip: colours; or None."""
    if augmentation != "standard":
        return None
    jitter: nn.Module = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
    return jitter
