"""Fake data sets in their official layouts, and tiny trained models."""

from pathlib import Path

import numpy as np
from PIL import Image

PARTS = [
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing",
    "nape", "right eye", "right leg", "right wing", "tail", "throat",
]  # fmt: skip


def cub(root: Path, classes: int = 3, train: int = 4, test: int = 2) -> Path:
    """Write a CUB-200-2011 with one colour per class and a marked part on every image."""
    rng = np.random.default_rng(0)
    (root / "parts").mkdir(parents=True)
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
        (root / "images" / name).mkdir(parents=True)
        for i in range(train + test):
            number += 1
            path = f"{name}/Bird_{label}_{i:04d}.jpg"
            pixels = rng.integers(0, 80, (90, 120, 3), dtype=np.uint8)
            pixels[30:60, 40:80, label % 3] = 250
            Image.fromarray(pixels).save(root / "images" / path, quality=95)
            lists["images.txt"].append(f"{number} {path}")
            lists["image_class_labels.txt"].append(f"{number} {label + 1}")
            lists["train_test_split.txt"].append(f"{number} {int(i < train)}")
            lists["bounding_boxes.txt"].append(f"{number} 20.0 10.0 80.0 70.0")
            for part in range(len(PARTS)):
                seen = int(part != i % len(PARTS))
                x, y = (30.0 + 4 * part, 20.0 + 3 * part) if seen else (0.0, 0.0)
                lists["parts/part_locs.txt"].append(f"{number} {part + 1} {x} {y} {seen}")
    for name, lines in lists.items():
        (root / name).write_text("\n".join(lines) + "\n")
    return root
