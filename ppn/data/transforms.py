"""From an annotated image to the tensors of a batch, boxes and keypoints moving along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

if TYPE_CHECKING:
    from ppn.data.dataset import Annotated
    from ppn.types import InputConfig

Crop = Literal["frame", "box"]
Augmentation = Literal["none", "flip", "standard"]


class Transform:
    """Turns one annotated image into normalised pixels, keypoints and box.

    Args:
        config: Size, normalisation, interpolation and crop that the backbone expects.
        crop: "frame" resizes the shorter side to `size / crop_pct` and takes the centre, as the
            backbone's own evaluation does; "box" cuts out the object's box (its corners truncated
            to int) and resizes it to `size` without keeping the aspect ratio (protocol
            `evalprotopnet-2023`). Images without a box fall back to the frame.
        augmentation: "none" for evaluation and discovery; "flip"; or "standard": random resized
            crop, flip and colour jitter.
    """

    def __init__(
        self, config: InputConfig, crop: Crop = "frame", augmentation: Augmentation = "none"
    ) -> None:
        self.config = config
        self.crop = crop
        self.augmentation = augmentation
        mode = v2.InterpolationMode(config.interpolation)
        height, width = config.size
        resized = [round(side / config.crop_pct) for side in config.size]
        # A square input keeps the aspect ratio of the image, as timm's evaluation does.
        shorter = resized[0] if height == width else resized
        self._frame = v2.Compose([v2.Resize(shorter, mode), v2.CenterCrop([height, width])])
        self._exact = v2.Resize([height, width], mode)
        self._random: v2.Transform | None = None
        if augmentation == "standard":
            self._random = v2.Compose(
                [
                    v2.RandomResizedCrop([height, width], scale=(0.35, 1.0), interpolation=mode),
                    v2.RandomHorizontalFlip(),
                    v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
                ]
            )
        elif augmentation == "flip":
            self._random = v2.RandomHorizontalFlip()
        self._tensor = v2.Compose(
            [
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(config.mean), list(config.std)),
            ]
        )

    def __call__(self, sample: Annotated) -> tuple[Tensor, Tensor, Tensor]:
        """Transform one image.

        Args:
            sample: The image and its annotations.

        Returns:
            The image (3, H, W) float32; keypoints (P, 3) float32; box (4,) float32.
        """
        width, height = sample.image.size
        canvas = (height, width)
        annotated = np.zeros((0, 3)) if sample.keypoints is None else sample.keypoints
        whole = np.array([0.0, 0.0, width, height])
        box = whole if sample.box is None else sample.box
        # Corners of the box as keypoints: unlike boxes they are never clamped on the way.
        points = tv_tensors.KeyPoints(
            torch.from_numpy(np.concatenate([annotated[:, :2], box.reshape(2, 2)])),
            canvas_size=canvas,
        )
        image: object = sample.image
        boxed = self.crop == "box" and sample.box is not None
        if boxed:
            x0, y0 = max(0, int(box[0])), max(0, int(box[1]))
            x1, y1 = min(width, int(box[2])), min(height, int(box[3]))
            area = (y0, x0, max(1, y1 - y0), max(1, x1 - x0))
            image = v2.functional.crop(image, *area)
            points = v2.functional.crop(points, *area)
        if self.augmentation == "standard":
            assert self._random is not None
            image, points = self._random(image, points)
        else:
            resize = self._exact if boxed else self._frame
            image, points = resize(image, points)
            if self._random is not None:
                image, points = self._random(image, points)
        return self._tensor(image), *self._annotations(points, annotated[:, 2], boxed)

    def _annotations(
        self, points: Tensor, visible: np.ndarray, boxed: bool
    ) -> tuple[Tensor, Tensor]:
        height, width = self.config.size
        # Exact multiples of a pixel may come out a rounding error below it, and protocols
        # truncate: 4 digits put them back and move nothing else.
        xy = points.as_subclass(Tensor).to(torch.float64).round(decimals=4)
        if xy[-2, 0] > xy[-1, 0]:
            # The corners are exchanged: flipped. torchvision mirrors pixel numbers (x -> W - 1 - x)
            # but crops and resizes positions, in which the mirror image is W - x.
            xy[:, 0] += 1
        corners, xy = xy[-2:], xy[:-2]
        flag = torch.from_numpy(np.ascontiguousarray(visible))
        if not boxed:  # the box protocol counts every annotated part, also just outside the crop
            inside = (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
            flag = flag * inside
        keypoints = torch.cat([xy, flag[:, None]], dim=1).to(torch.float32)
        low, high = corners.min(0).values, corners.max(0).values
        limit = torch.tensor([width, height], dtype=torch.float64)
        box = torch.cat([low.clamp(min=0).minimum(limit), high.clamp(min=0).minimum(limit)])
        return keypoints, box.to(torch.float32)
