"""FunnyBirds: scenes and classes as JSON, images and part maps as PNG with an alpha channel."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from tests.fakes.drawing import BOX, draw, square

KINDS = ("beak", "eye", "foot", "tail", "wing")
# Colour of each part in the maps, and where its middle pixel is in the images.
PLACES = {
    "tail": ((0, 0, 255), (41, 60)),
    "wing01": ((0, 255, 1), (72, 60)),
    "wing02": ((0, 255, 2), (72, 48)),
    "foot01": ((255, 0, 1), (50, 64)),
    "foot02": ((255, 0, 2), (60, 64)),
    "eye01": ((255, 255, 253), (46, 30)),
    "eye02": ((255, 255, 254), (70, 30)),
    "beak": ((255, 255, 0), (58, 41)),
}
SIZE = (120, 90)
SIDE = 7


def _write(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    Image.fromarray(np.concatenate([pixels, opaque], axis=2)).save(path)


def part_map(removed=()):
    """Return the part map (H, W, 3) of a bird that lacks some kinds of parts."""
    colours = np.zeros((*SIZE[::-1], 3), np.uint8)
    colours[5:15, 100:115] = 204, 204, 206  # an object of the background
    colours[70:72, 40:50] = 213, 85, 85  # pixels in which renderers mix two parts
    x0, y0, x1, y1 = BOX
    colours[y0:y1, x0:x1] = 170
    for name, (colour, (x, y)) in PLACES.items():
        if name.rstrip("012") not in removed:
            square(colours, (x + 0.5, y + 0.5), colour, SIDE)
    return colours


def _picture(rng, label, removed=()):
    """The bird in its class's colour; a marker where the beak is."""
    pixels = draw(rng, label, marker=(58.5, 41.5), side=SIDE)
    if "beak" in removed:
        square(pixels, (58.5, 41.5), pixels[BOX[1], BOX[0]], SIDE)
    return pixels


def funnybirds(
    root: Path, classes: int = 3, train: int = 4, test: int = 2, interventions: bool = False
) -> Path:
    """Write a FunnyBirds; every other training image lacks parts.

    The interventions of a test image are the same picture without the marker unless the beak is
    kept.
    """
    rng = np.random.default_rng(8)
    parts = {
        kind: [
            {"model": f"{kind}{i:02d}.glb"} | ({} if kind in ("eye", "foot") else {"color": "red"})
            for i in (1, 2)
        ]
        for kind in KINDS
    }
    root.mkdir(parents=True)
    (root / "parts.json").write_text(json.dumps(parts))
    kinds = [{kind: (label >> i) & 1 for i, kind in enumerate(KINDS)} for label in range(classes)]
    entries = [{"class_idx": label, "parts": kinds[label]} for label in range(classes)]
    (root / "classes.json").write_text(json.dumps(entries))
    for split, count in (("train", train), ("test", test)):
        scenes = []
        for number in range(classes * count):
            label, i = divmod(number, count)
            removed = ("beak", "wing")[: i // 2 + 1] if split == "train" and i % 2 else ()
            scene = {"class_idx": label, "camera_distance": 216, "camera_pitch": 1.2}
            for kind in KINDS:
                chosen = parts[kind][kinds[label][kind]]
                for what, value in chosen.items():
                    scene[f"{kind}_{what}"] = "placeholder" if kind in removed else value
            scenes.append(scene | {"bg_objects": "2,3,", "bg_color": "blue,red,"})
            place = f"{label}/{number:06d}"
            pixels = _picture(rng, label, removed)
            _write(pixels, root / split / f"{place}.png")
            _write(part_map(removed), root / f"{split}_part_map" / f"{place}.png")
            if interventions and split == "test":
                _write_interventions(rng, label, root / "test_interventions" / place)
        (root / f"dataset_{split}.json").write_text(json.dumps(scenes))
    return root


def _write_interventions(rng, label, folder):
    for count in range(len(KINDS) + 1):
        for kept in combinations(KINDS, count):
            removed = [kind for kind in KINDS if kind not in kept]
            _write(_picture(rng, label, removed), folder / f"body_{'_'.join(kept)}.png")
    for number in (0, 1):
        _write(_picture(rng, label), folder / f"background_interventions/{number}.png")
