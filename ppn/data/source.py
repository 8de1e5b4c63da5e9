"""Whatever gives images with labels, as batches of one class after the other where it can be."""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from ppn.data.batches import LabelMode, label_mode, members, unpack
from ppn.data.chosen import chosen_images, expect_loader, reread
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.targets import confirmed_targets
from ppn.data.wrapped import class_names, listed_targets, name_of
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ppn.data.batches import LoaderBatch
    from ppn.types import InputConfig


class LabelledImages(NamedTuple):
    """Images of a batch, and which classes they belong to.

    `images` (B, C, H, W); `rows` of M of them, `labels` the class of each, `indices` (M,) which
    image of the data set it is. An image of several classes has a row for each, one of none has
    none.
    """

    images: Tensor
    rows: list[int]
    labels: list[int]
    indices: Tensor


class Source:
    """Training images for `from_classifier`.

    The loader decides which images are used. Their order does not matter: a DataLoader's images
    are read class by class where its data set lists labels and a few items confirm them.

    Args:
        loader: A DataModule of this package, a DataLoader, or any iterable of batches.
        config: What the classifier expects, which a DataModule follows.

    Raises:
        DataError: If the loader is none of these.
    """

    def __init__(self, loader: FineGrainedDataModule | Iterable[Any], config: InputConfig) -> None:
        self.data: FineGrainedDataModule | None = None
        self.dataset: Any = None
        self._loader: DataLoader[Any] | None = None
        self._positions: NDArray[np.int64] | None = None
        self._batches: Iterable[Any]
        if isinstance(loader, FineGrainedDataModule):
            self.data = loader
            loader.input_config = config
            self._batches = loader.discovery_loader(loader.labels)
            return
        expect_loader(loader)
        self._batches = loader
        self.dataset = getattr(loader, "dataset", None)
        chosen = chosen_images(loader) if isinstance(loader, DataLoader) else None
        if chosen is not None and isinstance(loader, DataLoader):
            self._loader, self._positions = loader, chosen.positions
            self._batch_size = chosen.batch_size
            self._batches = reread(loader, chosen.positions.tolist(), chosen.batch_size)

    @property
    def by_class(self) -> bool:
        """Whether `batches` gives each class in one piece, for labels that are one class each."""
        return self.data is not None or self._known_labels is not None

    def mode(self, count: int) -> LabelMode:
        """Return how labels say to which classes an image belongs.

        "single" is a number per image; "binary" is 0 or 1, for a classifier with one logit;
        "multilabel" is a row of zeros and ones per image. Softmax gives the probabilities of the
        first, sigmoid those of the others.

        Args:
            count: Number of the classifier's logits.
        """
        return label_mode(self._first.labels, count)

    def class_names(self, count: int) -> list[str] | None:
        """Return the names that the data set gives to the classifier's classes, or None.

        Classes that the data set does not name are called by their number.

        Args:
            count: Number of the classifier's logits.
        """
        names = self.data.class_names if self.data is not None else class_names(self.dataset)
        if not names:
            return None
        label_of = self._label_of if self._label_of is not None else self._label_of_wrapped
        named = dict(enumerate(names))
        if label_of is not None:
            meant = {key: label for key, label in label_of.items() if key in named}
            if any(key != label for key, label in meant.items()):
                named = {label: names[key] for key, label in meant.items()}
            if not meant or len(named) < len(meant):
                return None  # labels were changed or merged: none of the names is right
        if count == 1:
            return [named[self._positive]] if self._positive in named else None
        return [named.get(label, str(label)) for label in range(count)]

    def note(self, count: int) -> str | None:
        """Return a sentence on labels that a reader of the explanations must know, or None."""
        if self.mode(count) != "binary":
            return None
        kind = "labelled 1" if self._positive == 1 else "given (all are labelled 0)"
        return (
            f"The classifier has one logit: its prototypes are those of the images {kind}, and "
            "its probability is the sigmoid of the logit."
        )

    def announce(self, count: int) -> None:
        """Print the note, if there is one."""
        note = self.note(count)
        if note is not None:
            rank_zero_info(note)

    def batches(self, count: int, title: str = "Finding prototypes") -> Iterator[LabelledImages]:
        """Yield all images, with a progress bar.

        Args:
            count: Number of the classifier's logits.
            title: What the progress bar says.

        Raises:
            DataError: If batches or their labels are not what the classifier is trained with.
        """
        mode = self.mode(count)
        positive = self._positive if mode == "binary" else 1
        shape = self._first.images.shape[1:]
        order, expected = self._order
        seen = used = 0
        for batch in track(self._batches, title):
            images, labels, indices = unpack(batch)
            positions = np.arange(seen, seen + len(images))
            seen += len(images)
            if not len(images):
                continue
            if indices is None:
                indices = torch.from_numpy(positions if order is None else order[positions])
            self._check(images, shape, indices)
            if label_mode(labels, count) != mode:
                raise DataError(
                    "The loader's labels are numbers in some batches and rows in others."
                )
            rows, classes = members(labels, count, mode, positive)
            if expected is not None and mode == "single":
                self._confirm(classes, expected[positions], indices)
            if not rows:
                continue
            used += len(rows)
            yield LabelledImages(images, rows, classes, indices[rows])
        if not used:
            raise DataError("The loader gives no image of any class: check its labels.")

    def image(self, index: int) -> tuple[Tensor, str] | None:
        """Return an image (C, H, W) and its name; None where it cannot be read again."""
        if self.data is not None:
            return self.data.view("train").at([index])[0]["image"], self.name(index)
        if self._loader is None:
            return None
        item = unpack(self._loader.collate_fn([self.dataset[index]]))
        return item.images[0], self.name(index)

    @property
    def rereads(self) -> bool:
        """Whether `image` can read images again."""
        return self.data is not None or self._loader is not None

    @property
    def indices(self) -> NDArray[np.int64]:
        """(n,) the images that it gives, where they are known before they are read."""
        if self.data is not None:
            return self.data.view("train").indices
        return np.zeros(0, np.int64) if self._positions is None else self._positions

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return images (m, C, H, W) of which `image` can read each."""
        found = [self.image(index) for index in indices]
        return torch.stack([item[0] for item in found if item is not None])

    def name(self, index: int) -> str:
        """Return what identifies a training image to a person."""
        if self.data is not None:
            return self.data.train_source.name(index)
        listed = None if self._loader is None else name_of(self.dataset, index)
        return listed or f"training image {index}"

    def shape(self) -> tuple[int, int, int]:
        """Return channels, height and width of the images.

        Raises:
            DataError: If there is no image.
        """
        channels, height, width = self._first.images.shape[1:]
        return channels, height, width

    def sample(self) -> list[int]:
        """Return a few indices of images that `image` can read: first, middle and last."""
        if self._positions is None or not len(self._positions):
            return []
        last = len(self._positions) - 1
        return [int(self._positions[at]) for at in sorted({0, last // 2, last})]

    @cached_property
    def first(self) -> Tensor:
        """The images (B, C, H, W) of the first batch."""
        return self._first.images

    @cached_property
    def _first(self) -> LoaderBatch:
        """The first batch that has an image."""
        batches = iter(self._batches)
        taken = []
        for batch in batches:
            taken.append(batch)
            found = unpack(batch)
            if len(found.images):
                break
        else:
            raise DataError("The loader gives no image.")
        if batches is self._batches:  # it can be run through only once
            self._batches = chain(taken, batches)
        return found

    @cached_property
    def _label_of(self) -> dict[Any, int] | None:
        """The label of each value that the data set lists; see `confirmed_targets`."""
        if self._loader is None or self._positions is None or self._first.labels.ndim > 1:
            return None
        return confirmed_targets(self._loader, self._positions, self._batch_size)

    @cached_property
    def _label_of_wrapped(self) -> dict[Any, int] | None:
        """The same of what a user's wrapper wraps; {} where nobody knows which images it takes."""
        if self._loader is None or self._positions is None or self._first.labels.ndim > 1:
            return None
        found = confirmed_targets(self._loader, self._positions, self._batch_size, guess=True)
        unknown = found is None and class_names(self.dataset, own=True) is None
        return {} if unknown else found

    @cached_property
    def _known_labels(self) -> NDArray[np.int64] | None:
        """(n,) the label of each chosen image, where the data set lists it; None if unknown."""
        if not self._label_of or self._positions is None:
            return None
        listed: Any = listed_targets(self.dataset)
        return np.array([self._label_of[key] for key in listed[self._positions].tolist()])

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Which image comes when, and its label, as far as they are known."""
        if self._known_labels is None or self._positions is None or self._loader is None:
            return self._positions, None
        order = np.argsort(self._known_labels, kind="stable")
        positions = self._positions[order]
        self._batches = reread(self._loader, positions.tolist(), self._batch_size)
        return positions, self._known_labels[order]

    @cached_property
    def _positive(self) -> int:
        """The label of a one-logit classifier's class: 1, or 0 where every image has that."""
        if self._known_labels is not None:
            return int(self._known_labels.max(initial=0) > 0)
        taken = []
        batches = iter(self._batches)
        once = batches is self._batches
        found = 0
        for batch in batches:
            if once:
                taken.append(batch)
            if bool((unpack(batch).labels > 0).any()):
                found = 1
                break
        if once:
            self._batches = chain(taken, batches)
        return found

    def _check(self, images: Tensor, shape: torch.Size, indices: Tensor) -> None:
        if images.shape[1:] != shape:
            raise DataError(
                f"The loader gives images of {tuple(shape)} and of {tuple(images.shape[1:])}: "
                "resize all of them to one size."
            )
        finite = images.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            name = self.name(int(indices[int((~finite).nonzero()[0])]))
            raise DataError(f"The pixels of {name} contain NaN or infinity: mend or leave it out.")

    def _confirm(self, labels: list[int], expected: NDArray[np.int64], indices: Tensor) -> None:
        wrong = np.flatnonzero(np.asarray(labels) != expected)
        if len(wrong):
            at = int(wrong[0])
            raise DataError(
                f"The label of {self.name(int(indices[at]))} is {labels[at]}, but others with its "
                f"value in the data set's targets have {expected[at]}: correct the targets, or "
                "delete them."
            )
