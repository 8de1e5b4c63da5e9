"""A sheet that shows images of many classes of a data set, with their annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ppn.data.contact_sheet import Picture, Sheet
from ppn.data.dataset import Annotated
from ppn.data.transforms import Transform, box_area, to_picture
from ppn.errors import DataError
from ppn.io.files import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.data.dataset import AnnotatedDataset
    from ppn.types import InputConfig

MOST_IMAGES = 120
"""More than this makes a sheet that nothing opens well."""


def choose(labels: NDArray[np.int64], count: int, seed: int) -> list[int]:
    """Draw images that spread over the classes as evenly as possible.

    Args:
        labels: (n,) the class of each image.
        count: How many are wanted.
        seed: Seed of the draw.

    Returns:
        At most `count` indices, ordered by class.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    turns: dict[int, int] = {}
    order = {int(label): i for i, label in enumerate(rng.permutation(np.unique(labels)))}
    keyed = []
    for index in shuffled:
        label = int(labels[index])
        turns[label] = turns.get(label, 0) + 1
        keyed.append((turns[label], order[label], int(index)))
    chosen = [index for _, _, index in sorted(keyed)[:count]]
    return sorted(chosen, key=lambda index: (labels[index], index))


def make_sheet(
    data: FineGrainedDataModule,
    title: str,
    split: Literal["train", "test"] = "train",
    images: int = 12,
    seed: int = 0,
    transformed: bool = False,
) -> Sheet:
    """Read and describe the images of a sheet.

    Args:
        data: The data set.
        title: What to call it.
        split: Which official split.
        images: How many images, 1 to 120.
        seed: Seed of the choice and of augmentation.
        transformed: Whether to show what the network sees: in training for "train", augmentation
            included, in evaluation for "test". Otherwise the files' own pixels, cut to the
            object's box where the data set's `crop` is "box".

    Raises:
        DataError: If there is nothing to show, or a file cannot be read.
    """
    if not 1 <= images <= MOST_IMAGES:
        raise DataError(f"A sheet holds 1 to {MOST_IMAGES} images, not {images}: change --count.")
    source = data.train_source if split == "train" else data.test_source
    if not len(source):
        raise DataError(f"The {split} split has no images: choose the other one with --split.")
    chosen = choose(source.labels, images, seed)
    augmentation = data.augmentation if split == "train" else "none"
    transform = Transform(data.input_config, data.crop, augmentation)
    pictures = []
    for index in chosen:
        sample = _with_mask(source, index)
        if transformed:
            torch.manual_seed(seed + index)
            sample = seen_by_network(sample, transform, data.input_config)
            sample.box = None if data.crop == "box" else sample.box
        elif data.crop == "box" and sample.box is not None:
            sample = _cut(sample, sample.box)
        label = int(source.labels[index])
        pictures.append(Picture(sample, source.class_names[label], source.name(index)))
    height, width = data.input_config.size
    what = f"{'the object' if data.crop == 'box' else 'the whole image'}, pixels as stored"
    if transformed:
        what = f"as the network sees it, {width} x {height} pixels, crop: {data.crop}, "
        what += f"augmentation: {augmentation}"
    classes = len(np.unique(source.labels[chosen]))
    counts = f"{len(chosen)} of {len(source):,} images, {classes} of {len(source.class_names):,}"
    return Sheet(
        f"{title} · {split}",
        f"{counts} classes · {what}",
        pictures,
        source.part_names,
        source.mask_names,
    )


def seen_by_network(sample: Annotated, transform: Transform, config: InputConfig) -> Annotated:
    """Transform an image as for the network, and make it viewable again."""
    seen = transform(sample)
    return Annotated(
        to_picture(seen.image, config),
        None if sample.box is None else seen.box.double().numpy(),
        None if sample.keypoints is None else seen.keypoints.double().numpy(),
        None if seen.mask is None else seen.mask.numpy(),
    )


def write_png(image: Image.Image, path: Path) -> None:
    """Write an image; see `replacing`."""
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def _with_mask(source: AnnotatedDataset, index: int) -> Annotated:
    sample = source.read(index)
    if sample.mask is None and source.mask_names:
        sample.mask = source.mask(index)
    return sample


def _cut(sample: Annotated, box: NDArray[np.float64]) -> Annotated:
    """Cut out the box with whole pixels, as `Transform` does."""
    x0, y0, x1, y1 = box_area(box, sample.image.size)
    points = sample.keypoints
    return Annotated(
        sample.image.crop((x0, y0, x1, y1)),
        None,  # the box is the frame of the image
        None if points is None else points - [x0, y0, 0],
        None if sample.mask is None else sample.mask[y0:y1, x0:x1],
    )
