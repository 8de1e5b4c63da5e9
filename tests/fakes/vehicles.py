"""Stanford Cars in its two layouts, and FGVC-Aircraft; corners of boxes are counted from 1."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.fakes.drawing import BOX, SIZE, draw, save, write_lines

CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"]
_CORNERS = (BOX[0] + 1, BOX[1] + 1, BOX[2], BOX[3])


def _cells(values):
    """A MATLAB cell array of one row."""
    cells = np.empty((1, len(values)), dtype=object)
    cells[0, :] = values
    return cells


def _car_images(rng, classes, count):
    """Label of each image, mixed as in the official lists."""
    return rng.permutation(np.repeat(np.arange(classes), count))


def cars(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write Stanford Cars as its authors and torchvision lay it out, with the test labels."""
    rng = np.random.default_rng(2)
    (root / "devkit").mkdir(parents=True)
    savemat(root / "devkit/cars_meta.mat", {"class_names": _cells(CARS[:classes])})
    kinds = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O")]
    for split, count in (("train", train), ("test", test)):
        labels = _car_images(rng, classes, count)
        fields = [*kinds, ("class", "O"), ("fname", "O")]
        rows = np.empty((1, len(labels)), dtype=fields)
        for i, label in enumerate(labels):
            name = f"{i + 1:05d}.jpg"
            rows[0, i] = (*(np.uint16(c) for c in _CORNERS), np.uint8(label + 1), name)
            save(draw(rng, label), root / f"cars_{split}" / name)
        if split == "train":
            savemat(root / "devkit/cars_train_annos.mat", {"annotations": rows})
        else:  # the development kit's own list of test images has no classes
            unlabelled = rows[[*(name for name, _ in kinds), "fname"]].copy()
            bare = np.empty(rows.shape, dtype=[*kinds, ("fname", "O")])
            for name in bare.dtype.names:
                bare[name] = unlabelled[name]
            savemat(root / "devkit/cars_test_annos.mat", {"annotations": bare})
            savemat(root / "cars_test_annos_withlabels.mat", {"annotations": rows})
    return root


def cars_folders(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write Stanford Cars in class folders with its boxes in CSV files without a header."""
    rng = np.random.default_rng(3)
    for split, count in (("train", train), ("test", test)):
        lines = []
        for i, label in enumerate(_car_images(rng, classes, count)):
            name = f"{i + 1:05d}.jpg"
            save(draw(rng, label), root / "car_data/car_data" / split / CARS[label] / name)
            lines.append(",".join(map(str, (name, *_CORNERS, label + 1))))
        write_lines(root / f"anno_{split}.csv", lines)
    write_lines(root / "names.csv", CARS[:classes])
    return root


AIRCRAFT = [
    ("707-320", "Boeing 707", "Boeing"),
    ("F-16A/B", "F-16", "Lockheed Martin"),
    ("Yak-42", "Yak-42", "Yakovlev"),
]
"""Variant, family and manufacturer of the classes."""


def aircraft(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write FGVC-Aircraft; photographs end in 20 rows of white banner."""
    rng = np.random.default_rng(4)
    data = root / "data"
    levels = ("variant", "family", "manufacturer")
    plurals = ("variants", "families", "manufacturers")
    for column, plural in enumerate(plurals):
        write_lines(data / f"{plural}.txt", [row[column] for row in AIRCRAFT[:classes]])
    lists: dict[str, list[str]] = {}
    boxes = []
    # Image names are numbers, some with leading zeros; lists are in no particular order.
    numbers = rng.permutation(np.arange(34309, 34309 + 97 * classes * (train + test), 97))
    for place, number in enumerate(numbers):
        label, i = place % classes, place // classes
        name = f"{number:07d}"
        pixels = draw(rng, label, size=(SIZE[0], SIZE[1] + 20))
        pixels[-20:] = 255
        save(pixels, data / "images" / f"{name}.jpg")
        boxes.append(" ".join(map(str, (name, *_CORNERS))))
        splits = ["test"] if i >= train else ["trainval", "train" if i % 2 == 0 else "val"]
        for split in splits:
            lists.setdefault(f"images_{split}.txt", []).append(name)
            for level, of_class in zip(levels, AIRCRAFT[label], strict=True):
                lines = lists.setdefault(f"images_{level}_{split}.txt", [])
                lines.append(f"{name} {of_class}")
    for file, lines in lists.items():
        write_lines(data / file, lines)
    write_lines(data / "images_box.txt", sorted(boxes))
    return root
