"""Oxford-IIIT Pet (Parkhi et al., 2012): 37 breeds of cats and dogs, trimaps, head boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from torchvision.datasets import OxfordIIITPet

from ppn.data.boxes import read_xml_box
from ppn.data.download import Archive
from ppn.data.images import read_labels
from ppn.data.listed import ImageList
from ppn.data.published import Card, PublishedDataModule
from ppn.data.torchvision_sets import check_list, read_with_torchvision, relative

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOURCE = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
_TRIMAP = np.full(256, 255, np.uint8)
_TRIMAP[1:4] = 1, 0, 255  # the pet, the background, the undecided seam
CARD = Card(
    name="pets",
    title="Oxford-IIIT Pet",
    folder="oxford-iiit-pet",
    layout=("annotations/trainval.txt", "annotations/test.txt", "images"),
    classes=37,
    train=3680,
    test=3669,
    annotations="trimaps, head boxes (training images)",
    licence="CC BY-SA 4.0",
    page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    citation="Parkhi et al., Cats and Dogs, CVPR 2012",
    archives=(
        Archive(_SOURCE + "images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", "oxford-iiit-pet"),
        Archive(
            _SOURCE + "annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", "oxford-iiit-pet"
        ),
    ),
)


class Pets(ImageList):
    """One official split of Oxford-IIIT Pet.

    Boxes are those of the animal's *head*; the authors published them for part of the images.
    Masks are the trimaps: 1 on the pet, 255 on the seam that is undecided.

    Args:
        root: The folder `oxford-iiit-pet`.
        split: Official split.

    Raises:
        DataError: If a list is missing or inconsistent.
    """

    mask_names = ("pet",)

    def __init__(self, root: Path, split: Literal["train", "test"]) -> None:
        official = "trainval" if split == "train" else "test"
        check_list(root / f"annotations/{official}.txt", 4, numbers=3)
        source = read_with_torchvision(OxfordIIITPet, root, CARD.folder, split=official)
        super().__init__(root, relative(source._images, root), source._labels, source.classes)

    def box(self, index: int) -> NDArray[np.float64] | None:
        """Return the head's box (4,) of image `index`, or None where there is none."""
        path = self.root / "annotations/xmls" / f"{Path(self.name(index)).stem}.xml"
        return read_xml_box(path) if path.exists() else None

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Return the trimap of image `index`; None where there is none."""
        path = self.root / "annotations/trimaps" / f"{Path(self.name(index)).stem}.png"
        return _TRIMAP[read_labels(path)] if path.exists() else None


class PetsDataModule(PublishedDataModule):
    """Oxford-IIIT Pet with its official split; validation images are carved from training.

    Args:
        root: The folder `oxford-iiit-pet`, or the folder that holds it.
        download: Get it from its official source first if it is not there.
        options: See `FineGrainedDataModule`.
    """

    card = CARD
    reader = Pets
