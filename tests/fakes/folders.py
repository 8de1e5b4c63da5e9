"""Data sets whose folders are the classes, and users' own images."""

import json
from pathlib import Path

import numpy as np

from tests.fakes.drawing import BOX, MARKER, draw, save, write_lines

FOOD = ["apple_pie", "baby_back_ribs", "baklava"]
SPECIES = [
    "00000_Animalia_Annelida_Clitellata_Haplotaxida_Lumbricidae_Lumbricus_terrestris",
    "03111_Animalia_Chordata_Aves_Accipitriformes_Accipitridae_Accipiter_badius",
    "06000_Plantae_Tracheophyta_Liliopsida_Asparagales_Orchidaceae_Ophrys_apifera",
]
# Two classes of ImageNet are called "crane".
SYNSETS = {
    "n01440764": "tench, Tinca tinca",
    "n02012849": "crane",
    "n03126707": "crane",
}
OWN = ["finch", "owl", "wren"]


def _fill(rng, folder, names, count, file="{}.jpg"):
    for label, name in enumerate(names):
        for i in range(count):
            save(draw(rng, label), folder / name / file.format(i))


def food(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write Food-101 with both kinds of lists."""
    rng = np.random.default_rng(9)
    members: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for label, name in enumerate(FOOD[:classes]):
        ids = [f"{name}/{number}" for number in rng.permutation(10**6)[: train + test]]
        for image in ids:
            save(draw(rng, label), root / "images" / f"{image}.jpg")
        members["train"][name], members["test"][name] = ids[:train], ids[train:]
    for split, of_class in members.items():
        every = [image for ids in of_class.values() for image in ids]
        write_lines(root / f"meta/{split}.txt", every)
        (root / f"meta/{split}.json").write_text(json.dumps(of_class))
    write_lines(root / "meta/classes.txt", FOOD[:classes])
    labels = [name.replace("_", " ").capitalize() for name in FOOD[:classes]]
    write_lines(root / "meta/labels.txt", labels)
    return root


def inaturalist(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write iNaturalist 2021 (mini) under torchvision's folder names."""
    rng = np.random.default_rng(10)
    for folder, count in (("2021_train_mini", train), ("2021_valid", test)):
        _fill(rng, root / folder, SPECIES[:classes], count, f"{folder[5:7]}{{}}-4f6c.jpg")
    return root


def imagenet(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write ImageNet-1k with its validation images sorted into class folders."""
    rng = np.random.default_rng(11)
    names = list(SYNSETS)[:classes]
    for label, name in enumerate(names):
        for i in range(train):
            save(draw(rng, label), root / "train" / name / f"{name}_{100 * i + 26}.JPEG")
        for i in range(test):
            number = 293 + 1000 * label + i
            save(draw(rng, label), root / "val" / name / f"ILSVRC2012_val_{number:08d}.JPEG")
    write_lines(root / "LOC_synset_mapping.txt", [f"{k} {v}" for k, v in SYNSETS.items()])
    return root


def class_folders(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write a user's images, one folder per class, without a split."""
    _fill(np.random.default_rng(12), root, OWN[:classes], train + test)
    return root


def split_folders(
    root: Path, classes: int = 3, train: int = 4, test: int = 2, held_out: str = "test"
) -> Path:
    """Write a user's images with a folder for training and one for test."""
    rng = np.random.default_rng(13)
    for folder, count in (("train", train), (held_out, test)):
        _fill(rng, root / folder, OWN[:classes], count, f"{folder}_{{}}.jpg")
    return root


def table(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write a user's images with `images.csv`: split, box, and the parts `eye` and `tail`.

    The marker is on `tail`; `eye` is not visible in every other image.
    """
    rng = np.random.default_rng(14)
    lines = ["path,label,split,x0,y0,x1,y1,eye_x,eye_y,tail_x,tail_y"]
    for label, name in enumerate(OWN[:classes]):
        for i in range(train + test):
            path = f"some folder/{name}_{i}.png"
            save(draw(rng, label), root / path)
            eye = "," if i % 2 else "50.5,30.25"
            box = ",".join(map(str, BOX))
            split = "train" if i < train else "test"
            lines.append(f"{path},{name},{split},{box},{eye},{MARKER[0]},{MARKER[1]}")
    write_lines(root / "images.csv", lines)
    return root
