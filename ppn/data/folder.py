"""The user's own images: class folders, or a CSV file with labels, boxes and keypoints."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.dataset import Annotated, AnnotatedDataset
from ppn.data.images import read_image
from ppn.data.inside import is_inside
from ppn.data.lists import read_text
from ppn.data.split import stratified_split
from ppn.data.torchvision_sets import read_class_folders, relative
from ppn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BOX = ("x0", "y0", "x1", "y1")
_SPLITS = ("train", "test")


class UserImages(AnnotatedDataset):
    """Images of a user, with boxes and keypoints where they gave them.

    Files are shown upright, as their camera's orientation tag says; boxes and keypoints are in
    pixels of the upright image.

    Args:
        root: Folder that the paths start from.
        paths: Path of each image.
        labels: (n,) class of each image.
        class_names: Name of each class.
        part_names: Name of each keypoint.
        boxes: (n, 4) x0, y0, x1, y1; rows of NaN where unknown.
        keypoints: (n, P, 3) x, y, visibility.
    """

    def __init__(
        self,
        root: Path,
        paths: list[str],
        labels: NDArray[np.int64],
        class_names: list[str],
        part_names: list[str],
        boxes: NDArray[np.float64],
        keypoints: NDArray[np.float64],
    ) -> None:
        self.root = root
        self.class_names = class_names
        self.part_names = part_names
        self.labels = labels
        self._paths = paths
        self._boxes = boxes
        self._keypoints = keypoints

    def read(self, index: int) -> Annotated:
        """Return image `index`, upright, with what is known of it."""
        box = self._boxes[index]
        keypoints = self._keypoints[index] if self.part_names else None
        image = read_image(self.root / self._paths[index], upright=True)
        return Annotated(image, None if np.isnan(box).any() else box, keypoints)

    def name(self, index: int) -> str:
        """Return the path of image `index` below the root."""
        return self._paths[index]

    def chosen(self, indices: NDArray[np.int64]) -> UserImages:
        """Return some of the images, with the same classes."""
        return UserImages(
            self.root,
            [self._paths[index] for index in indices],
            self.labels[indices],
            self.class_names,
            self.part_names,
            self._boxes[indices],
            self._keypoints[indices],
        )


class ImageFolderDataModule(FineGrainedDataModule):
    """The user's own images.

    - Without a CSV file, `root` holds a folder per class; or `train/` and `test/` (or `val/`, if
      there is no `test/`) with a folder per class each.
    - A CSV file has the columns `path` (relative to `root`) and `label` (a name), and where known
      `split` ("train" or "test"), `x0`, `y0`, `x1`, `y1` (the object's box) and, for each part,
      `PART_x` and `PART_y`, empty where it is not visible.

    Where no split is given, test images are drawn: seeded, stratified by class.

    Args:
        root: Folder of the images.
        csv: CSV file; a relative path starts from the working directory.
        test_fraction: Share of each class that becomes test images where no split is given, in
            (0, 1).
        options: See `FineGrainedDataModule`.
    """

    def __init__(
        self,
        root: str,
        csv: str | None = None,
        test_fraction: float = 0.2,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 < test_fraction < 1:
            raise DataError(f"test_fraction is {test_fraction}, but must lie between 0 and 1.")
        self.root = root
        self.csv = csv
        self.test_fraction = test_fraction

    def read_split(self, split: Literal["train", "test"]) -> UserImages:
        """Return the given split, or the drawn one.

        Raises:
            DataError: If a folder or the CSV file is missing, or a line of it is wrong.
        """
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"{root} is no folder: root must be the folder of your images.")
        if self.csv is None:
            if (root / "train").is_dir():
                test = root / ("test" if (root / "test").is_dir() else "val")
                return _read_folders(root, root / "train" if split == "train" else test)
            images, given = _read_folders(root, root), None
        else:
            images, given = read_table(root, Path(self.csv).expanduser())
        if given is None:
            drawn = stratified_split(images.labels, self.test_fraction, self.split_seed)
            return images.chosen(drawn[split == "test"])
        return images.chosen(np.flatnonzero(given == split))


def _read_folders(root: Path, folder: Path) -> UserImages:
    classes_of = folder if folder == root else root / "train"
    source = read_class_folders(folder, classes_of)
    count = len(source.samples)
    return UserImages(
        root.resolve(),
        relative((path for path, _ in source.samples), root),
        np.array(source.targets, dtype=np.int64),
        source.classes,
        [],
        np.full((count, 4), np.nan),
        np.zeros((count, 0, 3)),
    )


def read_table(root: Path, path: Path) -> tuple[UserImages, NDArray[np.str_] | None]:
    """Read a CSV file of images; see `ImageFolderDataModule`.

    Args:
        root: Folder that its paths start from.
        path: The CSV file.

    Returns:
        All images, and the split of each, or None without such a column. Classes are the labels in
        sorted order.

    Raises:
        DataError: If a column is missing or a line is wrong; names file and line.
    """
    reader = csv.DictReader(read_text(path).splitlines())
    try:
        return _read_lines(root, path, reader)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}; correct the line.") from None


def _read_lines(
    root: Path, path: Path, reader: csv.DictReader[str]
) -> tuple[UserImages, NDArray[np.str_] | None]:
    columns = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = columns
    for needed in ("path", "label"):
        if needed not in columns:
            raise DataError(
                f"{path} has no column '{needed}': its first line must name the columns, of which "
                "path and label are needed."
            )
    absent = [name for name in _BOX if name not in columns]
    if 0 < len(absent) < len(_BOX):
        raise DataError(f"{path} has no column '{absent[0]}': a box needs {', '.join(_BOX)}.")
    parts = [name[:-2] for name in columns if name.endswith("_x") and name[:-2] + "_y" in columns]
    rows = []
    listed: set[str] = set()
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if None in row or None in row.values():
            raise DataError(f"{where}: it has not as many columns as the first line.")
        rows.append(_read_row(where, {k: v.strip() for k, v in row.items()}, parts, not absent))
        if rows[-1][0] in listed:
            raise DataError(f"{where}: image {rows[-1][0]} is listed before.")
        listed.add(rows[-1][0])
    if not rows:
        raise DataError(f"{path} lists no image.")
    paths, labels, splits, boxes, keypoints = (list(column) for column in zip(*rows, strict=True))
    names = sorted(set(labels))
    label_of = {name: label for label, name in enumerate(names)}
    images = UserImages(
        root,
        paths,
        np.array([label_of[label] for label in labels], dtype=np.int64),
        names,
        parts,
        np.array(boxes, dtype=np.float64),
        np.array(keypoints, dtype=np.float64).reshape(len(rows), len(parts), 3),
    )
    return images, np.array(splits) if "split" in columns else None


def _read_row(
    where: str, row: dict[str, str], parts: list[str], boxed: bool
) -> tuple[str, str, str, list[float], list[list[float]]]:
    name = row["path"].replace("\\", "/")
    if not is_inside(name):
        raise DataError(f"{where}: path '{name}' must lie below the folder of images.")
    if not row["label"]:
        raise DataError(f"{where}: it has no label.")
    if row.get("split", "train") not in _SPLITS:
        raise DataError(f"{where}: split is '{row['split']}', but must be train or test.")
    box = [_number(where, row, corner) for corner in _BOX] if boxed else [float("nan")] * 4
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(f"{where}: the box's second corner is not right of and below the first.")
    keypoints = []
    for part in parts:
        x, y = _number(where, row, f"{part}_x"), _number(where, row, f"{part}_y")
        seen = x == x and y == y
        keypoints.append([x, y, 1.0] if seen else [0.0, 0.0, 0.0])
    return name, row["label"], row.get("split", "train"), box, keypoints


def _number(where: str, row: dict[str, str], column: str) -> float:
    """The number in a column; NaN where it is empty."""
    if not row[column]:
        return float("nan")
    try:
        value = float(row[column])
    except ValueError:
        value = float("inf")
    if value in (float("inf"), -float("inf")):
        raise DataError(f"{where}: {column} is '{row[column]}', which is no number.")
    return value
