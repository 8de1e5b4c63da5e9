"""The training images of a DataModule, with what is annotated of some of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ppn.data.clicks import click_indices, read_clicks
from ppn.data.coco_keypoints import read_coco_keypoints
from ppn.discovery.training import Annotations
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ppn.data.dataset import Annotated, ImageView
    from ppn.data.source import Source
    from ppn.data.transforms import Prepared
    from ppn.discovery.training import AnnotationKind, TrainingImages

_BOX = "box"
_AREA = 32
"""Cells along a side in which areas are kept: tokens are coarser."""


class AnnotatedTraining:
    """The training images that prototypes are found on; see `TrainingImages`.

    What is annotated goes through the crop and the transform that the images go through.

    Args:
        view: The training images, without augmentation.
        device: Where the classifier is.
    """

    def __init__(self, view: ImageView, device: torch.device) -> None:
        self._view = view
        self._device = device

    def clicked(self, path: str) -> Annotations:
        """Return the points of a file of clicks or COCO keypoints, on whichever images it names.

        Raises:
            DataError: If the file is wrong, an image is not in the data, or a point lies outside
                of its image.
        """
        source = self._view.source
        file = Path(path).expanduser()
        read = read_coco_keypoints if file.suffix.lower() == ".json" else read_clicks
        clicks = read(file)
        indices = click_indices(clicks, source).tolist()
        samples = (
            replace(source.read(index), keypoints=points)
            for index, points in zip(indices, clicks.points, strict=True)
        )
        keypoints = torch.stack([self._keypoints(self._seen(sample)) for sample in samples])
        return Annotations(indices, list(clicks.part_names), self._size, keypoints)

    def annotated(
        self, kind: AnnotationKind, names: Collection[str] | None, count: int, seed: int
    ) -> Annotations:
        """Return the data set's own annotations of images drawn at random.

        Raises:
            DataError: If the data set has no such annotations, or not of these names.
        """
        source = self._view.source
        known = {"keypoints": source.part_names, "masks": source.mask_names, "boxes": [_BOX]}[kind]
        if not known:
            raise DataError(
                f"The data set has no {kind}: give clicks, a file of points on some images, or "
                "another source."
            )
        strange = sorted(set(names or ()) - set(known))
        if strange:
            raise DataError(
                f"There is no '{strange[0]}' among the data set's {kind}, which are "
                f"{', '.join(known)}: correct groups."
            )
        columns = [column for column, name in enumerate(known) if names is None or name in names]
        indices, found = [], []
        for index in self._order(seed).tolist():
            shown = self._annotation(kind, index, len(known))
            if shown is None or not bool(_visible(shown)[columns].any()):
                continue
            indices.append(index)
            found.append(shown)
            if len(found) == count:
                break
        if not found:
            raise DataError(f"No training image has {kind} of these parts: give clicks instead.")
        joined = torch.stack(found)
        if kind == "keypoints":
            return Annotations(indices, list(known), self._size, joined)
        return Annotations(indices, list(known), self._size, None, joined)

    def drawn(self, count: int, seed: int) -> list[int]:
        """Return training images drawn at random."""
        found: list[int] = self._order(seed)[:count].tolist()
        return found

    def expect(self, indices: Sequence[int]) -> None:
        """Refuse an index of no image.

        Raises:
            DataError: If there is one.
        """
        _expect_within(indices, len(self._view.source))

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Return images (m, C, H, W) as the classifier sees them."""
        return torch.stack(list(self._images(indices))).to(self._device)

    @property
    def _size(self) -> tuple[int, int]:
        return self._view.transform.config.size

    def _images(self, indices: Sequence[int]) -> Iterator[Tensor]:
        view = self._view.at(indices)
        for position in range(len(view)):
            yield view[position]["image"]

    def _order(self, seed: int) -> NDArray[np.int64]:
        return np.random.default_rng(seed).permutation(self._view.indices)

    def _seen(self, sample: Annotated) -> Prepared:
        return self._view.transform(sample)

    def _keypoints(self, seen: Prepared) -> Tensor:
        """(P, 3), visible only where the classifier sees it: box crops leave points outside."""
        height, width = self._size
        x, y, visible = seen.keypoints.T
        inside = (x >= 0) & (y >= 0) & (x <= width) & (y <= height)
        return torch.stack([x, y, visible * inside], dim=1)

    def _annotation(self, kind: AnnotationKind, index: int, count: int) -> Tensor | None:
        """Keypoints (P, 3) or areas (P, h, w) of an image; None where it has none."""
        source = self._view.source
        sample = source.read(index)
        if kind == "masks" and sample.mask is None:
            sample.mask = source.mask(index)
        if kind != "masks":
            sample.mask = None
        if kind == "keypoints":
            return None if sample.keypoints is None else self._keypoints(self._seen(sample))
        if kind == "boxes":
            return None if sample.box is None else self._area(_inside(self._seen(sample)))
        if sample.mask is None:
            return None
        seen = self._seen(sample).mask
        assert seen is not None
        return self._area(torch.stack([seen == value + 1 for value in range(count)]))

    def _area(self, inside: Tensor) -> Tensor:
        """Areas (P, 32, 32) of pixels (P, H, W)."""
        pooled: Tensor = torch.nn.functional.adaptive_avg_pool2d(inside.float(), _AREA)
        return pooled


class LoaderTraining:
    """The images of any loader, of which nothing is annotated; see `TrainingImages`.

    Args:
        source: The images.
        device: Where the classifier is.
    """

    def __init__(self, source: Source, device: torch.device) -> None:
        self._source = source
        self._device = device

    def clicked(self, path: str) -> Annotations:
        """Refuse: nobody knows where a point of a file is after a loader's transform."""
        raise DataError(
            f"The points in {path} are pixels of image files, which a loader's transform moves: "
            "give one of ppn's DataModules instead of the loader, or points to "
            "NamedParts.annotate."
        )

    def annotated(
        self, kind: AnnotationKind, names: Collection[str] | None, count: int, seed: int
    ) -> Annotations:
        """Refuse: a loader has images and labels."""
        del names, count, seed
        raise DataError(
            f"A loader has no {kind}: give one of ppn's DataModules instead, points to "
            "NamedParts.annotate, or a teacher."
        )

    def drawn(self, count: int, seed: int) -> list[int]:
        """Return images drawn at random.

        Raises:
            DataError: If the loader's images cannot be read again.
        """
        if not self._source.rereads:
            raise DataError(
                "The loader's images can be read only once, and a teacher is to see some before: "
                "give a DataLoader."
            )
        found: list[int] = np.random.default_rng(seed).permutation(self._source.indices).tolist()
        return found[:count]

    def expect(self, indices: Sequence[int]) -> None:
        """Refuse an index of no image, where images can be read again.

        Raises:
            DataError: If there is one.
        """
        if self._source.rereads:
            _expect_within(indices, len(self._source.dataset))

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Return images (m, C, H, W) as the classifier sees them."""
        return self._source.images(indices).to(self._device)


def training_images(source: Source, device: torch.device) -> TrainingImages:
    """Return what a discoverer may ask of the images of a source."""
    if source.data is not None:
        return AnnotatedTraining(source.data.view("train"), device)
    return LoaderTraining(source, device)


def _expect_within(indices: Sequence[int], count: int) -> None:
    strange = next((index for index in indices if not 0 <= index < count), None)
    if strange is not None:
        raise DataError(
            f"Image {strange} is annotated, but training images are 0 to {count - 1}: correct its "
            "index."
        )


def _visible(shown: Tensor) -> Tensor:
    """Which of the P an image shows."""
    return shown.flatten(1).amax(1) > 0 if shown.ndim == 3 else shown[:, 2] > 0


def _inside(seen: Prepared) -> Tensor:
    """(1, H, W), which pixels lie in the box."""
    height, width = seen.image.shape[1:]
    x0, y0, x1, y1 = seen.box
    rows, columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    down, across = (rows >= y0) & (rows <= y1), (columns >= x0) & (columns <= x1)
    inside: Tensor = (down[:, None] & across)[None]
    return inside
