"""The facts of a published data set, and the base of the DataModules that read one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from lightning.pytorch.utilities import rank_zero_info

from ppn.data.datamodule import FineGrainedDataModule
from ppn.data.download import Archive, install
from ppn.errors import DataError

if TYPE_CHECKING:
    from ppn.data.dataset import AnnotatedDataset

State = Literal["complete", "partial", "missing"]


@dataclass(frozen=True)
class Card:
    """The facts of a published data set.

    Attributes:
        name: Short name on the command line.
        title: Name in texts.
        folder: Usual name of its folder.
        layout: Files and folders below it that reading needs, the first one also to find it by.
        other_layouts: Further layouts in which the data set is known to be passed on.
        classes: Number of classes.
        train: Number of official training images (those with an official validation split
            included), or 0 where that depends on options.
        test: Number of official test images.
        annotations: Parts, boxes and masks, in words.
        licence: Terms, in words.
        page: Where it comes from.
        citation: Whom to cite.
        archives: What `download: true` gets; empty where the source wants a person.
    """

    name: str
    title: str
    folder: str
    layout: tuple[str, ...]
    classes: int
    train: int
    test: int
    annotations: str
    licence: str
    page: str
    citation: str
    archives: tuple[Archive, ...] = ()
    other_layouts: tuple[tuple[str, ...], ...] = ()

    def locate(self, base: Path, itself: bool = True) -> Path | None:
        """Find the data set: in its usual folder in `base` or one level below, or `base` itself.

        Args:
            base: Where to look.
            itself: Whether `base` may be the data set's folder.
        """
        try:
            inner = [path for path in sorted(base.iterdir()) if path.is_dir()]
        except OSError:
            return None
        places = [base / self.folder, *(path / self.folder for path in inner)]
        if itself:
            places.insert(0, base)
        return next((place for place in places if self._found_layout(place)), None)

    def first_missing(self, root: Path) -> Path | None:
        """Return the first file or folder of the layout that is not there."""
        layout = self._found_layout(root) or self.layout
        return next((root / name for name in layout if not (root / name).exists()), None)

    def _found_layout(self, root: Path) -> tuple[str, ...] | None:
        layouts = (self.layout, *self.other_layouts)
        return next((layout for layout in layouts if (root / layout[0]).exists()), None)

    def way_to_get(self) -> str:
        """Say in half a sentence how to get the data."""
        if self.archives:
            return f"set download: true, or get it from {self.page}"
        return f"get it from {self.page}"

    def compare(
        self, train: AnnotatedDataset, test: AnnotatedDataset | None = None
    ) -> tuple[State, str]:
        """Hold classes and counts against the published ones.

        Args:
            train: The official training images, those for validation included.
            test: The official test images; None to leave them out.

        Returns:
            "complete" or "partial", and a sentence that says what is there.
        """
        rows = [
            (len(np.unique(train.labels)), self.classes, "classes"),
            (len(train), self.train, "training images"),
        ]
        if test is not None:
            rows.append((len(test), self.test, "test images"))
        if all(found == published for found, published, _ in rows):
            counts = ", ".join(f"{found} {what}" for found, _, what in rows)
            return "complete", f"{self.title} is complete: {counts}."
        counts = ", ".join(f"{found} of {published} {what}" for found, published, what in rows)
        return "partial", f"{self.title} is not the whole data set: {counts}."


class PublishedDataModule(FineGrainedDataModule):
    """A published data set in its official layout below a folder.

    Args:
        root: The data set's folder, or the folder that holds it under its usual name.
        download: Get it from its official source first if it is not there.
        options: See `FineGrainedDataModule`.
    """

    card: Card
    reader: ClassVar[type[Any]]
    """Of the images of a folder and split."""

    def __init__(self, root: str, download: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.root = root
        self.download = download

    @property
    def folder(self) -> Path:
        """Where the files are.

        Raises:
            DataError: If something of the layout is missing; names the first file found missing.
        """
        base = Path(self.root).expanduser()
        place = self.card.locate(base)
        if place is None and self.download:
            if not self.card.archives:
                raise DataError(
                    f"{self.card.title} cannot be downloaded by a script: "
                    f"{self.card.way_to_get()} and unpack it so that "
                    f"{base / self.card.layout[0]} is there."
                )
            place = base if base.name == self.card.folder else base / self.card.folder
            install(self.card.archives, self.card.folder, place)
        missing = self.card.first_missing(place or base)
        if missing is not None:
            raise DataError(
                f"{missing} is missing: root must be the folder {self.card.folder} with "
                f"{', '.join(self.card.layout)} inside; {self.card.way_to_get()}."
            )
        return place or base

    def read_split(self, split: Literal["train", "test"]) -> AnnotatedDataset:
        """Return an official split.

        Raises:
            DataError: If files are missing or inconsistent.
        """
        return self.read_folder(self.folder, split)

    def read_folder(self, folder: Path, split: Literal["train", "test"]) -> AnnotatedDataset:
        """Return an official split of the data set in a folder whose layout is complete."""
        found: AnnotatedDataset = self.reader(folder, split)
        return found

    def setup(self, stage: str) -> None:
        """Say so if only a part of the data set is there."""
        test = None if stage == "fit" else self.test_source
        state, note = self.card.compare(self.train_source, test)
        if state != "complete":
            rank_zero_info(note)
