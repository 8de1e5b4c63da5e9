"""The base of every DataModule: splits, transforms and loaders; subclasses only read files."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader, DistributedSampler

from ppn.configured import expect_least
from ppn.data.class_names import labels_in
from ppn.data.dataset import AnnotatedDataset, ImageView
from ppn.data.sampler import ShardSampler, ShuffleSampler, batches_apart
from ppn.data.split import grouped_classes, stratified_split
from ppn.data.transforms import Crop, Transform
from ppn.distributed import processes
from ppn.errors import DataError
from ppn.types import Batch, InputConfig, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.data.augmentation import Augmentation


class FineGrainedDataModule(LightningDataModule, ABC):
    """Loaders over an annotated data set with an official train and test split.

    Validation images are carved from the training images (seeded, stratified), never from test.
    Size, normalisation, interpolation and crop follow the backbone of the model that the Trainer
    runs; without a Trainer they are those of `InputConfig()`, or whatever `input_config` is set to.

    Args:
        batch_size: Images per batch and process.
        num_workers: Processes that load images; 0 loads in the main process.
        crop: "frame" for the whole image, "box" for the object's box.
        augmentation: What happens to training images; see `Augmentation`.
        masks: Whether batches hold the object's or the parts' mask; see `Batch`.
        val_fraction: Share of each class's training images held out for validation, in [0, 1).
        split_seed: Seed of that draw.
    """

    def __init__(
        self,
        batch_size: int = 32,
        num_workers: int = 2,
        crop: Crop = "frame",
        augmentation: Augmentation = "standard",
        masks: bool = False,
        val_fraction: float = 0.1,
        split_seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= val_fraction < 1:
            raise DataError(
                f"val_fraction is {val_fraction}, but must be at least 0 and less than 1."
            )
        expect_least(1, DataError, batch_size=batch_size)
        expect_least(0, DataError, num_workers=num_workers)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.crop: Crop = crop
        self.augmentation: Augmentation = augmentation
        self.masks = masks
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self._input_config: InputConfig | None = None
        self._among: tuple[list[int], list[str]] | None = None

    empty_test = "complete the data set"
    """What to do if there is no test image."""

    @property
    def title(self) -> str:
        """What the data set is called."""
        return type(self).__name__.removesuffix("DataModule")

    @abstractmethod
    def read_split(self, split: Literal["train", "test"]) -> AnnotatedDataset:
        """Return the images of an official split.

        Raises:
            DataError: If files are missing or inconsistent; the message says how to mend it.
        """

    @cached_property
    def train_source(self) -> AnnotatedDataset:
        """The official training images, those held out for validation included."""
        source = self.read_split("train")
        return source if self._among is None else source.numbered(*self._among)

    @cached_property
    def test_source(self) -> AnnotatedDataset:
        """The official test images.

        Raises:
            DataError: If one belongs to a class that training does not know, or is a training image
                too.
        """
        source = self.read_split("test")
        count = len(self.labels)
        strange = np.flatnonzero(source.labels >= count)
        if len(strange):
            raise DataError(
                f"Test image {source.name(int(strange[0]))} is of class "
                f"{source.labels[strange[0]]}, but training has {count} classes."
            )
        tested = {source.name(index) for index in range(len(source))}
        train = self.train_source
        names = (train.name(index) for index in range(len(train)))
        leaked = next((name for name in names if name in tested), None)
        if leaked is not None:
            raise DataError(
                f"Image {leaked} is listed for training and for test: take it off one of the lists."
            )
        return source if self._among is None else source.numbered(*self._among)

    @property
    def split_note(self) -> str:
        """A sentence on where the test images are from, if that is not an official split."""
        return ""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def class_names(self) -> list[str]:
        """Name of each class; the position is the label."""
        return self.train_source.class_names

    @property
    def labels(self) -> list[int]:
        """The classes that the data is about: all, or some of a classifier's."""
        return list(range(self.num_classes)) if self._among is None else self._among[0]

    def follow_classes(self, place: str, names: Sequence[str] | None, count: int) -> None:
        """Number classes as a classifier does, which may have more of them.

        Args:
            place: What the classifier is called in messages.
            names: Its names of classes; None, or mere numbers, where it does not know them.
            count: Number of its classes.

        Raises:
            CheckpointError: If the data's classes are not, or not clearly, among them.
        """
        labels = labels_in(place, names, count, self.class_names)
        if len(labels) == count:
            return
        own = [f"{name} ({label})" for name, label in zip(self.class_names, labels, strict=True)]
        shown = ", ".join([*own[:5], *(["..."] if own[5:] else [])])
        rank_zero_info(f"The data has {len(own)} of the classifier's {count} classes: {shown}.")
        _ = self._train_val_indices  # drawn by the data's own numbers, with every classifier alike
        self._among = labels, list(names or map(str, range(count)))
        for name in ("train_source", "test_source"):
            self.__dict__.pop(name, None)

    @property
    def part_names(self) -> list[str]:
        """Name of each keypoint; empty without part annotations."""
        return self.train_source.part_names

    @property
    def input_config(self) -> InputConfig:
        """What the classifier expects of its input image."""
        if self._input_config is not None:
            return self._input_config
        module = self.trainer.lightning_module if self.trainer is not None else None
        return getattr(module, "input_config", InputConfig())

    @input_config.setter
    def input_config(self, config: InputConfig | None) -> None:
        self._input_config = config

    @cached_property
    def _train_val_indices(self) -> tuple[Any, Any]:
        return stratified_split(self.train_source.labels, self.val_fraction, self.split_seed)

    def view(self, split: Split, augmentation: Augmentation = "none") -> ImageView:
        """Return the images of a split, by default without augmentation."""
        source = self.test_source if split == "test" else self.train_source
        if split == "test":
            indices = np.arange(len(source))
        else:
            indices = self._train_val_indices[split == "val"]
        transform = Transform(self.input_config, self.crop, augmentation)
        return ImageView(source, indices, transform, self.masks and bool(source.mask_names))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the augmented training images, shuffled by the seed of `seed_everything`."""
        view = self.view("train", self.augmentation)
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return self._loader(view, ShuffleSampler(view, *processes(), seed=seed))

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """Return the validation images, each once, also under DDP.

        Finding prototypes needs none: `fit` goes on without, with an empty list.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        if fitting and len(self.view("val")) == 0:
            return []
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the test images, each once, also under DDP."""
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Return the test images, each once, also under DDP."""
        return self._evaluation_loader("test")

    def discovery_groups(
        self, most: int, images: int | None = None
    ) -> tuple[list[list[int]], list[int]]:
        """Return successive classes that discovery works on together.

        Args:
            most: Most classes of a group.
            images: Most images of a group, unless one class alone has more; None for any number.

        Returns:
            The labels of each group, and how many training images it has.
        """
        counts = np.bincount(self.view("train").labels, minlength=self.num_classes)
        own = np.array(self.labels)
        found = grouped_classes(counts[own].tolist(), images or len(self.view("train")), most)
        groups = [own[places].tolist() for places in found]
        return groups, [int(counts[labels].sum()) for labels in groups]

    def discovery_loader(self, *groups: Sequence[int]) -> DataLoader[Batch]:
        """Return the un-augmented training images of the given classes, class after class.

        Args:
            groups: Labels in the order in which their images are wanted. No batch holds images of
                two groups, so that the batches of a group, and with them the last bits of its
                features, are the same whichever groups come before it.

        Raises:
            DataError: If a class has no training image.
        """
        view = self.view("train")
        members = [[view.indices[view.labels == label] for label in group] for group in groups]
        for label, indices in zip(chain(*groups), chain(*members), strict=True):
            if len(indices) == 0:
                raise DataError(
                    f"Class {label} ({self.class_names[label]}) has no training image, so no "
                    "prototypes can be found: add images or take the class off the list of classes."
                )
        ordered = view.at(np.concatenate(list(chain(*members))))
        sizes = [sum(map(len, group)) for group in members]
        return self._plain_loader(ordered, sizes)

    def chosen_loader(self, indices: Sequence[int]) -> DataLoader[Batch]:
        """Return un-augmented training images, those held out for validation among them.

        Args:
            indices: Which of `train_source`, in this order.
        """
        return self._plain_loader(self.view("train").at(indices), [len(indices)])

    def _plain_loader(self, view: ImageView, sizes: Sequence[int]) -> DataLoader[Batch]:
        return DataLoader(
            view,
            batch_sampler=batches_apart(sizes, self.batch_size),
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def class_loader(self) -> DataLoader[Batch]:
        """Return the un-augmented training images class after class, no batch of two classes."""
        return self.discovery_loader(
            *([int(label)] for label in np.unique(self.view("train").labels))
        )

    def _evaluation_loader(self, split: Split) -> DataLoader[Batch]:
        view = self.view(split)
        if len(view) == 0:
            fix = "raise val_fraction" if split == "val" else self.empty_test
            raise DataError(f"The {split} split has no images: {fix}.")
        count, rank = processes()
        if len(view) < count:
            raise DataError(
                f"The {split} split has {len(view)} images, fewer than the {count} processes "
                "that share them: use fewer devices."
            )
        return self._loader(view, ShardSampler(view, count, rank))

    def _loader(self, view: ImageView, sampler: DistributedSampler[Any]) -> DataLoader[Batch]:
        return DataLoader(
            view,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Else persistent workers and none at all draw differently often from torch's state.
            generator=torch.Generator(),
        )
