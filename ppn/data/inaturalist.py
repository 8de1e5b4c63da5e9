"""iNaturalist 2021 (Van Horn et al., 2021): 10,000 species, whole or mini, any part of the tree."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from ppn.data.download import Archive
from ppn.data.listed import ImageList
from ppn.data.published import Card, PublishedDataModule
from ppn.data.torchvision_sets import read_class_folders, relative

if TYPE_CHECKING:
    from pathlib import Path

Version = Literal["mini", "full"]
_SOURCE = "https://ml-inat-competition-datasets.s3.amazonaws.com/2021/"
_TRAIN = {"mini": "2021_train_mini", "full": "2021_train"}
_VALIDATION = "2021_valid"
_ARCHIVES = {
    "mini": Archive(
        _SOURCE + "train_mini.tar.gz",
        "db6ed8330e634445efc8fec83ae81442",
        "inaturalist",
        ("train_mini", _TRAIN["mini"]),
    ),
    "full": Archive(
        _SOURCE + "train.tar.gz",
        "e0526d53c7f7b2e3167b2b43bb2690ed",
        "inaturalist",
        ("train", _TRAIN["full"]),
    ),
}
_TEST_ARCHIVE = Archive(
    _SOURCE + "val.tar.gz",
    "f6f6e0e242e3d4c9569ba56400938afc",
    "inaturalist",
    ("val", _VALIDATION),
)
# The data set's "supercategories", by the taxon that defines them.
SUPERCATEGORIES = {
    "Amphibians": "Amphibia",
    "Arachnids": "Arachnida",
    "Birds": "Aves",
    "Fungi": "Fungi",
    "Insects": "Insecta",
    "Mammals": "Mammalia",
    "Mollusks": "Mollusca",
    "Plants": "Plantae",
    "Ray-finned Fishes": "Actinopterygii",
    "Reptiles": "Reptilia",
}
CARD = Card(
    name="inaturalist",
    title="iNaturalist 2021 (mini)",
    folder="inaturalist",
    layout=(_TRAIN["mini"], _VALIDATION),
    classes=10000,
    train=500000,
    test=100000,
    annotations="taxonomy",
    licence="non-commercial research; images belong to their photographers",
    page="https://github.com/visipedia/inat_comp/tree/master/2021",
    citation="Van Horn et al., Benchmarking Representation Learning for Natural World Image "
    "Collections, CVPR 2021",
    archives=(_ARCHIVES["mini"], _TEST_ARCHIVE),
)


class INaturalistDataModule(PublishedDataModule):
    """iNaturalist 2021; its official validation images serve as test images.

    The labels of the official test images are not public. Validation images of ours are carved
    from training.

    Args:
        root: The folder with `2021_train_mini` or `2021_train`, and `2021_valid` (torchvision's
            names), or the folder that holds it as `inaturalist`.
        version: "mini" has 50 training images per species, "full" 2.7 million.
        taxon: Only species of a supercategory ("Birds") or of a taxon of any rank ("Aves",
            "Passeriformes"); None for all.
        download: Get it from its official source first if it is not there: 50 GB, or 230 GB.
        options: See `FineGrainedDataModule`.
    """

    card = CARD

    def __init__(
        self,
        root: str,
        version: Version = "mini",
        taxon: str | None = None,
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(root=root, download=download, **options)
        self.version: Version = version
        self.taxon = taxon
        if version == "full":
            self.card = replace(
                CARD,
                title="iNaturalist 2021",
                layout=(_TRAIN["full"], _VALIDATION),
                train=2686843,
                archives=(_ARCHIVES["full"], _TEST_ARCHIVE),
            )

    def read_folder(self, folder: Path, split: Literal["train", "test"]) -> ImageList:
        """Return the training images, or the official validation images as test images."""
        place = folder / (_TRAIN[self.version] if split == "train" else _VALIDATION)
        wanted = None
        if self.taxon is not None:
            name = SUPERCATEGORIES.get(self.taxon, self.taxon).lower()

            def wanted(category: str) -> bool:
                return name in category.lower().split("_")

        source = read_class_folders(place, folder / _TRAIN[self.version], wanted)
        names = [" ".join(category.split("_")[-2:]) for category in source.classes]
        paths = relative((path for path, _ in source.samples), folder)
        return ImageList(folder, paths, source.targets, names)
