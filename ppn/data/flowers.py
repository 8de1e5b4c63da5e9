"""Oxford Flowers-102 (Nilsback and Zisserman, 2008): 102 flowers, segmentations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from torchvision.datasets import Flowers102

from ppn.data.download import Archive
from ppn.data.images import read_labels
from ppn.data.listed import ImageList
from ppn.data.matfile import read_mat
from ppn.data.published import Card, PublishedDataModule
from ppn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
CARD = Card(
    name="flowers",
    title="Oxford Flowers-102",
    folder="flowers-102",
    layout=("imagelabels.mat", "setid.mat", "jpg"),
    classes=102,
    train=2040,
    test=6149,
    annotations="segmentations (separate archive)",
    licence="not stated; images collected from the web",
    page="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
    citation="Nilsback and Zisserman, Automated Flower Classification over a Large Number of "
    "Classes, ICVGIP 2008",
    archives=(
        Archive(_SOURCE + "102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", "flowers-102"),
        Archive(_SOURCE + "imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", "flowers-102"),
        Archive(_SOURCE + "setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", "flowers-102"),
        Archive(
            _SOURCE + "102segmentations.tgz", "51375996b6c4f367a4b9f4492d7ecef5", "flowers-102"
        ),
    ),
)


class Flowers(ImageList):
    """One official split of Flowers-102; training joins the official `trnid` and `valid` lists.

    torchvision's class reads the published files only, by checksum; this one also reads subsets.
    Masks come from the pictures in `segmim/`, in which the background is blue.

    Args:
        root: The folder `flowers-102`.
        split: Official split.

    Raises:
        DataError: If a list is missing or does not fit the others.
    """

    def __init__(self, root: Path, split: Literal["train", "test"]) -> None:
        (labels,) = read_mat(root / "imagelabels.mat", "labels")
        names = ("trnid", "valid") if split == "train" else ("tstid",)
        ids = np.sort(np.concatenate(read_mat(root / "setid.mat", *names))).astype(int)
        if len(ids) and (ids[-1] > len(labels) or ids[0] < 1):
            raise DataError(
                f"{root / 'setid.mat'} lists images {ids[0]} to {ids[-1]}, but imagelabels.mat "
                f"labels 1 to {len(labels)}: get the complete data set."
            )
        paths = [f"jpg/image_{image:05d}.jpg" for image in ids]
        # A subset knows only the classes that its own list of labels reaches.
        names_of = list(Flowers102.classes)[: labels.max(initial=0)]
        super().__init__(root, paths, labels.astype(int)[ids - 1] - 1, names_of)
        if (root / "segmim").is_dir():
            self.mask_names = ("flower",)

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Return the segmentation of image `index`, 1 on the flower; None where there is none."""
        path = self.root / self.name(index).replace("jpg/image_", "segmim/segmim_")
        if not path.exists():
            return None
        red, green, blue = np.moveaxis(read_labels(path).astype(int), -1, 0)
        flower: NDArray[np.bool_] = (red > 40) | (green > 40) | (blue < 200)  # JPEG blurs the blue
        return flower.astype(np.uint8)


class FlowersDataModule(PublishedDataModule):
    """Flowers-102 with its official test split; validation images are carved from training.

    Args:
        root: The folder `flowers-102`, or the folder that holds it.
        download: Get it from its official source first if it is not there.
        options: See `FineGrainedDataModule`.
    """

    card = CARD
    reader = Flowers
