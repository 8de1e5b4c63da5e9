"""Images listed by their paths, the form that most published data sets have."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from ppn.data.dataset import Annotated, AnnotatedDataset
from ppn.data.images import read_image
from ppn.data.inside import expect_inside
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class ImageList(AnnotatedDataset):
    """Images given by their paths below a folder, with boxes where they are known.

    Args:
        root: Folder that the paths start from.
        paths: Path of each image.
        labels: Class of each image.
        class_names: Name of each class.
        boxes: (n, 4) x0, y0, x1, y1 in pixels; rows of NaN where unknown; None without boxes.

    Raises:
        DataError: If a label is not that of a class, an image is listed twice, or a box is empty.
    """

    def __init__(
        self,
        root: Path,
        paths: Sequence[str],
        labels: Sequence[int] | NDArray[np.int64],
        class_names: list[str],
        boxes: NDArray[np.float64] | None = None,
    ) -> None:
        self.root = root
        self.class_names = class_names
        self.part_names = []
        self.labels = np.asarray(labels, dtype=np.int64)
        expect_inside(paths, root)
        outside = np.flatnonzero((self.labels < 0) | (self.labels >= len(class_names)))
        if len(outside):
            first = int(outside[0])
            raise DataError(
                f"Image {paths[first]} in {root} has label {self.labels[first]}, but labels go "
                f"from 0 to {len(class_names) - 1}: correct the data set's lists."
            )
        if len(set(paths)) < len(paths):
            twice = next(path for path, count in Counter(paths).items() if count > 1)
            raise DataError(
                f"Image {twice} in {root} is listed twice: correct the data set's lists."
            )
        corners = np.zeros((0, 4)) if boxes is None else boxes
        empty = np.flatnonzero((corners[:, 2:] <= corners[:, :2]).any(1))
        if len(empty):
            raise DataError(
                f"The box of image {paths[int(empty[0])]} in {root} has no width or no height: "
                "correct the data set's lists."
            )
        # One array of bytes: a list of strings is copied into every worker, page by page.
        self._paths = np.array([path.encode() for path in paths])
        self._boxes = boxes

    def read(self, index: int) -> Annotated:
        """Return image `index`, with its box where one is known."""
        return Annotated(read_image(self.root / self.name(index)), self.box(index))

    def box(self, index: int) -> NDArray[np.float64] | None:
        """Return the box (4,) of image `index`, or None where none is known."""
        if self._boxes is None or np.isnan(self._boxes[index]).any():
            return None
        row: NDArray[np.float64] = self._boxes[index]
        return row

    def name(self, index: int) -> str:
        """Return the path of image `index` below the root."""
        return bytes(self._paths[index]).decode()
