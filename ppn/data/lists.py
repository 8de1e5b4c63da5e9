"""The text lists that CUB-200-2011 and NABirds share: images, labels, boxes, part locations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ppn.data.dataset import Annotated, AnnotatedDataset
from ppn.data.images import read_image
from ppn.data.inside import expect_inside
from ppn.errors import DataError
from ppn.io.files import parse_json

if TYPE_CHECKING:
    from pathlib import Path


def read_text(path: Path, fix: str = "complete the data set") -> str:
    """Read a text file of a data set.

    Args:
        path: The file.
        fix: What to do if it is missing.

    Raises:
        DataError: If it is missing, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} is missing: {fix}.") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} cannot be read as UTF-8 ({error.reason}): save it as such."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): replace the file.") from None


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Read a JSON file of a data set.

    Raises:
        DataError: If it is missing, unreadable or not JSON.
    """
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): replace the file.") from None


def read_rows(path: Path, columns: int, numbers: int = 0) -> list[tuple[int, list[str]]]:
    """Read a list of lines with columns separated by spaces; the last may hold spaces.

    Args:
        path: The list.
        columns: Number of columns.
        numbers: How many of the last columns must be numbers.

    Returns:
        Line number and columns of each line that is not blank.

    Raises:
        DataError: If the file is unreadable, or a line has too few columns or wrong ones.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split(maxsplit=columns - 1)
        fits = len(fields) == columns and all(map(_is_number, fields[columns - numbers :]))
        if not fits:
            raise DataError(f"{path}, line {number}: expected {columns} columns, found {line!r}.")
        rows.append((number, [field.strip() for field in fields]))
    return rows


_FACE = ["beak", "bill", "crown", "forehead", "eye", "left eye", "right eye"]
_SIDES = ["back", "wing", "left wing", "right wing"]
BIRD_GROUPS: tuple[dict[str, list[str]], ...] = (
    {"head": _FACE, "underside": ["belly", "breast"], "back": _SIDES},
    {
        "head": _FACE,
        "belly": ["belly"],
        "breast": ["breast", "throat"],
        "back": _SIDES,
        "nape": ["nape"],
    },
)
"""Keypoints of birds, by any of their usual names, joined to three and to five parts."""


class ListedBirds(AnnotatedDataset):
    """One official split of a data set in the layout of CUB-200-2011.

    The lists decide: images are those of `images.txt` that `train_test_split.txt` puts in the
    split, classes those of `classes.txt`.

    Args:
        root: Folder that holds `images/`, `parts/` and the lists.
        split: Official split.

    Attributes:
        class_ids: Identifier of each class in the lists; the position is the label.

    Raises:
        DataError: If a list is missing, or a line of it does not fit the others.
    """

    class_ids: list[str]
    part_groups = BIRD_GROUPS

    def __init__(self, root: Path, split: Literal["train", "test"]) -> None:
        self.root = root
        names = self._table("classes.txt")
        labels = self._table("image_class_labels.txt")
        self.class_ids = self.choose_classes(names, labels)
        self.class_names = [names[identifier] for identifier in self.class_ids]
        parts = self._table("parts/parts.txt")
        self.part_names = list(parts.values())
        wanted = "1" if split == "train" else "0"
        members = self._table("train_test_split.txt")
        strange = next((image for image, flag in members.items() if flag not in ("0", "1")), None)
        if strange is not None:
            raise DataError(
                f"{root / 'train_test_split.txt'} puts image {strange} in split "
                f"{members[strange]!r}, but splits are 1 (training) and 0 (test)."
            )
        ids = [image for image, flag in members.items() if flag == wanted]
        paths = self._table("images.txt")
        boxes = self._read_boxes()
        label_of = {identifier: label for label, identifier in enumerate(self.class_ids)}
        lists: dict[str, dict[str, Any]] = {
            "images.txt": paths,
            "bounding_boxes.txt": boxes,
            "image_class_labels.txt": labels,
        }
        for image in ids:
            for name, table in lists.items():
                if image not in table:
                    raise DataError(
                        f"{root / name} has no line for image {image}, which is listed in "
                        "train_test_split.txt: complete the data set."
                    )
            if labels[image] not in label_of:
                raise DataError(
                    f"{root / 'image_class_labels.txt'} gives image {image} class "
                    f"{labels[image]}, which classes.txt does not list."
                )
        lost = next((image for image in paths if image not in members), None)
        if lost is not None:
            raise DataError(
                f"{root / 'train_test_split.txt'} has no line for image {lost}, which is listed in "
                "images.txt: complete the data set."
            )
        self._paths = [paths[image] for image in ids]
        expect_inside(self._paths, root / "images.txt")
        self.labels = np.array([label_of[labels[image]] for image in ids], dtype=np.int64)
        corner = np.array([boxes[image] for image in ids], dtype=float).reshape(-1, 4)
        self._boxes = np.concatenate([corner[:, :2], corner[:, :2] + corner[:, 2:]], axis=1)
        self._keypoints = self._read_keypoints(ids, list(parts))

    def choose_classes(self, names: dict[str, str], labels: dict[str, str]) -> list[str]:
        """Return the identifiers of the classes, in the order of the labels.

        Args:
            names: Identifier -> name, in the order of `classes.txt`.
            labels: Image -> identifier of its class.
        """
        return list(names)

    def read(self, index: int) -> Annotated:
        """Return image `index` with its box and keypoints."""
        image = read_image(self.root / "images" / self._paths[index])
        return Annotated(image, self._boxes[index], self._keypoints[index])

    def name(self, index: int) -> str:
        """Return the path of image `index` below `images/`."""
        return self._paths[index]

    def _read_boxes(self) -> dict[str, list[float]]:
        path = self.root / "bounding_boxes.txt"
        boxes: dict[str, list[float]] = {}
        for number, row in read_rows(path, 5, numbers=4):
            if row[0] in boxes:
                raise DataError(f"{path}, line {number}: image {row[0]} is listed twice.")
            boxes[row[0]] = [float(value) for value in row[1:]]
            if min(boxes[row[0]][2:]) <= 0:
                raise DataError(f"{path}, line {number}: the box has no width or no height.")
        return boxes

    def _read_keypoints(self, ids: list[str], parts: list[str]) -> np.ndarray:
        row_of = {image: i for i, image in enumerate(ids)}
        column_of = {part: i for i, part in enumerate(parts)}
        keypoints = np.full((len(ids), len(parts), 3), np.nan)
        path = self.root / "parts/part_locs.txt"
        for number, row in read_rows(path, 5, numbers=3):
            if row[0] not in row_of:
                continue
            if row[1] not in column_of:
                raise DataError(f"{path}, line {number}: part {row[1]} is not listed in parts.txt.")
            place = row_of[row[0]], column_of[row[1]]
            if not np.isnan(keypoints[place]).any():
                raise DataError(f"{path}, line {number}: image and part are listed twice.")
            keypoints[place] = [float(value) for value in row[2:]]
        absent = np.argwhere(np.isnan(keypoints[..., 2]))
        if len(absent):
            image, part = ids[absent[0, 0]], parts[absent[0, 1]]
            raise DataError(
                f"{path} has no line for part {part} of image {image}: complete the data set."
            )
        return keypoints

    def _table(self, name: str) -> dict[str, str]:
        """First column -> rest of the line, in the file's order."""
        return read_table(self.root / name)


def read_table(path: Path) -> dict[str, str]:
    """Read a list of identifiers, each followed by a text: identifier -> text, in its order.

    Raises:
        DataError: If the file is unreadable, or an identifier has no text or two.
    """
    table: dict[str, str] = {}
    for number, (identifier, text) in read_rows(path, 2):
        if identifier in table:
            raise DataError(f"{path}, line {number}: {identifier} is listed twice.")
        table[identifier] = text
    return table


def _is_number(field: str) -> bool:
    try:
        return math.isfinite(float(field))
    except ValueError:
        return False
