"""Annotated images: what every data set provides, and the view of it that a loader reads."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from ppn.data.sampler import Draw
from ppn.types import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image
    from typing_extensions import Self

    from ppn.data.transforms import Transform


@dataclass
class Annotated:
    """One image with its annotations, in pixels of the original image.

    Attributes:
        image: RGB image.
        box: (4,) float64, x0, y0, x1, y1 of the object; None where unknown.
        keypoints: (P, 3) float64: x, y and visibility 0 or 1; None where unknown.
        mask: (H, W) uint8: 0 is background, i + 1 is `mask_names[i]`, 255 is unknown; None where
            there is none, or where it was not asked for.
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
        mask_names: What each value of a mask stands for, from 1 on; empty without masks.
        part_groups: Ways to join keypoints to fewer parts, each of them names of keypoints by the
            name of their part; empty where every keypoint is a part of its own.
    """

    class_names: list[str]
    part_names: list[str]
    labels: NDArray[np.int64]
    mask_names: Sequence[str] = ()
    part_groups: Sequence[dict[str, list[str]]] = ()

    @abstractmethod
    def read(self, index: int) -> Annotated:
        """Return image `index` with its annotations.

        Raises:
            DataError: If the image is missing or cannot be decoded.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what identifies image `index` to a person, such as its path below the root."""

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Return the mask (H, W) of image `index`, or None; see `Annotated`.

        Apart from `read`, because masks cost a file each and few uses need them.

        Raises:
            DataError: If the mask cannot be decoded.
        """
        return self.read(index).mask

    def numbered(self, labels: Sequence[int], class_names: list[str]) -> Self:
        """Return the same images with other numbers for their classes.

        Args:
            labels: The new label of each class.
            class_names: Name of each class by the new labels.
        """
        changed = copy.copy(self)
        changed.labels = np.asarray(labels, dtype=np.int64)[self.labels]
        changed.class_names = class_names
        return changed

    def __len__(self) -> int:
        return len(self.labels)


class ImageView(Dataset[Batch]):
    """The chosen images of a data set, transformed: what a DataLoader reads.

    Args:
        source: The annotated images.
        indices: Which images, in this order.
        transform: Turns one annotated image into the tensors of a `Batch`.
        masks: Whether batches hold masks; 255, unknown, where an image has none.
    """

    def __init__(
        self,
        source: AnnotatedDataset,
        indices: Sequence[int] | NDArray[np.int64],
        transform: Transform,
        masks: bool = False,
    ) -> None:
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64)
        self.transform = transform
        self.masks = masks

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, the class of each image of the view."""
        return self.source.labels[self.indices]

    def at(self, indices: Sequence[int] | NDArray[np.int64]) -> ImageView:
        """Return a view of other images of the same source, in the given order."""
        return ImageView(self.source, indices, self.transform, self.masks)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int | Draw) -> Batch:
        """Return one image as an unbatched `Batch`; `index` counts in the source, not the view.

        What is random about it comes from the seed of a `Draw`, else from torch's own state.
        """
        if not isinstance(position, Draw):
            return self._read(position)
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed: in the main process that would seed the GPU's dropout too.
            torch.default_generator.manual_seed(position.seed)
            return self._read(position.position)

    def _read(self, position: int) -> Batch:
        index = int(self.indices[position])
        sample = self.source.read(index)
        if not self.masks:
            sample.mask = None
        elif sample.mask is None:
            unknown = np.full(sample.image.size[::-1], 255, np.uint8)
            mask = self.source.mask(index)
            sample.mask = unknown if mask is None else mask
        seen = self.transform(sample)
        batch = Batch(
            image=seen.image,
            label=torch.tensor(int(self.source.labels[index])),
            index=torch.tensor(index),
            keypoints=seen.keypoints,
            box=seen.box,
        )
        if seen.mask is not None:
            batch["mask"] = seen.mask
        return batch
