"""Stanford Dogs (Khosla et al., 2011): 120 breeds, boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ppn.data.boxes import read_xml_box
from ppn.data.download import Archive
from ppn.data.inside import expect_inside
from ppn.data.listed import ImageList
from ppn.data.matfile import read_mat
from ppn.data.published import Card, PublishedDataModule
from ppn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_SOURCE = "http://vision.stanford.edu/aditya86/ImageNetDogs/"
CARD = Card(
    name="dogs",
    title="Stanford Dogs",
    folder="stanford_dogs",
    layout=("train_list.mat", "test_list.mat", "Annotation", "Images"),
    classes=120,
    train=12000,
    test=8580,
    annotations="boxes",
    licence="non-commercial research, as ImageNet",
    page="http://vision.stanford.edu/aditya86/ImageNetDogs/",
    citation="Khosla et al., Novel Dataset for Fine-Grained Image Categorization, FGVC workshop, "
    "CVPR 2011",
    archives=(
        Archive(_SOURCE + "images.tar", "1bb1f2a596ae7057f99d7d75860002ef", "stanford_dogs"),
        Archive(_SOURCE + "annotation.tar", "4298cc0031f6bc6e74612ac83b5988e2", "stanford_dogs"),
        Archive(_SOURCE + "lists.tar", "edbb9f16854ec66506b5f09b583e0656", "stanford_dogs"),
    ),
)


class Dogs(ImageList):
    """One official split of Stanford Dogs.

    Where an image shows several dogs, its box is the one around all of them.

    Args:
        root: Folder that holds `Images/`, `Annotation/` and the lists.
        split: Official split.

    Raises:
        DataError: If a list is missing or does not fit.
    """

    def __init__(self, root: Path, split: Literal["train", "test"]) -> None:
        lists = root / f"{split}_list.mat"
        files, self._annotations, labels = read_mat(lists, "file_list", "annotation_list", "labels")
        if not len(files) == len(self._annotations) == len(labels):
            raise DataError(
                f"{lists} lists {len(files)} images, {len(self._annotations)} annotations and "
                f"{len(labels)} labels: get the official file."
            )
        expect_inside(map(str, self._annotations), lists)
        labels = labels.astype(int) - 1
        breeds = [f"class {number}" for number in range(1, labels.max(initial=-1) + 2)]
        for file, label in zip(files, labels, strict=True):
            if label >= 0:
                folder = str(file).split("/")[0]  # n02085620-Chihuahua
                breeds[label] = folder.split("-", 1)[-1].replace("_", " ")
        super().__init__(root, [f"Images/{file}" for file in files], labels, breeds)

    def box(self, index: int) -> NDArray[np.float64] | None:
        """Return the box (4,) of image `index`."""
        return read_xml_box(self.root / "Annotation" / str(self._annotations[index]))


class DogsDataModule(PublishedDataModule):
    """Stanford Dogs with its official split; validation images are carved from training.

    Args:
        root: The folder `stanford_dogs`, or the folder that holds it.
        download: Get it from its official source first if it is not there.
        options: See `FineGrainedDataModule`.
    """

    card = CARD
    reader = Dogs
