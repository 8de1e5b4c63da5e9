"""Images shown again without some of their parts, or without an object of their background."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ppn.data.dataset import AnnotatedDataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor
    from typing_extensions import Self

    from ppn.data.dataset import Annotated, ImageView
    from ppn.data.transforms import Transform


class Intervened(AnnotatedDataset):
    """A data set that knows what an image would be without a part or an object behind it.

    Attributes:
        kinds: What can be taken away, and the names in `mask_names` that it covers.
        traits: Of each label which of its forms every kind has; classes differ in these alone.
    """

    kinds: dict[str, list[str]]
    traits: dict[int, tuple[object, ...]]

    @property
    def interventions_exist(self) -> bool:
        """Whether the changed images can be had."""
        return True

    @abstractmethod
    def without_parts(self, index: int, parts: Sequence[str]) -> Image.Image:
        """Return image `index` without some kinds of parts.

        Raises:
            DataError: If there is no such kind, or no such image.
        """

    @abstractmethod
    def without_background_object(self, index: int, number: int) -> Image.Image:
        """Return image `index` without one of the objects around the bird, from 0 on.

        Raises:
            DataError: If there is no such image.
        """

    @abstractmethod
    def background_objects(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        """Return how many objects there are, and where (H, W) each shows: its number + 1, or 0."""

    def numbered(self, labels: Sequence[int], class_names: list[str]) -> Self:
        """Return the same images with other numbers for their classes."""
        changed = super().numbered(labels, class_names)
        changed.traits = {labels[own]: traits for own, traits in self.traits.items()}
        return changed


class Interventions:
    """The images of a view without parts or objects, as the classifier takes them.

    Args:
        source: The annotated images; an `index` counts in them, as that of a `Batch` does.
        transform: Turns them into what the classifier takes.
    """

    def __init__(self, source: Intervened, transform: Transform) -> None:
        self.source = source
        self.transform = transform
        self.kinds = list(source.kinds)
        self.traits = source.traits
        self._read: tuple[int, Annotated] | None = None
        names = list(source.mask_names)
        self._values = [
            torch.tensor([1 + names.index(name) for name in covered], dtype=torch.uint8)
            for covered in source.kinds.values()
        ]

    @classmethod
    def of(cls, view: ImageView, *given: Any) -> Self | None:
        """Return those of a view; None where its data set has none.

        Args:
            view: The images.
            given: What the constructor takes beside images and transform.
        """
        source = view.source
        if isinstance(source, Intervened) and source.interventions_exist:
            return cls(source, view.transform, *given)
        return None

    def regions(self, index: int) -> Tensor:
        """Return where every kind of part shows, then every object: (K + n, H, W) bool."""
        sample, parts = self._whole(index), self.source.mask(index)
        count, objects = self.source.background_objects(index)
        assert parts is not None
        both = self.transform(replace(sample, mask=np.stack([parts, objects]))).mask
        assert both is not None
        kinds = [torch.isin(both[0], values) for values in self._values]
        return torch.stack([*kinds, *(both[1] == number + 1 for number in range(count))])

    def without_parts(self, index: int, parts: Sequence[str]) -> Tensor:
        """Return image `index` without some kinds of parts (3, H, W)."""
        return self._seen(index, self.source.without_parts(index, parts))

    def without_object(self, index: int, number: int) -> Tensor:
        """Return image `index` without one object of its background (3, H, W)."""
        return self._seen(index, self.source.without_background_object(index, number))

    def _seen(self, index: int, image: Image.Image) -> Tensor:
        whole = self._whole(index)  # a crop to the box is that of the whole bird
        return self.transform(replace(whole, image=image, mask=None)).image

    def _whole(self, index: int) -> Annotated:
        """Return image `index`, read once for all that is taken from it one after the other."""
        if self._read is None or self._read[0] != index:
            self._read = index, self.source.read(index)
        return self._read[1]

    def answers(self, index: int) -> dict[int, Tensor]:
        """Return what is known of image `index`: logits (C,) by what is gone, as bits."""
        del index
        return {}

    def learn(self, index: int, said: dict[int, Tensor]) -> None:
        """Take over what a classifier says of image `index`; see `answers`. Here it is not kept."""
