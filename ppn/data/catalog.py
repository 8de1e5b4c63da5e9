"""Every published data set that the package reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppn.data.aircraft import AircraftDataModule
from ppn.data.cars import CarsDataModule
from ppn.data.cub import CUBDataModule
from ppn.data.dogs import DogsDataModule
from ppn.data.flowers import FlowersDataModule
from ppn.data.food import FoodDataModule
from ppn.data.funnybirds import FunnyBirdsDataModule
from ppn.data.imagenet import ImageNetDataModule
from ppn.data.inaturalist import INaturalistDataModule
from ppn.data.nabirds import NABirdsDataModule
from ppn.data.pets import PetsDataModule
from ppn.errors import DataError

if TYPE_CHECKING:
    from ppn.data.published import PublishedDataModule

CATALOG: dict[str, type[PublishedDataModule]] = {
    module.card.name: module
    for module in (
        CUBDataModule,
        NABirdsDataModule,
        CarsDataModule,
        DogsDataModule,
        AircraftDataModule,
        FlowersDataModule,
        PetsDataModule,
        FunnyBirdsDataModule,
        FoodDataModule,
        INaturalistDataModule,
        ImageNetDataModule,
    )
}
"""Short name -> DataModule, in the order in which they are listed."""


def data_module(name: str) -> type[PublishedDataModule]:
    """Return the DataModule of a data set.

    Raises:
        DataError: If there is none of that name.
    """
    if name not in CATALOG:
        raise DataError(f"There is no data set '{name}': choose one of {', '.join(CATALOG)}.")
    return CATALOG[name]
