"""Finding in pixels what fake images show: the object's extent and the marker's centre."""

import numpy as np


def pixels_of(image):
    """(H, W, 3) in [0, 255] of a tensor normalised with mean and deviation 0.5."""
    return (image.numpy().transpose(1, 2, 0) * 0.5 + 0.5) * 255


def marker(pixels):
    """x, y of the white square's centre."""
    rows, columns = np.nonzero(pixels.min(-1) > 160)
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def extent(pixels):
    """x0, y0, x1, y1 of the coloured rectangle."""
    rows, columns = np.nonzero(pixels.max(-1) > 140)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def colour(pixels):
    """The channel in which the object shines."""
    x0, y0, x1, y1 = extent(pixels)
    return int(pixels[y0:y1, x0:x1].mean((0, 1)).argmax())
