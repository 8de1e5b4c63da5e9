"""Checks a whole data set: decodes every image, and compares every annotation with its image."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ppn.data.repeats import DIGEST_BYTES, digest, find_repeats
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from PIL import Image

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.data.dataset import Annotated, AnnotatedDataset

_UNKNOWN = 255


@dataclass
class Oddities:
    """Annotations of one kind that do not fit their image: how many, and the first of them."""

    count: int = 0
    first: str = ""

    def add(self, example: str) -> None:
        """Count one, and keep it if it is the first."""
        self.first = self.first or example
        self.count += 1


@dataclass
class SplitResult:
    """What was found in one split.

    Attributes:
        images: Number of images listed.
        per_class: Images of the smallest, the median and the largest class.
        empty: Names of classes without an image.
        boxes: Images with a box.
        keypoints: Images with at least one visible keypoint.
        masks: Images with a mask.
        outside_boxes: Boxes that reach outside of their image or have no area.
        outside_keypoints: Visible keypoints outside of their image.
    """

    images: int
    per_class: tuple[int, float, int]
    empty: list[str]
    boxes: int = 0
    keypoints: int = 0
    masks: int = 0
    outside_boxes: Oddities = field(default_factory=Oddities)
    outside_keypoints: Oddities = field(default_factory=Oddities)


@dataclass
class CheckResult:
    """What was found in a data set.

    Attributes:
        splits: What was found in each split.
        note: How the counts compare with the published ones; empty for unpublished data.
        errors: How many sentences about errors were told.
        repeated: Images that repeat another one of their class and split; None if not looked for.
    """

    splits: dict[str, SplitResult] = field(default_factory=dict)
    note: str = ""
    errors: int = 0
    repeated: int | None = None


class _Examined(NamedTuple):
    """What one image and its annotations turned out to be; small, whatever the image's size."""

    problems: tuple[str, ...] = ()
    box: bool = False
    keypoints: bool = False
    mask: bool = False
    outside_box: str = ""
    outside_keypoints: tuple[str, ...] = ()
    digest: bytes | None = None


def check(
    data: FineGrainedDataModule,
    tell: Callable[[str], None],
    leaks: bool = False,
    workers: int = 4,
    advance: Callable[[], None] = lambda: None,
) -> CheckResult:
    """Read everything of a data set and say what is wrong with it.

    Memory does not grow with the data set, apart from 16 bytes per image when looking for leaks.

    Args:
        data: The data set.
        tell: Called with one sentence for each error, in the order of the images.
        leaks: Whether to look for images that are there more than once, by their decoded pixels.
        workers: Number of threads that read and decode, at least 1.
        advance: Called after each image.

    Raises:
        DataError: If the lists of the data set cannot be read.
    """
    result = CheckResult()

    def error(sentence: str) -> None:
        result.errors += 1
        tell(sentence)

    sources: dict[str, AnnotatedDataset] = {
        "train": data.train_source,
        "test": data.test_source,
    }
    card = getattr(data, "card", None)
    if card is not None:
        _, result.note = card.compare(sources["train"], sources["test"])
    digests: dict[str, NDArray[np.uint8]] = {}
    for split, source in sources.items():
        found = _count(source)
        result.splits[split] = found
        wrong = np.flatnonzero((source.labels < 0) | (source.labels >= len(source.class_names)))
        for position in map(int, wrong):
            error(
                f"In {split}, {source.name(position)} has label {source.labels[position]}, but "
                f"there are {len(source.class_names)} classes: correct the list of labels."
            )
        if split == "train" and not len(source):
            error("The train split has no images: complete the data set.")
        digests[split] = np.zeros((len(source) if leaks else 0, DIGEST_BYTES), np.uint8)
        for index, seen in enumerate(_stream(source, leaks, workers)):
            for problem in seen.problems:
                error(problem)
            if seen.digest is not None:
                digests[split][index] = np.frombuffer(seen.digest, np.uint8)
            _add(found, seen, source.name(index))
            advance()
    if leaks:
        result.repeated = find_repeats(sources, digests, error)
    return result


def _count(source: AnnotatedDataset) -> SplitResult:
    classes = len(source.class_names)
    fitting = source.labels[(source.labels >= 0) & (source.labels < classes)]
    counts = np.bincount(fitting, minlength=max(1, classes))
    per_class = (int(counts.min()), float(np.median(counts)), int(counts.max()))
    empty = [name for name, count in zip(source.class_names, counts, strict=False) if not count]
    return SplitResult(len(source), per_class, empty)


def _stream(source: AnnotatedDataset, hashing: bool, workers: int) -> Iterator[_Examined]:
    """Examine all images in threads, in order, with a bounded number of them under way."""
    pending: deque[Future[_Examined]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for index in range(len(source)):
                pending.append(pool.submit(_examine, source, index, hashing))
                if len(pending) >= 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _examine(source: AnnotatedDataset, index: int, hashing: bool) -> _Examined:
    problems: list[str] = []
    sample: Annotated | None = None
    mask: NDArray[np.uint8] | None = None
    try:
        sample = source.read(index)
        sample.image.load()
        mask = sample.mask
    except Exception as error:  # whatever a file's content leads to is that file's error
        problems.append(_sentence(source, index, error))
    if mask is None and source.mask_names:
        try:
            mask = source.mask(index)
        except Exception as error:
            problems.append(_sentence(source, index, error))
    if sample is None:
        return _Examined(tuple(dict.fromkeys(problems)))
    width, height = sample.image.size
    where = f"in an image of {width} x {height} pixels"
    if mask is not None:
        problems += _mask_problems(mask, sample.image, source, index)
    outside_box = ""
    if sample.box is not None:
        x0, y0, x1, y1 = (float(value) for value in sample.box)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            outside_box = f"({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) {where}"
    visible = 0
    outside: list[str] = []
    points = np.zeros((0, 3)) if sample.keypoints is None else sample.keypoints
    if sample.keypoints is not None and points.shape != (len(source.part_names), 3):
        problems.append(
            f"{source.name(index)} has keypoints of shape {points.shape}, but "
            f"{len(source.part_names)} parts have names: correct the annotations."
        )
        points = np.zeros((0, 3))
    for part, (x, y, seen) in zip(source.part_names, points, strict=False):
        visible += bool(seen)
        if seen and not (0 <= x <= width and 0 <= y <= height):
            outside.append(f"{part} at ({x:g}, {y:g}) {where}")
    return _Examined(
        tuple(problems),
        sample.box is not None,
        visible > 0,
        mask is not None,
        outside_box,
        tuple(outside),
        digest(sample.image) if hashing else None,
    )


def _sentence(source: AnnotatedDataset, index: int, error: Exception) -> str:
    if isinstance(error, PPNError):
        return str(error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{source.name(index)} cannot be read ({reason}): replace the file."


def _mask_problems(
    mask: NDArray[np.uint8], image: Image.Image, source: AnnotatedDataset, index: int
) -> Iterator[str]:
    if mask.shape != image.size[::-1]:
        height, width = mask.shape[:2]
        yield (
            f"The mask of {source.name(index)} is {width} x {height} pixels, but its image is "
            f"{image.size[0]} x {image.size[1]}: replace one of them."
        )
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unnamed = [int(v) for v in values if len(source.mask_names) < v != _UNKNOWN]
    if unnamed:
        yield (
            f"The mask of {source.name(index)} holds the value {unnamed[0]}, but names end at "
            f"{len(source.mask_names)}: replace the mask."
        )


def _add(found: SplitResult, seen: _Examined, name: str) -> None:
    found.boxes += seen.box
    found.keypoints += seen.keypoints
    found.masks += seen.mask
    if seen.outside_box:
        found.outside_boxes.add(f"{name}: {seen.outside_box}")
    for part in seen.outside_keypoints:
        found.outside_keypoints.add(f"{name}: {part}")
