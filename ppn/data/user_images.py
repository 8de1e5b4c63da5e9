"""Images of a user: what their folders or their CSV file list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ppn.data.dataset import Annotated, AnnotatedDataset
from ppn.data.images import read_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class UserImages(AnnotatedDataset):
    """Images of a user, with boxes and keypoints where they gave them.

    Files are shown upright, as their camera's orientation tag says; boxes and keypoints are in
    pixels of the upright image.

    Args:
        root: Folder that the paths start from.
        paths: Path of each image.
        labels: (n,) class of each image.
        class_names: Name of each class.
        part_names: Name of each keypoint.
        boxes: (n, 4) x0, y0, x1, y1; rows of NaN where unknown. None without boxes.
        keypoints: (n, P, 3) x, y, visibility. None without keypoints.
    """

    def __init__(
        self,
        root: Path,
        paths: list[str],
        labels: NDArray[np.int64],
        class_names: list[str],
        part_names: list[str] | None = None,
        boxes: NDArray[np.float64] | None = None,
        keypoints: NDArray[np.float64] | None = None,
    ) -> None:
        self.root = root
        self.class_names = class_names
        self.part_names = part_names or []
        self.labels = labels
        self._paths = paths
        self._boxes = np.full((len(paths), 4), np.nan) if boxes is None else boxes
        self._keypoints = np.zeros((len(paths), 0, 3)) if keypoints is None else keypoints

    def read(self, index: int) -> Annotated:
        """Return image `index`, upright, with what is known of it."""
        box = self._boxes[index]
        keypoints = self._keypoints[index] if self.part_names else None
        image = read_image(self.root / self._paths[index], upright=True)
        return Annotated(image, None if np.isnan(box).any() else box, keypoints)

    def name(self, index: int) -> str:
        """Return the path of image `index` below the root."""
        return self._paths[index]

    def chosen(self, wanted: NDArray[np.bool_]) -> UserImages:
        """Return the images where `wanted` (n,) is true, with the same classes."""
        return UserImages(
            self.root,
            [self._paths[index] for index in np.flatnonzero(wanted)],
            self.labels[wanted],
            self.class_names,
            self.part_names,
            self._boxes[wanted],
            self._keypoints[wanted],
        )


@dataclass
class Found:
    """What was found in folders or a CSV file.

    Attributes:
        images: All images, whatever their split.
        splits: (n,) "train", "val" or "test"; all "train" where the user gave no splits.
        origin: What the user calls each split, such as the name of its folder.
        remarks: Sentences about what was not used.
    """

    images: UserImages
    splits: NDArray[np.str_]
    origin: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
