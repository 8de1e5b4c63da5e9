"""CUB-200-2011 and NABirds: lists of lines that begin with the image's identifier."""

import uuid
from pathlib import Path

import numpy as np

from tests.fakes.drawing import BOX, MARKER, SIZE, draw, save, write_lines

PARTS = [
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing",
    "nape", "right eye", "right leg", "right wing", "tail", "throat",
]  # fmt: skip
NABIRDS_PARTS = [
    "bill", "crown", "nape", "left eye", "right eye", "belly", "breast", "back", "tail",
    "left wing", "right wing",
]  # fmt: skip
_CUB_BOX = (20, 10, 100, 80)


def cub(
    root: Path,
    classes: int = 3,
    train: int = 4,
    test: int = 2,
    segmentations: bool = False,
    attributes: bool = False,
) -> Path:
    """Write a CUB-200-2011 with all parts on a diagonal; the marker is on part 8, `left leg`.

    Segmentations are 255 and 153 (of five annotators all and three) on the bird's box and 102 and
    51 around it; like a few official files, the first of each class carries an alpha channel.
    """
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {
        name: []
        for name in (
            "classes.txt",
            "images.txt",
            "image_class_labels.txt",
            "train_test_split.txt",
            "bounding_boxes.txt",
            "parts/part_locs.txt",
        )
    }
    lists["parts/parts.txt"] = [f"{i + 1} {name}" for i, name in enumerate(PARTS)]
    number = 0
    for label in range(classes):
        name = f"{label + 1:03d}.Bird_{label}"
        lists["classes.txt"].append(f"{label + 1} {name}")
        for i in range(train + test):
            number += 1
            path = f"{name}/Bird_{label}_{i:04d}.jpg"
            save(draw(rng, label, _CUB_BOX), root / "images" / path)
            lists["images.txt"].append(f"{number} {path}")
            lists["image_class_labels.txt"].append(f"{number} {label + 1}")
            lists["train_test_split.txt"].append(f"{number} {int(i < train)}")
            lists["bounding_boxes.txt"].append(f"{number} 20.0 10.0 80.0 70.0")
            for part in range(len(PARTS)):
                seen = int(part != i % len(PARTS))
                x, y = (30.0 + 4 * part, 20.0 + 3 * part) if seen else (0.0, 0.0)
                lists["parts/part_locs.txt"].append(f"{number} {part + 1} {x} {y} {seen}")
            if segmentations:
                marked = _annotators()
                if i == 0:  # mode LA
                    marked = np.stack([marked, np.full_like(marked, 255)], axis=-1)
                save(marked, (root / "segmentations" / path).with_suffix(".png"))
    if attributes:
        percentages = rng.uniform(0, 100, (classes, 312))
        lists["attributes/class_attribute_labels_continuous.txt"] = [
            " ".join(f"{value:.6f}" for value in row) for row in percentages
        ]
        # The archive keeps the names beside the data set's folder.
        names = [f"{i + 1} has_bill_shape::shape_{i}" for i in range(312)]
        write_lines(root.parent / "attributes.txt", names)
    for name, lines in lists.items():
        write_lines(root / name, lines)
    return root


def _annotators() -> np.ndarray:
    marked = np.zeros(SIZE[::-1], np.uint8)
    x0, y0, x1, y1 = _CUB_BOX
    marked[y0 - 4 : y1 + 4, x0 - 4 : x1 + 4] = 51
    marked[y0 - 2 : y1 + 2, x0 - 2 : x1 + 2] = 102
    marked[y0:y1, x0:x1] = 153
    marked[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] = 255
    return marked


def nabirds(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write a NABirds whose image classes are leaves, with gaps, of a tree of groups.

    The marker is on part 6, `breast`; part 0, `bill`, is hidden in every other image.
    """
    rng = np.random.default_rng(1)
    # As in the official list: every node of the tree, groups first, and several leaves below one
    # species, told apart in parentheses. No image is labelled with a group.
    tree = {
        "0": "Birds",
        "1": "Ducks, Geese, and Swans",
        "72": "Black-bellied Whistling-Duck",
        "295": "Black-bellied Whistling-Duck",
        "296": "Snow Goose (White morph)",
        "817": "Oak Titmouse",
        "1010": "Ruddy Duck (Breeding male)",
    }
    leaves = ["295", "817", "1010", "296"][:classes]
    lists: dict[str, list[str]] = {
        "classes.txt": [f"{node} {name}" for node, name in tree.items()],
        "hierarchy.txt": ["1 0", "72 1", "295 72", "296 1", "817 0", "1010 1"],
        "parts/parts.txt": [f"{part} {name}" for part, name in enumerate(NABIRDS_PARTS)],
    }
    for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes"):
        lists[f"{name}.txt"] = []
    for name in ("parts/part_locs.txt", "photographers.txt", "sizes.txt"):
        lists[name] = []
    # The lists are sorted by identifier, hence not by class.
    members = [
        (str(uuid.UUID(bytes=rng.bytes(16))), label, i)
        for label in range(classes)
        for i in range(train + test)
    ]
    order = sorted(leaves, key=int)
    for image, label, i in sorted(members):
        path = f"{int(order[label]):04d}/{image.replace('-', '')}.jpg"
        save(draw(rng, label), root / "images" / path)
        x0, y0, x1, y1 = BOX
        lists["images.txt"].append(f"{image} {path}")
        lists["image_class_labels.txt"].append(f"{image} {order[label]}")
        lists["train_test_split.txt"].append(f"{image} {int(i < train)}")
        lists["bounding_boxes.txt"].append(f"{image} {x0} {y0} {x1 - x0} {y1 - y0}")
        lists["photographers.txt"].append(f"{image} A. Person")
        lists["sizes.txt"].append(f"{image} {SIZE[0]} {SIZE[1]}")
        for part in range(len(NABIRDS_PARTS)):
            x, y, seen = MARKER[0] + 3 * (part - 6), MARKER[1], 1
            if part == 0 and i % 2:
                x, y, seen = 0, 0, 0
            lists["parts/part_locs.txt"].append(f"{image} {part} {x} {y} {seen}")
    for name, lines in lists.items():
        write_lines(root / name, lines)
    return root
