"""From an annotated image to the tensors of a batch: boxes, keypoints and masks move along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from ppn.data.augmentation import random_content, random_geometry
from ppn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from ppn.data.augmentation import Augmentation
    from ppn.data.dataset import Annotated
    from ppn.types import InputConfig

Crop = Literal["frame", "box"]


class Prepared(NamedTuple):
    """One image as the network sees it, with what is known of it, in pixels of this image.

    `image` (3, H, W) float32; `keypoints` (P, 3) float32; `box` (4,) float32; `mask` (H, W) uint8
    or None; see `Batch`.
    """

    image: Tensor
    keypoints: Tensor
    box: Tensor
    mask: Tensor | None


class Transform:
    """Turns one annotated image into normalised pixels, keypoints, box and mask.

    Args:
        config: Size, normalisation, interpolation and crop that the classifier expects.
        crop: "frame" resizes the shorter side to `size / crop_pct` and takes the centre, as the
            backbone's own evaluation does; "box" cuts out the object's box (its corners truncated
            to int) and resizes it to `size` without keeping the aspect ratio (protocol
            `evalprotopnet-2023`). Images without a box fall back to the frame.
        augmentation: See `Augmentation`.

    Raises:
        DataError: If the classifier takes neither grey nor RGB images.
    """

    def __init__(
        self, config: InputConfig, crop: Crop = "frame", augmentation: Augmentation = "none"
    ) -> None:
        if config.channels not in (1, 3):
            raise DataError(
                f"The classifier takes {config.channels} channels, but image files have three: "
                "give it tensors, by ppn.from_classifier."
            )
        self.config = config
        self.crop = crop
        self.augmentation = augmentation
        mode = v2.InterpolationMode(config.interpolation)
        height, width = config.size
        resized = [round(side / config.crop_pct) for side in config.size]
        # A square input keeps the aspect ratio of the image, as timm's evaluation does.
        shorter = resized[0] if height == width else resized
        frame = [v2.Resize(shorter, mode), v2.CenterCrop([height, width])]
        self._frame: list[nn.Module] = frame
        self._exact: list[nn.Module] = [v2.Resize([height, width], mode)]
        geometry = random_geometry(augmentation, config.size, mode)
        if isinstance(geometry, v2.RandomResizedCrop):
            self._frame = self._exact = [geometry]
        elif geometry is not None:
            self._frame, self._exact = [*self._frame, geometry], [*self._exact, geometry]
        self._content = random_content(augmentation)
        # (pixel / 255 - mean) / std as one factor and one shift.
        std = np.array(config.std)[:, None, None]
        mean = np.array(config.mean)[:, None, None]
        self._factor = (1 / (255 * std)).astype(np.float32)
        self._shift = (-mean / std).astype(np.float32)

    def __call__(self, sample: Annotated) -> Prepared:
        """Transform one image.

        Args:
            sample: The image and its annotations.

        Returns:
            The image as the network sees it, and its annotations there.
        """
        width, height = sample.image.size
        annotated = np.zeros((0, 3)) if sample.keypoints is None else sample.keypoints
        box = np.array([0.0, 0.0, width, height]) if sample.box is None else sample.box
        # Corners of the box as keypoints: unlike boxes they are never clamped on the way.
        points = tv_tensors.KeyPoints(
            torch.from_numpy(np.concatenate([annotated[:, :2], _corners(box)])),
            canvas_size=(height, width),
        )
        moved: tuple[Any, ...] = (sample.image, points)
        if sample.mask is not None:
            moved = (*moved, tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(sample.mask))))
        boxed = self.crop == "box" and sample.box is not None
        if boxed:
            x0, y0, x1, y1 = box_area(box, sample.image.size)
            area = (y0, x0, y1 - y0, x1 - x0)
            moved = tuple(v2.functional.crop(value, *area) for value in moved)
        for step in self._exact if boxed else self._frame:
            moved = step(*moved)
        if self.augmentation != "none" and torch.rand(()) < 0.5:
            moved = tuple(_mirrored(value) for value in moved)
        if self._content is not None:
            moved = self._content(*moved)
        image, points, *masks = moved
        keypoints, extent = self._annotations(points, annotated[:, 2], boxed)
        mask = masks[0].as_subclass(Tensor) if masks else None
        return Prepared(self._tensor(image), keypoints, extent, mask)

    def picture(self, image: Image.Image) -> Tensor:
        """Return what `image` of the transformed sample is, (C, H, W), without its annotations."""
        for step in self._frame:
            image = step(image)
        return self._tensor(image)

    def _tensor(self, image: Image.Image) -> Tensor:
        """Normalise; three times as fast as torchvision's steps one after another.

        In numpy, which starts no threads beside those that read images.
        """
        if self.config.channels == 1:
            image = image.convert("L")
        pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
        values = pixels.astype(np.float32, order="C")
        values *= self._factor
        values += self._shift
        return torch.from_numpy(values)

    def _annotations(
        self, points: Tensor, visible: NDArray[np.float64], boxed: bool
    ) -> tuple[Tensor, Tensor]:
        # In numpy: dozens of operations on a few numbers each cost more in torch.
        height, width = self.config.size
        # Exact multiples of a pixel may come out a rounding error below it, and protocols
        # truncate: 4 digits put them back and move nothing else.
        xy = points.numpy().round(4)
        corners, xy = xy[-4:], xy[:-4]
        if not boxed:  # the box protocol counts every annotated part, also just outside the crop
            visible = visible * ((xy >= 0) & (xy < [width, height])).all(1)
        keypoints = np.concatenate([xy, visible[:, None]], axis=1)
        low, high = np.clip([corners.min(0), corners.max(0)], 0, [width, height])
        box = np.concatenate([low, high])
        return (
            torch.from_numpy(keypoints.astype(np.float32)),
            torch.from_numpy(box.astype(np.float32)),
        )


def to_picture(image: Tensor, config: InputConfig) -> Image.Image:
    """Undo the normalisation of an image (C, H, W): what the network saw, as a picture.

    Of more than three channels the first three are shown, of two the first.
    """
    mean = image.new_tensor(config.mean)[:, None, None]
    std = image.new_tensor(config.std)[:, None, None]
    pixels = (image * std).add_(mean).clamp_(0, 1).mul_(255).round_().byte().cpu()
    shown = pixels[:3] if len(pixels) > 2 else pixels[:1].expand(3, -1, -1)
    return Image.fromarray(shown.permute(1, 2, 0).contiguous().numpy())


def box_area(box: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the whole pixels x0, y0, x1, y1, at least one, that a box crop keeps.

    Args:
        box: (4,) x0, y0, x1, y1, truncated to int.
        size: Width and height of the image.
    """
    width, height = size
    x0, y0 = min(width - 1, max(0, int(box[0]))), min(height - 1, max(0, int(box[1])))
    return x0, y0, max(x0 + 1, min(width, int(box[2]))), max(y0 + 1, min(height, int(box[3])))


def _corners(box: NDArray[np.float64]) -> NDArray[np.float64]:
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x0, y1], [x1, y1]])


def _mirrored(value: object) -> object:
    if isinstance(value, tv_tensors.KeyPoints):
        # torchvision mirrors pixel numbers (x -> W - 1 - x) but crops, resizes and rotates
        # positions, in which the mirror image is W - x.
        mirrored = value.as_subclass(Tensor).clone()
        mirrored[:, 0] = value.canvas_size[1] - mirrored[:, 0]
        return tv_tensors.wrap(mirrored, like=value)
    return v2.functional.horizontal_flip(value)
