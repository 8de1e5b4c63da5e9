"""Random changes of training images that carry keypoints and masks along."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

Augmentation = Literal["none", "flip", "standard", "randaugment", "part_prototype"]
"""What happens to training images.

- "none": nothing, as in evaluation and discovery;
- "flip": mirrored with probability 1/2, like all that follow;
- "standard": random resized crop and colour jitter;
- "randaugment": random resized crop and two operations of RandAugment (Cubuk et al., 2020);
- "part_prototype": one of rotation (15 degrees), skew (0.2) and shear (10 degrees), the recipe of
  the part-prototype literature for CUB (Chen et al., "This Looks Like That", NeurIPS 2019).
"""


def random_geometry(
    augmentation: Augmentation, size: tuple[int, int], mode: v2.InterpolationMode
) -> nn.Module | None:
    """Return what moves pixels, apart from flipping; None where nothing does.

    Random resized crops replace the resizing of evaluation; the part-prototype recipe follows it.

    Args:
        augmentation: The recipe.
        size: Height and width of the network's input.
        mode: How pixels are interpolated.
    """
    if augmentation in ("standard", "randaugment"):
        crop: nn.Module = v2.RandomResizedCrop(list(size), scale=(0.35, 1.0), interpolation=mode)
        return crop
    if augmentation == "part_prototype":
        # torchvision interpolates rotations with these two modes only.
        smooth = v2.InterpolationMode.BILINEAR
        if mode is v2.InterpolationMode.NEAREST:
            smooth = mode
        fill = {tv_tensors.Mask: UNKNOWN, "others": 0}
        warp: nn.Module = v2.RandomChoice(
            [
                v2.RandomRotation(15, smooth, fill=fill),
                # A skew of 0.2 moves corners by up to 0.2 sides; torchvision counts half sides.
                v2.RandomPerspective(0.4, p=1.0, interpolation=smooth, fill=fill),
                v2.RandomAffine(0, shear=(-10, 10, -10, 10), interpolation=smooth, fill=fill),
            ]
        )
        return warp
    return None


def random_content(augmentation: Augmentation) -> nn.Module | None:
    """Return what comes after geometry and flip: colours and RandAugment; or None."""
    if augmentation == "standard":
        jitter: nn.Module = v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)
        return jitter
    if augmentation == "randaugment":
        return RandAugment()
    return None


UNKNOWN = 255
"""What masks hold where nothing is known, also outside of the image."""


class RandAugment(nn.Module):
    """RandAugment (Cubuk et al., 2020) for images together with their keypoints and masks.

    torchvision's own refuses keypoints and masks; operations, ranges and the 31 levels are the
    same.

    Args:
        operations: How many of the 14 operations are applied one after another.
        level: Their strength, 0 to 30.
    """

    def __init__(self, operations: int = 2, level: int = 9) -> None:
        super().__init__()
        self.operations = operations
        self.strength = level / 30

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        """Apply the same random operations to an image and whatever belongs to it."""
        for _ in range(self.operations):
            name = _OPERATIONS[int(torch.randint(len(_OPERATIONS), ()))]
            sign = 1 if torch.rand(()) < 0.5 else -1
            inputs = tuple(_apply(name, sign * self.strength, value) for value in inputs)
        return inputs


_OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)


def _apply(name: str, strength: float, value: Any) -> Any:  # noqa: ANN401 - any of v2's inputs
    """One operation at a signed strength in [-1, 1]; colours leave keypoints and masks alone."""
    change = v2.functional
    if name in ("shear_x", "shear_y", "translate_x", "translate_y", "rotate"):
        height, width = change.get_size(value)
        shear = [0.0, 0.0]
        shift = [0.0, 0.0]
        if name.startswith("shear"):
            # torchvision shears by the tangent of an angle, RandAugment by up to 0.3.
            angle = float(torch.rad2deg(torch.atan(torch.tensor(0.3 * strength))))
            shear["xy".index(name[-1])] = angle
        elif name.startswith("translate"):
            side = width if name.endswith("x") else height
            shift["xy".index(name[-1])] = 150 / 331 * strength * side
        degrees = 30 * strength if name == "rotate" else 0.0
        fill = UNKNOWN if isinstance(value, tv_tensors.Mask) else 0
        return change.affine(value, degrees, shift, 1.0, shear, fill=fill)
    if isinstance(value, (tv_tensors.KeyPoints, tv_tensors.Mask)):
        return value  # torchvision refuses to change their colours
    if name in ("brightness", "contrast", "color", "sharpness"):
        adjust = getattr(change, f"adjust_{'saturation' if name == 'color' else name}")
        return adjust(value, 1 + 0.9 * strength)
    if name == "posterize":
        return change.posterize(value, 8 - round(4 * abs(strength)))
    if name == "solarize":
        return change.solarize(value, 255 * (1 - abs(strength)))
    if name in ("autocontrast", "equalize"):
        return getattr(change, name)(value)
    return value
