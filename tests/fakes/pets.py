"""Stanford Dogs, Oxford-IIIT Pet and Oxford Flowers-102: MATLAB lists, XML boxes, pictures."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.fakes.drawing import BOX, SIZE, draw, save, write_lines

DOGS = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02085936-Maltese_dog"]
PETS = ["Abyssinian", "american_bulldog", "american_pit_bull_terrier"]
FLOWERS = ["pink primrose", "hard-leaved pocket orchid", "canterbury bells"]


def _xml(path, name, objects):
    """Write a Pascal VOC annotation; corners are counted from 1, both included."""
    boxes = "".join(
        "\t<object>\n\t\t<name>thing</name>\n\t\t<pose>Unspecified</pose>\n"
        "\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n\t\t<bndbox>\n"
        f"\t\t\t<xmin>{x0 + 1}</xmin>\n\t\t\t<ymin>{y0 + 1}</ymin>\n"
        f"\t\t\t<xmax>{x1}</xmax>\n\t\t\t<ymax>{y1}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for x0, y0, x1, y1 in objects
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"<annotation>\n\t<folder>here</folder>\n\t<filename>{name}</filename>\n\t<size>\n"
        f"\t\t<width>{SIZE[0]}</width>\n\t\t<height>{SIZE[1]}</height>\n\t\t<depth>3</depth>\n"
        f"\t</size>\n\t<segment>0</segment>\n{boxes}</annotation>\n"
    )


def _column(values):
    """A MATLAB cell array of one column."""
    cells = np.empty((len(values), 1), dtype=object)
    cells[:, 0] = values
    return cells


def dogs(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write Stanford Dogs; every second image has two dogs whose boxes make up the object's."""
    rng = np.random.default_rng(5)
    members: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    x0, y0, x1, y1 = BOX
    for label, breed in enumerate(DOGS[:classes]):
        for i in range(train + test):
            name = f"{breed}/{breed.split('-')[0]}_{1000 * label + 7 * i}"
            save(draw(rng, label), root / "Images" / f"{name}.jpg")
            two = [(x0, y0, x1 - 9, y1 - 5), (x0 + 6, y0 + 8, x1, y1)]
            annotation = root / "Annotation" / name  # the official files have no suffix
            _xml(annotation, name.split("/")[1], two if i % 2 else [BOX])
            members["train" if i < train else "test"].append((name, label))
    every = [*members["train"], *members["test"]]
    for split, chosen in (*members.items(), ("file", every)):
        content = {
            "file_list": _column([f"{name}.jpg" for name, _ in chosen]),
            "annotation_list": _column([name for name, _ in chosen]),
            "labels": np.array([[label + 1] for _, label in chosen], dtype=np.float64),
        }
        savemat(root / f"{split}_list.mat", content)
    return root


def pets(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write Oxford-IIIT Pet; the object is the head, on a grey body that the trimap outlines.

    As published, only training images have boxes of heads, and not all of them: the first of each
    class has none.
    """
    rng = np.random.default_rng(6)
    annotations = root / "annotations"
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    body = (slice(BOX[1] - 6, BOX[3] + 10), slice(BOX[0] - 12, BOX[2] + 12))
    for label, breed in enumerate(PETS[:classes]):
        species = 1 if breed[0].isupper() else 2  # cats are capitalised
        for i in range(train + test):
            name = f"{breed}_{i + 1}"
            pixels = draw(rng, label)
            head = pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]].copy()
            pixels[body] = 90
            pixels[BOX[1] : BOX[3], BOX[0] : BOX[2]] = head
            save(pixels, root / "images" / f"{name}.jpg")
            trimap = np.full(SIZE[::-1], 2, np.uint8)
            rows, columns = body
            trimap[rows.start - 2 : rows.stop + 2, columns.start - 2 : columns.stop + 2] = 3
            trimap[body] = 1
            save(trimap, annotations / "trimaps" / f"{name}.png")
            lists["trainval" if i < train else "test"].append(f"{name} {label + 1} {species} 1")
            if 0 < i < train:
                _xml(annotations / "xmls" / f"{name}.xml", f"{name}.jpg", [BOX])
    header = ["#Image CLASS-ID SPECIES BREED ID", "#ID: 1:37 Class ids", "#SPECIES: 1:Cat 2:Dog"]
    write_lines(annotations / "list.txt", [*header, *lists["trainval"], *lists["test"]])
    for name, lines in lists.items():
        write_lines(annotations / f"{name}.txt", lines)
    # Left behind by the archiver among the official trimaps.
    (annotations / "trimaps" / f"._{PETS[0]}_1.png").write_bytes(b"\x00\x05\x16\x07")
    return root


def flowers(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write Flowers-102 with segmentations; half of the training images are official `valid`."""
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.repeat(np.arange(classes), train + test))
    sets: dict[str, list[int]] = {"trnid": [], "valid": [], "tstid": []}
    seen = [0] * classes
    for place, label in enumerate(labels):
        pixels = draw(rng, label)
        save(pixels, root / "jpg" / f"image_{place + 1:05d}.jpg")
        cut = np.zeros_like(pixels)
        cut[..., 2] = 254
        x0, y0, x1, y1 = BOX
        cut[y0:y1, x0:x1] = pixels[y0:y1, x0:x1]
        save(cut, root / "segmim" / f"segmim_{place + 1:05d}.jpg")
        i = seen[label]
        seen[label] += 1
        sets["tstid" if i >= train else "valid" if i % 2 else "trnid"].append(place + 1)
    savemat(root / "imagelabels.mat", {"labels": (labels + 1).astype(np.uint8)[None]})
    ids = {name: np.array([rng.permutation(ids)], np.uint16) for name, ids in sets.items()}
    savemat(root / "setid.mat", ids)
    return root
