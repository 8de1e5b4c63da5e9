"""CUB-200-2011 (Wah et al., 2011): 200 bird species, 15 part locations, boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.dataset import Annotated, AnnotatedDataset, read_image
from ppn.errors import DataError

if TYPE_CHECKING:
    from ppn.data.transforms import Augmentation, Crop

PAGE = "https://www.vision.caltech.edu/datasets/cub_200_2011/"


class CUB(AnnotatedDataset):
    """One official split of CUB-200-2011, or of a subset of its classes.

    The lists decide: classes are those of `classes.txt`, images those of `images.txt`.

    Args:
        root: Folder that holds `images/`, `parts/` and the lists (`CUB_200_2011`).
        split: Official split.

    Raises:
        DataError: If a list is missing, or a line of it does not fit the others.
    """

    def __init__(self, root: str | Path, split: Literal["train", "test"]) -> None:
        self.root = Path(root)
        classes = self._table("classes.txt", 2)
        self.class_names = [name.split(".", 1)[-1].replace("_", " ") for name in classes.values()]
        label_of = {identifier: label for label, identifier in enumerate(classes)}
        parts = self._table("parts/parts.txt", 2)
        self.part_names = list(parts.values())
        wanted = "1" if split == "train" else "0"
        membership = self._table("train_test_split.txt", 2)
        ids = [image for image, flag in membership.items() if flag == wanted]
        paths = self._table("images.txt", 2)
        labels = self._table("image_class_labels.txt", 2)
        boxes = self._table("bounding_boxes.txt", 5)
        for image in ids:
            for name, table in (("images.txt", paths), ("bounding_boxes.txt", boxes)):
                if image not in table:
                    raise DataError(
                        f"{self.root / name} has no line for image {image}, which is listed in "
                        f"train_test_split.txt: get the complete data set from {PAGE}."
                    )
            if labels.get(image) not in label_of:
                raise DataError(
                    f"{self.root / 'image_class_labels.txt'} gives image {image} class "
                    f"{labels.get(image)}, which classes.txt does not list."
                )
        self._paths = [paths[image] for image in ids]
        self.labels = np.array([label_of[labels[image]] for image in ids], dtype=np.int64)
        corner = np.array([boxes[image].split() for image in ids], dtype=float).reshape(-1, 4)
        self._boxes = np.concatenate([corner[:, :2], corner[:, :2] + corner[:, 2:]], axis=1)
        self._keypoints = self._read_keypoints(ids, list(parts))

    def read(self, index: int) -> Annotated:
        """Return image `index` with its box and 15 keypoints."""
        image = read_image(self.root / "images" / self._paths[index])
        return Annotated(image, self._boxes[index], self._keypoints[index])

    def name(self, index: int) -> str:
        """Return the path of image `index` below `images/`."""
        return self._paths[index]

    def _read_keypoints(self, ids: list[str], parts: list[str]) -> np.ndarray:
        row = {image: i for i, image in enumerate(ids)}
        column = {part: i for i, part in enumerate(parts)}
        keypoints = np.zeros((len(ids), len(parts), 3))
        for number, fields in self._lines("parts/part_locs.txt", 5):
            if fields[0] not in row:
                continue
            if fields[1] not in column:
                raise DataError(
                    f"{self.root / 'parts/part_locs.txt'}, line {number}: part {fields[1]} is "
                    "not listed in parts.txt."
                )
            keypoints[row[fields[0]], column[fields[1]]] = [float(value) for value in fields[2:]]
        return keypoints

    def _table(self, name: str, columns: int) -> dict[str, str]:
        """First column -> rest of the line, in the file's order."""
        return {fields[0]: " ".join(fields[1:]) for _, fields in self._lines(name, columns)}

    def _lines(self, name: str, columns: int) -> list[tuple[int, list[str]]]:
        path = self.root / name
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise DataError(
                f"{path} is missing or unreadable: root must be the folder CUB_200_2011 with "
                f"classes.txt, images.txt, images/ and parts/ inside; get it from {PAGE}."
            ) from None
        lines = []
        for number, line in enumerate(text.splitlines(), start=1):
            if not line.strip():
                continue
            fields = line.split(maxsplit=columns - 1)
            if len(fields) != columns or (columns == 5 and not _numbers(fields[1:])):
                raise DataError(
                    f"{path}, line {number}: expected {columns} columns, found {line!r}."
                )
            lines.append((number, [field.strip() for field in fields]))
        return lines


class CUBDataModule(FineGrainedDataModule):
    """CUB-200-2011 with its official split; validation images are carved from training.

    Args:
        root: Folder that holds `images/`, `parts/` and the lists (`CUB_200_2011`).
        batch_size: Images per batch and process.
        num_workers: Processes that load images.
        crop: "frame", or "box" for the annotated box (protocol `evalprotopnet-2023`).
        augmentation: What happens to training images.
        val_fraction: Share of each class's training images held out for validation.
        split_seed: Seed of that draw.
    """

    def __init__(
        self,
        root: str,
        batch_size: int = 32,
        num_workers: int = 2,
        crop: Crop = "frame",
        augmentation: Augmentation = "standard",
        val_fraction: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            num_workers=num_workers,
            crop=crop,
            augmentation=augmentation,
            val_fraction=val_fraction,
            split_seed=split_seed,
        )
        self.root = root

    def read_split(self, split: Literal["train", "test"]) -> AnnotatedDataset:
        """Return an official split."""
        return CUB(self.root, split)


def _numbers(fields: list[str]) -> bool:
    try:
        [float(field) for field in fields]
    except ValueError:
        return False
    return True
