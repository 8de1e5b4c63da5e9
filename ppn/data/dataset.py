"""Annotated images: what every data set provides, and the view of it that a loader reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from ppn.errors import DataError
from ppn.types import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ppn.data.transforms import Transform


@dataclass
class Annotated:
    """One image with its annotations, in pixels of the original image.

    Attributes:
        image: RGB image.
        box: (4,) float64, x0, y0, x1, y1 of the object; None where unknown.
        keypoints: (P, 3) float64: x, y and visibility 0 or 1; None where unknown.
        mask: (H, W) uint8: 0 is background, i + 1 is part i; None where unknown.
    """

    image: Image.Image
    box: NDArray[np.float64] | None = None
    keypoints: NDArray[np.float64] | None = None
    mask: NDArray[np.uint8] | None = None


class AnnotatedDataset(ABC):
    """Images with a label each and, where the data set has them, box, keypoints and part mask.

    Attributes:
        class_names: Name of each class; the position is the label.
        part_names: Name of each keypoint; empty without part annotations.
        labels: (n,) int64, the class of each image.
    """

    class_names: list[str]
    part_names: list[str]
    labels: NDArray[np.int64]

    @abstractmethod
    def read(self, index: int) -> Annotated:
        """Return image `index` with its annotations.

        Raises:
            DataError: If the image is missing or cannot be decoded.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what identifies image `index` to a person, such as its path below the root."""

    def __len__(self) -> int:
        return len(self.labels)


class ImageView(Dataset[Batch]):
    """The chosen images of a data set, transformed: what a DataLoader reads.

    Args:
        source: The annotated images.
        indices: Which images, in this order.
        transform: Turns one annotated image into the tensors of a `Batch`.
    """

    def __init__(
        self,
        source: AnnotatedDataset,
        indices: Sequence[int] | NDArray[np.int64],
        transform: Transform,
    ) -> None:
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64)
        self.transform = transform

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, the class of each image of the view."""
        return self.source.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Batch:
        """Return one image as an unbatched `Batch`; `index` counts in the source, not the view."""
        index = int(self.indices[position])
        image, keypoints, box = self.transform(self.source.read(index))
        return Batch(
            image=image,
            label=torch.tensor(int(self.source.labels[index])),
            index=torch.tensor(index),
            keypoints=keypoints,
            box=box,
        )


def read_image(path: Path) -> Image.Image:
    """Open an image file as RGB.

    Raises:
        DataError: If the file is missing or is not a whole image.
    """
    try:
        with Image.open(path) as image:
            rgb: Image.Image = image.convert("RGB")
            return rgb
    except FileNotFoundError:
        raise DataError(
            f"Image {path} is missing: complete the data set or correct its list of images."
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"Image {path} cannot be read ({error}): replace the file or take it off the list of "
            "images."
        ) from None
