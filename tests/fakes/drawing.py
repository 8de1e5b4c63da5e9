"""What fake images show: an object in its class's colour, a white marker on it, dark noise."""

import numpy as np
from PIL import Image

SIZE = (120, 90)
"""Width and height of the fake images."""
BOX = (36, 22, 84, 70)
"""x0, y0, x1, y1 of the object unless a data set says otherwise; the last two are outside."""
MARKER = (58, 41)
"""Position of the marker's centre."""


def draw(rng, label, box=BOX, marker=MARKER, size=SIZE, side=8):
    """Return the pixels (H, W, 3) of an image of a class."""
    width, height = size
    pixels = rng.integers(0, 60, (height, width, 3), dtype=np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = 70
    pixels[y0:y1, x0:x1, label % 3] = 230
    square(pixels, marker, 255, side)
    return pixels


def square(pixels, centre, value, side=8):
    """Paint a square whose centre is a position."""
    x, y = (round(value - side / 2) for value in centre)
    pixels[y : y + side, x : x + side] = value


def save(pixels, path):
    """Write an image file; JPEG as sharp as it gets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sharp = {} if path.suffix == ".png" else {"quality": 95, "subsampling": 0, "format": "JPEG"}
    Image.fromarray(pixels).save(path, **sharp)


def write_lines(path, lines):
    """Write a list."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
