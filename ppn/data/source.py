"""Whatever gives images with labels, as batches of one class after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset

from ppn.data.datamodule import FineGrainedDataModule
from ppn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppn.types import InputConfig

Images = tuple[Tensor, list[int], Tensor]
"""Images (B, C, H, W), the label of each, and which images of the data set (B,) they are."""


class Source:
    """Training images for `from_classifier`.

    Args:
        loader: A DataModule of this package, a DataLoader, or any iterable of batches.
        config: What the classifier expects, which a DataModule follows.

    Attributes:
        by_class: Whether `batches` gives each class in one piece.
        class_names: Names that the data set gives its classes, or None.
    """

    def __init__(self, loader: FineGrainedDataModule | Iterable[Any], config: InputConfig) -> None:
        self.class_names: Sequence[str] | None
        self._data: FineGrainedDataModule | None = None
        self._dataset: Any = None
        self._order: NDArray[np.int64] | None = None
        self._batches: Iterable[Any]
        self.by_class = False
        if isinstance(loader, FineGrainedDataModule):
            self._data = loader
            loader.input_config = config
            self.class_names = loader.class_names
            self._batches = loader.discovery_loader(range(loader.num_classes))
            self.by_class = True
            return
        self._batches = loader
        self._dataset = getattr(loader, "dataset", None)
        self.class_names = getattr(self._dataset, "classes", None)
        if isinstance(loader, DataLoader) and not isinstance(self._dataset, IterableDataset):
            self._batches = self._in_order(loader)
        else:
            self._dataset = None  # positions in an unknown order are no indices

    def batches(self) -> Iterator[Images]:
        """Yield all images, with a progress bar.

        Raises:
            DataError: If a batch is neither (images, labels) nor a dict of `image` and `label`,
                or these are not what a classifier is trained with.
        """
        seen = 0
        for batch in track(self._batches, "Finding prototypes"):
            images, labels, indices = _unpack(batch)
            if indices is None:
                positions = np.arange(seen, seen + len(images))
                order = positions if self._order is None else self._order[positions]
                indices = torch.from_numpy(order)
            seen += len(images)
            yield images, labels, indices

    def image(self, index: int) -> tuple[Tensor, str] | None:
        """Return an image (C, H, W) and its name; None where it cannot be read again."""
        if self._data is not None:
            return self._data.view("train").at([index])[0]["image"], self.name(index)
        if self._dataset is None:
            return None
        item = self._dataset[index]
        image = item["image"] if isinstance(item, Mapping) else item[0]
        return image, self.name(index)

    def name(self, index: int) -> str:
        """Return what identifies a training image to a person."""
        if self._data is not None:
            return self._data.train_source.name(index)
        return f"training image {index}"

    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of the images.

        Raises:
            DataError: If there is no image.
        """
        batches = iter(self._batches)
        first = next(batches, None)
        if first is None:
            raise DataError("The loader gives no image.")
        if batches is self._batches:  # it can be run through only once
            self._batches = chain([first], batches)
        _, channels, height, width = _unpack(first)[0].shape
        return channels, height, width

    def _in_order(self, loader: DataLoader[Any]) -> DataLoader[Any]:
        """The same data set, unshuffled, and class by class where its labels are known."""
        dataset: Any = loader.dataset
        targets = getattr(dataset, "targets", None)
        if targets is not None and len(targets) == len(dataset):
            self._order = np.argsort(np.asarray(targets), kind="stable")
            dataset = Subset(dataset, self._order.tolist())
            self.by_class = True
        return DataLoader(
            dataset,
            batch_size=loader.batch_size or 1,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
        )


def _unpack(batch: Any) -> tuple[Tensor, list[int], Tensor | None]:  # noqa: ANN401 - a user's
    index = None
    if isinstance(batch, Mapping) and "image" in batch and "label" in batch:
        images, labels, index = batch["image"], batch["label"], batch.get("index")
    elif isinstance(batch, Sequence) and len(batch) >= 2:
        images, labels = batch[0], batch[1]
    else:
        raise DataError(
            f"The loader gives a {type(batch).__name__}, but must give (images, labels) or a dict "
            "with 'image' and 'label'."
        )
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise DataError("The loader's images are no tensor (B, 3, H, W): collate them to one.")
    if not images.is_floating_point():
        kind = str(images.dtype).removeprefix("torch.")
        raise DataError(
            f"The loader's images are {kind}: preprocess them as the classifier expects them."
        )
    labels = torch.as_tensor(labels)
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise DataError(
            f"The loader's labels are {tuple(labels.shape)} of {labels.dtype} for {len(images)} "
            "images: give one whole number per image."
        )
    return images, labels.long().tolist(), index
