"""The user's own images: class folders, or a CSV file with labels, boxes and keypoints."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from ppn.data.class_folders import read_folders
from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.split import stratified_split
from ppn.data.table import read_table
from ppn.errors import DataError

if TYPE_CHECKING:
    from ppn.data.user_images import Found, UserImages


class ImageFolderDataModule(FineGrainedDataModule):
    """The user's own images.

    - Without a CSV file, `root` holds a folder per class; or `train/` and, where there are such
      splits, `val/` and `test/`, with a folder per class each. Other usual names of splits are
      known, such as `Train/`, `valid/` and `test_cropped/`.
    - A CSV file has the columns `path` (relative to `root`) and `label` (a name), and where known
      `split` ("train", "val" or "test"), `x0`, `y0`, `x1`, `y1` (the object's box) and, for each
      part, `PART_x` and `PART_y`, empty where it is not visible. Other usual names of these columns
      are known, such as `filename`, `class`, `xmin` to `ymax`, or `x`, `y`, `width`, `height`.

    Where there is no test split, the validation split takes its place; where there is neither, test
    images are drawn: seeded, stratified by class. A validation split that is left is used as it is,
    whatever `val_fraction` says. What is left out is told when the images are listed.

    Args:
        root: Folder of the images.
        csv: CSV file; a relative path starts from the working directory.
        test_fraction: Share of each class that becomes test images where no split is given, in
            (0, 1).
        options: See `FineGrainedDataModule`.
    """

    empty_test = "raise test_fraction, or add images"

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

    @property
    def title(self) -> str:
        """The name of the user's folder."""
        return Path(self.root).expanduser().resolve().name or super().title

    @property
    def split_note(self) -> str:
        """Which of the user's images are for test, where they did not say so; or nothing."""
        return self._found[1]

    def read_split(self, split: Literal["train", "test"]) -> UserImages:
        """Return the given split, or the drawn one.

        Raises:
            DataError: If a folder or the CSV file is missing, or a line of it is wrong.
        """
        found, _ = self._found
        return found.images.chosen((found.splits == "test") == (split == "test"))

    @cached_property
    def _found(self) -> tuple[Found, str]:
        """All images with their splits, and the note on the test split."""
        if not self.root:  # an unset variable, say: this is no way to name the working directory
            raise DataError("root is empty: it must be the folder of your images.")
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise DataError(f"{root} is not a folder: root must be the folder of your images.")
        if self.csv is None:
            found = read_folders(root)
        else:
            found = read_table(root, Path(self.csv).expanduser())
        note = self._complete(found)
        for sentence in (*found.remarks, *([note] if note else [])):
            rank_zero_info(sentence)
        return found, note

    def _complete(self, found: Found) -> str:
        """Choose test images where the user has not, and say which."""
        if "test" in found.splits:
            return ""
        held_out = found.splits == "val"
        if held_out.any():
            found.splits = np.where(held_out, "test", found.splits)
            return (
                f"There is no test split: the {held_out.sum()} images of {found.origin['val']} are "
                "the test images, and validation images are drawn from those for training."
            )
        _, drawn = stratified_split(found.images.labels, self.test_fraction, self.split_seed)
        found.splits = np.where(np.isin(np.arange(len(held_out)), drawn), "test", "train")
        return (
            f"There is no test split: {len(drawn)} of the {len(held_out)} images were drawn as "
            f"test images (test_fraction {self.test_fraction}, split_seed {self.split_seed})."
        )

    @cached_property
    def _train_val_indices(self) -> tuple[Any, Any]:
        splits = self._found[0].splits
        held_out = splits[splits != "test"] == "val"
        if held_out.any():
            return np.flatnonzero(~held_out), np.flatnonzero(held_out)
        return stratified_split(self.train_source.labels, self.val_fraction, self.split_seed)
