"""ImageNet-1k (Russakovsky et al., 2015): 1000 classes; the validation images serve as test."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from torchvision.datasets.imagenet import load_meta_file

from ppn.data.listed import ImageList
from ppn.data.lists import read_rows
from ppn.data.published import Card, PublishedDataModule
from ppn.data.torchvision_sets import read_class_folders, relative

if TYPE_CHECKING:
    from pathlib import Path

_SYNSETS = "LOC_synset_mapping.txt"
CARD = Card(
    name="imagenet",
    title="ImageNet-1k",
    folder="imagenet",
    layout=("train", "val"),
    classes=1000,
    train=1281167,
    test=50000,
    annotations="none",
    licence="non-commercial research and education, on acceptance of the terms",
    page="https://image-net.org/download.php",
    citation="Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015",
)


def _distinct(identifiers: list[str], names: dict[str, str]) -> list[str]:
    """Name each class; two are called "crane" and two "maillot", so those say their identifier."""
    chosen = [names.get(identifier, identifier) for identifier in identifiers]
    often = Counter(chosen)
    return [
        name if often[name] == 1 else f"{name} ({identifier})"
        for identifier, name in zip(identifiers, chosen, strict=True)
    ]


class ImageNetDataModule(PublishedDataModule):
    """ImageNet-1k; its official validation images serve as test images.

    The labels of the official test images are not public. Validation images of ours are carved
    from training. Class names come from `LOC_synset_mapping.txt` or from the development kit
    (`meta.bin`, which torchvision writes); without either, they are the WordNet identifiers.

    Args:
        root: The folder with `train/ID/` and `val/ID/`, ID being WordNet identifiers, or the
            folder that holds it as `imagenet`.
        download: Refused: the source asks a person to accept its terms.
        options: See `FineGrainedDataModule`.
    """

    card = CARD

    def read_folder(self, folder: Path, split: Literal["train", "test"]) -> ImageList:
        """Return the training images, or the official validation images as test images."""
        place = folder / ("train" if split == "train" else "val")
        source = read_class_folders(place, classes_of=folder / "train")
        names = self._names(folder)
        classes = _distinct(source.classes, names)
        paths = relative((path for path, _ in source.samples), folder)
        return ImageList(folder, paths, source.targets, classes)

    @staticmethod
    def _names(folder: Path) -> dict[str, str]:
        """First synonym of each WordNet identifier."""
        if (folder / _SYNSETS).exists():
            rows = read_rows(folder / _SYNSETS, 2)
            return {row[0]: row[1].split(",")[0] for _, row in rows}
        if (folder / "meta.bin").exists():
            synonyms, _ = load_meta_file(folder)
            return {identifier: names[0] for identifier, names in synonyms.items()}
        return {}
