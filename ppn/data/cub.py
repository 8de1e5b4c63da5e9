"""CUB-200-2011 (Wah et al., 2011): 200 bird species, 15 part locations, boxes, attributes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ppn.data.download import Archive
from ppn.data.images import read_labels
from ppn.data.lists import ListedBirds, read_rows
from ppn.data.published import Card, PublishedDataModule

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOURCE = "https://data.caltech.edu/records/"
CARD = Card(
    name="cub",
    title="CUB-200-2011",
    folder="CUB_200_2011",
    layout=(
        "bounding_boxes.txt",
        "classes.txt",
        "images.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
        "parts/parts.txt",
        "parts/part_locs.txt",
        "images",
    ),
    classes=200,
    train=5994,
    test=5794,
    annotations="15 keypoints, boxes, segmentations (separate archive), 312 attributes",
    licence="non-commercial research; images belong to their photographers",
    page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    citation="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, 2011",
    archives=(
        Archive(_SOURCE + "65de6-vp158/files/CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78"),
        Archive(
            _SOURCE + "w9d68-gec53/files/segmentations.tgz",
            "4d47ba1228eae64f2fa547c47bc65255",
            into="CUB_200_2011",
        ),
    ),
)


class CUB(ListedBirds):
    """One official split of CUB-200-2011, or of a subset of its classes.

    Masks are the separate archive's segmentations, where they lie in `segmentations/` in the data
    set's folder or beside it: pixels that at least half of the annotators marked.

    Args:
        root: Folder that holds `images/`, `parts/` and the lists (`CUB_200_2011`).
        split: Official split.

    Raises:
        DataError: If a list is missing, or a line of it does not fit the others.
    """

    def __init__(self, root: str | Path, split: Literal["train", "test"]) -> None:
        super().__init__(Path(root), split)
        self.class_names = [name.split(".", 1)[-1].replace("_", " ") for name in self.class_names]
        places = (self.root / "segmentations", self.root.parent / "segmentations")
        self._segmentations = next((place for place in places if place.is_dir()), None)
        if self._segmentations is not None:
            self.mask_names = ("bird",)

    def mask(self, index: int) -> NDArray[np.uint8] | None:
        """Return the segmentation of image `index`, 1 on the bird; None where there is none."""
        if self._segmentations is None:
            return None
        path = (self._segmentations / self.name(index)).with_suffix(".png")
        if not path.exists():
            return None
        marked = read_labels(path)
        if marked.ndim == 3:  # a few files carry channels that are all the same
            marked = marked[..., 0]
        return (marked >= 128).astype(np.uint8)

    def class_attributes(self) -> tuple[list[str], NDArray[np.float64]]:
        """Return how often annotators saw each attribute on a class.

        Returns:
            Names of the attributes ("has_bill_shape::curved"; numbers where the list of names is
            absent), and (C, 312) percentages, 0 to 100.

        Raises:
            DataError: If the data set has no attributes.
        """
        path = self.root / "attributes/class_attribute_labels_continuous.txt"
        lines = read_rows(path, 312, numbers=312)
        table = np.array([[float(value) for value in row] for _, row in lines])
        places = (self.root / "attributes/attributes.txt", self.root.parent / "attributes.txt")
        names = next((place for place in places if place.exists()), None)
        if names is None:
            return [str(number + 1) for number in range(table.shape[1])], table
        return [row[1] for _, row in read_rows(names, 2)], table


class CUBDataModule(PublishedDataModule):
    """CUB-200-2011 with its official split; validation images are carved from training.

    Args:
        root: The folder `CUB_200_2011`, or the folder that holds it.
        download: Get it from its official source first if it is not there.
        options: See `FineGrainedDataModule`.
    """

    card = CARD
    reader = CUB
