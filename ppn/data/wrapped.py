"""What a data set knows of its images, found through `Subset` and other wrappers."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from ppn.data.batches import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

# What torchvision's data sets, and those written after them, call these.
_INSIDE = ("dataset", "subset", "_dataset", "base_dataset", "reader")
_TARGETS = ("targets", "labels", "_labels", "y")
_SAMPLES = ("samples", "imgs", "_samples")
_FILES = ("_image_files", "_images", "image_paths", "paths", "files")
_DEPTH = 8


class DatasetTransform(NamedTuple):
    """What a data set does to an image.

    `steps` one after the other; `read` opens a file where that is not torchvision's own function.
    """

    steps: list[Callable[[Any], Any]]
    read: Callable[[str], Any] | None = None


def levels(
    dataset: object, index: int = 0, guess: bool = False
) -> Iterator[tuple[Any, int | None]]:
    """Yield a data set and what it wraps, outermost first, with the index of an image in each.

    The index is None from where it is a user's own wrapper that decides which image is meant;
    unless `guess`, for a wrapper with as many images as what it wraps.
    """
    inside: int | None = index
    for _ in range(_DEPTH):
        yield dataset, inside
        if isinstance(dataset, Subset):
            inside = None if inside is None else int(dataset.indices[inside])
            dataset = dataset.dataset
        elif isinstance(dataset, ConcatDataset):
            at = 0 if inside is None else bisect_right(dataset.cumulative_sizes, inside)
            if inside is not None and at:
                inside -= dataset.cumulative_sizes[at - 1]
            dataset = dataset.datasets[at]
        else:
            wrapped = _wrapped(dataset)
            if wrapped is None:
                return
            inside = inside if guess and _as_long(dataset, wrapped) else None
            dataset = wrapped


def listed_targets(dataset: Any, guess: bool = False) -> NDArray[Any] | None:  # noqa: ANN401
    """Return what a data set lists as the class of each image (n,), or None.

    A hint only: items may say otherwise, by a target transform or a `__getitem__` of one's own.
    `guess` also takes what a user's wrapper of as many images wraps.
    """
    if isinstance(dataset, Subset):
        inner = listed_targets(dataset.dataset, guess)
        return None if inner is None else inner[np.asarray(dataset.indices, dtype=np.int64)]
    if isinstance(dataset, ConcatDataset):
        parts = [listed_targets(part, guess) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        kinds = {part.dtype.kind for part in known}
        return np.concatenate(known) if len(known) == len(parts) and len(kinds) == 1 else None
    if isinstance(dataset, TensorDataset):
        listed: Any = dataset.tensors[1] if len(dataset.tensors) > 1 else None
    else:
        listed = _first(dataset, _TARGETS, lambda found: hasattr(found, "__len__"))
        if listed is None:
            samples = _first(dataset, _SAMPLES, _is_pairs)
            listed = None if samples is None else [pair[1] for pair in samples]
    try:
        array = np.asarray(listed)
        fits = array.ndim == 1 and len(array) == len(dataset) and array.dtype.kind in "iuUS"
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if fits:
        return array
    wrapped = _wrapped(dataset) if guess else None
    return listed_targets(wrapped, True) if _as_long(dataset, wrapped) else None


def file_of(dataset: Any, index: int, guess: bool = False) -> Path | None:  # noqa: ANN401 - a user's
    """Return the file of an image, where the data set lists it; `guess` as in `levels`."""
    for level, inside in levels(dataset, index, guess):
        if inside is None:
            return None
        samples = _first(level, _SAMPLES, _is_pairs)
        if samples is not None and inside < len(samples):
            found = samples[inside][0]
        else:
            listed = (getattr(level, name, None) for name in _FILES)
            files = next((one for one in listed if _lists_files(one, level)), None)
            found = None if files is None else files[inside]
        if isinstance(found, str | os.PathLike):
            path = Path(found)
            root = getattr(level, "root", None)
            if not path.exists() and isinstance(root, str | os.PathLike):
                path = Path(root) / path
            return path if path.is_file() else None
    return None


def name_of(dataset: Any, index: int) -> str | None:  # noqa: ANN401 - a user's
    """Return the path of an image's file, below the data set's root where it has one."""
    path = file_of(dataset, index)
    if path is None:
        return None
    for level, _ in levels(dataset, index):
        root = getattr(level, "root", None)
        if isinstance(root, str | os.PathLike) and path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return str(path)


def class_names(dataset: object, own: bool = False) -> list[str] | None:
    """Return the names that a data set gives to its own labels, or None.

    They are about what `listed_targets` lists, before any target transform. `own` leaves out what
    a user's wrapper of another number of images wraps.
    """
    for level, inside in levels(dataset, guess=own):
        if own and inside is None:
            return None
        if isinstance(level, ConcatDataset):
            parts = [class_names(part, own) for part in level.datasets]
            return parts[0] if all(part == parts[0] for part in parts) else None
        classes = getattr(level, "classes", None)
        if isinstance(classes, Sequence | np.ndarray) and not isinstance(classes, str):
            return [str(name) for name in classes]
        numbers = getattr(level, "class_to_idx", None)
        if isinstance(numbers, Mapping) and sorted(numbers.values()) == list(range(len(numbers))):
            return [str(name) for name in sorted(numbers, key=numbers.__getitem__)]
        features = getattr(level, "features", None)  # of Hugging Face's data sets
        if isinstance(features, Mapping):
            column = next((features[name] for name in LABELS if name in features), None)
            named = getattr(column, "names", None)
            if named:
                return [str(name) for name in named]
    return None


def transform_of(dataset: object, index: int = 0) -> DatasetTransform | None:
    """Return what a data set does to its images, the innermost step first; None if unknown."""
    steps: list[Callable[[Any], Any]] = []
    read = None
    for level, _ in levels(dataset, index):
        if type(level) in (Subset, ConcatDataset):
            continue  # these apply none, whatever a user has set on them
        transform = getattr(level, "transform", None)
        joint = getattr(level, "transforms", None)
        if callable(transform):
            steps.insert(0, transform)
        elif callable(joint) and getattr(level, "target_transform", None) is None:
            steps.insert(0, _Joint(joint))
        loader = getattr(level, "loader", None)
        if callable(loader) and not getattr(loader, "__module__", "").startswith("torchvision"):
            read = loader
    return DatasetTransform(steps, read) if steps else None


class _Joint:
    """A transform of image and label, as one of images; or one of images under that name."""

    def __init__(self, transforms: Callable[..., Any]) -> None:
        self.transforms = transforms

    def __call__(self, image: Any) -> Any:  # noqa: ANN401 - a user's
        try:
            return self.transforms(image, 0)[0]
        except TypeError:
            return self.transforms(image)


def _wrapped(dataset: object) -> Any:  # noqa: ANN401 - a user's
    """What a user's wrapper is around, or None."""
    named = _first(dataset, _INSIDE, lambda found: hasattr(found, "__getitem__"))
    held = [one for one in getattr(dataset, "__dict__", {}).values() if isinstance(one, Dataset)]
    return held[0] if named is None and len(held) == 1 else named


def _as_long(dataset: Any, wrapped: Any) -> bool:  # noqa: ANN401 - a user's
    try:
        return len(dataset) == len(wrapped)
    except TypeError:
        return False


def _first(owner: object, names: Sequence[str], fits: Callable[[Any], bool]) -> Any:  # noqa: ANN401
    found = (getattr(owner, name, None) for name in names)
    return next((value for value in found if value is not None and fits(value)), None)


def _is_pairs(samples: Any) -> bool:  # noqa: ANN401 - a user's
    one = samples[0] if isinstance(samples, Sequence) and len(samples) else None
    return isinstance(one, Sequence) and not isinstance(one, str) and len(one) == 2


def _lists_files(files: Any, dataset: Any) -> bool:  # noqa: ANN401 - a user's
    if not isinstance(files, Sequence | np.ndarray) or isinstance(files, str) or not len(files):
        return False
    return len(files) == len(dataset) and isinstance(files[0], str | os.PathLike)
