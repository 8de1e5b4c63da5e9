"""Stanford Cars (Krause et al., 2013): 196 models, boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from ppn.data.listed import ImageList
from ppn.data.lists import read_text
from ppn.data.matfile import read_mat
from ppn.data.published import Card, PublishedDataModule
from ppn.data.torchvision_sets import read_class_folders, relative
from ppn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_TEST_LIST = "cars_test_annos_withlabels.mat"
CARD = Card(
    name="cars",
    title="Stanford Cars",
    folder="stanford_cars",
    layout=("devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_train", "cars_test"),
    classes=196,
    train=8144,
    test=8041,
    annotations="boxes",
    licence="non-commercial research",
    page="https://github.com/pytorch/vision/issues/7545 (the official page is gone)",
    citation="Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR "
    "workshop, ICCV 2013",
    other_layouts=(("car_data/car_data/train", "car_data/car_data/test"), ("train", "test")),
)


def read_cars(root: Path, split: Literal["train", "test"]) -> ImageList:
    """Read one official split of Stanford Cars, in one of the layouts in which it is passed on.

    - The official one: `devkit/`, `cars_train/`, `cars_test/` and the list of test labels, beside
      or inside `devkit/`.
    - Class folders: `train/CLASS/`, `test/CLASS/` (also below `car_data/car_data/`), with boxes in
      `anno_train.csv` and `anno_test.csv` where they are present.

    Args:
        root: The folder `stanford_cars`.
        split: Official split.

    Raises:
        DataError: If a list is missing or does not fit the images.
    """
    if (root / "devkit").is_dir():
        return _read_devkit(root, split)
    folder = root / "car_data/car_data" if (root / "car_data").is_dir() else root
    source = read_class_folders(folder / split, classes_of=folder / "train")
    paths = relative((path for path, _ in source.samples), root)
    return ImageList(root, paths, source.targets, source.classes, _csv_boxes(root, split, paths))


def _read_devkit(root: Path, split: Literal["train", "test"]) -> ImageList:
    lists = root / "devkit/cars_train_annos.mat"
    if split == "test":
        places = (root / _TEST_LIST, root / "devkit" / _TEST_LIST)
        found = next((place for place in places if place.exists()), None)
        if found is None:
            raise DataError(
                f"{places[0]} is missing: it holds the labels of the test images, get it from "
                f"{CARD.page}."
            )
        lists = found
    (names,) = read_mat(root / "devkit/cars_meta.mat", "class_names")
    (rows,) = read_mat(lists, "annotations")
    fields = rows.dtype.names or ()
    absent = [name for name in ("fname", "class", *_CORNERS) if name not in fields]
    if absent:
        raise DataError(f"{lists} has no field {absent[0]}: get the list with labels.")
    boxes = np.stack([rows[name].astype(float) for name in _CORNERS], axis=1)
    boxes[:, :2] -= 1  # counted from 1, both corners included
    paths = [f"cars_{split}/{name}" for name in rows["fname"]]
    labels = rows["class"].astype(int) - 1
    return ImageList(root, paths, labels, [str(name) for name in names], boxes)


def _csv_boxes(root: Path, split: str, paths: list[str]) -> NDArray[np.float64] | None:
    path = root / f"anno_{split}.csv"
    if not path.exists():
        return None
    row_of = {name.rsplit("/", 1)[-1]: row for row, name in enumerate(paths)}
    boxes = np.full((len(paths), 4), np.nan)
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.strip().split(",")
        if not fields[0]:
            continue
        try:
            x0, y0, x1, y1 = (float(field) for field in fields[1:5])
        except ValueError:
            raise DataError(
                f"{path}, line {number}: expected a file name and four numbers, found {line!r}."
            ) from None
        if fields[0] in row_of:
            boxes[row_of[fields[0]]] = [x0 - 1, y0 - 1, x1, y1]
    absent = np.flatnonzero(np.isnan(boxes).any(1))
    if len(absent):
        raise DataError(f"{path} has no line for image {paths[int(absent[0])]}.")
    return boxes


class CarsDataModule(PublishedDataModule):
    """Stanford Cars with its official split; validation images are carved from training.

    Args:
        root: The folder `stanford_cars`, or the folder that holds it.
        download: Refused: the official source is gone.
        options: See `FineGrainedDataModule`.
    """

    card = CARD

    def read_folder(self, folder: Path, split: Literal["train", "test"]) -> ImageList:
        """Return an official split."""
        return read_cars(folder, split)
