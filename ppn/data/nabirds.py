"""NABirds (Van Horn et al., 2015): 555 visual categories of North American birds, 11 parts."""

from __future__ import annotations

from ppn.data.lists import ListedBirds, read_rows
from ppn.data.published import Card, PublishedDataModule
from ppn.errors import DataError

CARD = Card(
    name="nabirds",
    title="NABirds",
    folder="nabirds",
    layout=(
        "hierarchy.txt",
        "bounding_boxes.txt",
        "classes.txt",
        "images.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
        "parts/parts.txt",
        "parts/part_locs.txt",
        "images",
    ),
    classes=555,
    train=23929,
    test=24633,
    annotations="11 keypoints, boxes, class hierarchy",
    licence="non-commercial research and education, on acceptance of the terms",
    page="https://dl.allaboutbirds.org/nabirds",
    citation="Van Horn et al., Building a Bird Recognition App and Large Scale Dataset with "
    "Citizen Scientists, CVPR 2015",
)


class NABirds(ListedBirds):
    """One official split of NABirds.

    `classes.txt` lists the whole hierarchy; the classes are those that images are labelled with,
    in the list's order.

    Args:
        root: Folder that holds `images/`, `parts/` and the lists (`nabirds`).
        split: Official split.

    Raises:
        DataError: If a list is missing, or a line of it does not fit the others.
    """

    def choose_classes(self, names: dict[str, str], labels: dict[str, str]) -> list[str]:
        """Return the identifiers of the classes that images of either split are labelled with."""
        used = set(labels.values())
        return [identifier for identifier in names if identifier in used]

    def ancestors(self) -> list[list[str]]:
        """Return, for each class, the names of the groups above it, the closest first.

        Raises:
            DataError: If `hierarchy.txt` names a class that is not listed, or runs in a circle.
        """
        path = self.root / "hierarchy.txt"
        parent = {row[0]: row[1] for _, row in read_rows(path, 2)}
        names = {row[0]: row[1] for _, row in read_rows(self.root / "classes.txt", 2)}
        found = []
        for identifier in self.class_ids:
            chain: list[str] = []
            above = parent.get(identifier)
            while above is not None:
                if above not in names or len(chain) > len(names):
                    raise DataError(
                        f"{path}: group {above} above class {identifier} is not listed in "
                        "classes.txt, or is above itself."
                    )
                chain.append(names[above])
                above = parent.get(above)
            found.append(chain)
        return found


class NABirdsDataModule(PublishedDataModule):
    """NABirds with its official split; validation images are carved from training.

    Args:
        root: The folder `nabirds`, or the folder that holds it.
        download: Refused: the source asks a person to accept its terms.
        options: See `FineGrainedDataModule`.
    """

    card = CARD
    reader = NABirds
