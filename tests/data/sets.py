"""Every DataModule with its fake, and what the fake holds: what the contract is tested on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ppn.data.catalog import CATALOG
from ppn.data.folder import ImageFolderDataModule
from ppn.data.synthetic import SyntheticBirdsDataModule
from ppn.data.synthetic.anatomy import PART_NAMES
from ppn.types import InputConfig
from tests import fakes
from tests.fakes.folders import FOOD, OWN
from tests.fakes.pets import FLOWERS
from tests.fakes.vehicles import AIRCRAFT, CARS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = InputConfig((96, 96), (0.5,) * 3, (0.5,) * 3, "bilinear", 0.875)


@dataclass(frozen=True)
class FakeSet:
    """A DataModule and its fake.

    Attributes:
        module: The class.
        write: Writes the fake below a folder; None where nothing is read.
        names: The classes.
        options: Arguments of the module.
        boxes: How many training images have a box.
        parts: Number of keypoints.
        marked: The keypoint that the marker shows, where there is one.
        masks: What values of masks stand for.
    """

    module: type[Any]
    write: Callable[..., Path] | None
    names: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    boxes: int = 12
    parts: int = 0
    marked: int | None = None
    masks: tuple[str, ...] = ()
    train: int = 12
    test: int = 6

    @property
    def folder(self) -> str:
        card = getattr(self.module, "card", None)
        return "own" if card is None else card.folder

    def build(self, root: Path | None, **more: Any) -> Any:
        options = self.options | {"num_workers": 0, "val_fraction": 0.25, "batch_size": 5} | more
        if root is not None:
            options["root"] = str(root)
            if "csv" in options:
                options["csv"] = str(root / options["csv"])
        data = self.module(**options)
        data.input_config = CONFIG
        return data


def _published(name: str, names: list[str], **more: Any) -> FakeSet:
    write = more.pop("write", getattr(fakes, name.split("_")[0]))
    return FakeSet(CATALOG[name.split("_")[0]], write, names, **more)


_BIRD_PARTS = ("beak", "eye01", "eye02", "foot01", "foot02", "tail", "wing01", "wing02", "body")
SETS: dict[str, FakeSet] = {
    "cub": _published("cub", ["Bird 0", "Bird 1", "Bird 2"], parts=15, marked=7),
    "cub_segmentations": _published(
        "cub",
        ["Bird 0", "Bird 1", "Bird 2"],
        write=partial(fakes.cub, segmentations=True, attributes=True),
        parts=15,
        marked=7,
        masks=("bird",),
    ),
    "nabirds": _published(
        "nabirds",
        ["Black-bellied Whistling-Duck", "Oak Titmouse", "Ruddy Duck (Breeding male)"],
        parts=11,
        marked=6,
    ),
    "cars": _published("cars", CARS),
    "cars_folders": _published("cars", CARS, write=fakes.cars_folders),
    "dogs": _published("dogs", ["Chihuahua", "Japanese spaniel", "Maltese dog"]),
    "aircraft": _published("aircraft", [row[0] for row in AIRCRAFT]),
    "aircraft_family": _published(
        "aircraft", [row[1] for row in AIRCRAFT], options={"level": "family"}
    ),
    "aircraft_manufacturer": _published(
        "aircraft", [row[2] for row in AIRCRAFT], options={"level": "manufacturer"}
    ),
    "flowers": _published("flowers", FLOWERS, boxes=0, masks=("flower",)),
    "pets": _published(
        "pets",
        ["Abyssinian", "American Bulldog", "American Pit Bull Terrier"],
        boxes=9,
        masks=("pet",),
    ),
    "funnybirds": _published(
        "funnybirds",
        ["FunnyBird 0", "FunnyBird 1", "FunnyBird 2"],
        parts=8,
        marked=0,
        masks=_BIRD_PARTS,
    ),
    "food": _published("food", [name.replace("_", " ") for name in FOOD], boxes=0),
    "inaturalist": _published(
        "inaturalist",
        ["Lumbricus terrestris", "Accipiter badius", "Ophrys apifera"],
        boxes=0,
    ),
    "imagenet": _published(
        "imagenet", ["tench", "crane (n02012849)", "crane (n03126707)"], boxes=0
    ),
    "folder": FakeSet(
        ImageFolderDataModule, fakes.class_folders, OWN, {"test_fraction": 1 / 3}, boxes=0
    ),
    "folder_split": FakeSet(ImageFolderDataModule, fakes.split_folders, OWN, boxes=0),
    "folder_val": FakeSet(
        ImageFolderDataModule, partial(fakes.split_folders, held_out="val"), OWN, boxes=0
    ),
    "folder_table": FakeSet(
        ImageFolderDataModule, fakes.table, OWN, {"csv": "images.csv"}, parts=2, marked=1
    ),
    "synthetic": FakeSet(
        SyntheticBirdsDataModule,
        None,
        ["Bar-winged Ember Finch", "Sash-winged Golden Finch", "Streaked Golden Warbler"],
        {"num_classes": 3, "train_per_class": 4, "test_per_class": 2, "draw_size": 96},
        parts=12,
        masks=PART_NAMES,
    ),
}


def write_all(base: Path) -> dict[str, Path | None]:
    """Write every fake below a folder of its own and return the data sets' roots."""
    return {
        name: fake.write(base / name / fake.folder) if fake.write is not None else None
        for name, fake in SETS.items()
    }
