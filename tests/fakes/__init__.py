"""Fake data sets in their official layouts; every image shows where its annotations must be.

The object is one rectangle in the colour of its class on dark noise, and carries a white square,
the marker; see `drawing`. Each function writes a whole data set below `root` and returns `root`.
"""

from tests.fakes.birds import NABIRDS_PARTS, PARTS, cub, nabirds
from tests.fakes.folders import class_folders, food, imagenet, inaturalist, split_folders, table
from tests.fakes.funnybirds import funnybirds
from tests.fakes.pets import dogs, flowers, pets
from tests.fakes.vehicles import aircraft, cars, cars_folders

__all__ = [
    "NABIRDS_PARTS",
    "PARTS",
    "aircraft",
    "cars",
    "cars_folders",
    "class_folders",
    "cub",
    "dogs",
    "flowers",
    "food",
    "funnybirds",
    "imagenet",
    "inaturalist",
    "nabirds",
    "pets",
    "split_folders",
    "table",
]
