"""What a loader gives as one batch: images, and the classes of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ppn.errors import DataError

LabelMode = Literal["single", "binary", "multilabel"]
"""One class per image; one logit, for or against; or any number of classes per image."""

IMAGES = ("image", "images", "pixel_values", "img")
LABELS = ("label", "labels", "target", "targets")


class LoaderBatch(NamedTuple):
    """`images` (B, C, H, W); `labels` (B,) or (B, C), as given; `indices` (B,), or None."""

    images: Tensor
    labels: Tensor
    indices: Tensor | None


def unpack(batch: Any) -> LoaderBatch:  # noqa: ANN401 - whatever a user's loader gives
    """Return images and labels of a batch: a pair, or a dict under the usual names.

    Raises:
        DataError: If it is neither, or images or labels are not what a classifier is trained with.
    """
    index = None
    if isinstance(batch, Mapping):
        images, labels = (_named(batch, names) for names in (IMAGES, LABELS))
        index = batch.get("index")
    elif isinstance(batch, Sequence) and not isinstance(batch, str) and len(batch) >= 2:
        images, labels = batch[0], batch[1]
    else:
        raise DataError(
            f"The loader gives a {type(batch).__name__}, but must give (images, labels) or a dict "
            "with 'image' and 'label'."
        )
    images = _images(images)
    labels = _labels(labels)
    if labels.ndim == 0 or len(labels) != len(images):
        raise DataError(
            f"The loader's labels are {tuple(labels.shape)} for {len(images)} images: give one "
            "whole number per image, or one row of zeros and ones."
        )
    if index is not None:
        index = torch.as_tensor(index)
    return LoaderBatch(images, labels, index)


def label_mode(labels: Tensor, count: int) -> LabelMode:
    """Return how labels say to which classes an image belongs.

    Args:
        labels: (B,) or (B, 1) whole numbers; or (B, C) zeros and ones.
        count: Number of the classifier's logits.

    Raises:
        DataError: If they are none of these.
    """
    column = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    flags = bool(((labels == 0) | (labels == 1)).all())
    if count == 1 and column:
        if not flags:
            wrong = labels[(labels != 0) & (labels != 1)].flatten()[0].item()
            raise DataError(
                f"The loader gives label {wrong:g}, but the classifier has one logit: labels must "
                "be 0 or 1."
            )
        return "binary"
    if column and not labels.is_floating_point():
        return "single"
    if column:
        kind = str(labels.dtype).removeprefix("torch.")
        raise DataError(f"The loader's labels are {kind}: give one whole number per image.")
    if labels.ndim != 2 or labels.shape[1] != count:
        raise DataError(
            f"The loader's labels are {tuple(labels.shape)}, but the classifier has {count} "
            "classes: give one whole number per image, or one zero or one per class."
        )
    if not flags:
        raise DataError(
            "The loader's labels are rows of other numbers than zeros and ones: give the classes "
            "themselves, without mixing or smoothing."
        )
    return "multilabel"


def members(
    labels: Tensor, count: int, mode: LabelMode, positive: int
) -> tuple[list[int], list[int]]:
    """Return which images of a batch belong to a class, and the class of each of these (M,).

    Args:
        labels: (B,) or (B, C), as given.
        count: Number of the classifier's logits.
        mode: How labels are to be read.
        positive: The value that means that an image belongs to a class, but for "single".

    Raises:
        DataError: If there is no such class.
    """
    if mode != "single":
        flags = labels.reshape(len(labels), -1) == positive
        rows, classes = flags.nonzero(as_tuple=True)
        return rows.tolist(), classes.tolist()
    numbers: list[int] = labels.flatten().long().tolist()
    wrong = next((label for label in numbers if not 0 <= label < count), None)
    if wrong is not None:
        raise DataError(
            f"The loader gives label {wrong}, but the classifier has {count} classes: labels must "
            f"be 0 to {count - 1}."
        )
    return list(range(len(numbers))), numbers


def _named(batch: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401 - a user's
    found = next((name for name in names if name in batch), None)
    if found is None:
        raise DataError(
            f"The loader gives a {type(batch).__name__} with {', '.join(map(repr, batch))}, but "
            "must give (images, labels) or a dict with 'image' and 'label'."
        )
    return batch[found]


def _images(images: Any) -> Tensor:  # noqa: ANN401 - a user's
    if isinstance(images, list | tuple) and all(isinstance(image, Tensor) for image in images):
        same = len({image.shape for image in images}) == 1
        images = torch.stack(list(images)) if same else images
    if isinstance(images, np.ndarray) and images.dtype != object:
        images = torch.from_numpy(images)
    if not isinstance(images, Tensor) or images.ndim != 4:
        shape = f" of shape {tuple(images.shape)}" if isinstance(images, Tensor) else ""
        raise DataError(
            f"The loader gives a {type(images).__name__}{shape} as images: collate them to one "
            "tensor (B, 3, H, W)."
        )
    if not images.is_floating_point():
        kind = str(images.dtype).removeprefix("torch.")
        raise DataError(
            f"The loader's images are {kind}: preprocess them as the classifier expects them."
        )
    if images.shape[1] > 4 and images.shape[3] in (1, 3):
        raise DataError(
            f"The loader's images are {tuple(images.shape)}, channels last: permute them to "
            "(B, 3, H, W)."
        )
    return images


def _labels(labels: Any) -> Tensor:  # noqa: ANN401 - a user's
    try:
        return torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        one = labels[0] if isinstance(labels, Sequence) and len(labels) else labels
        raise DataError(
            f"The loader gives labels such as {one!r:.40}: give the number of the class instead."
        ) from None
