"""What protocols for images of one size have in common."""

from __future__ import annotations

PUBLISHED_SIZE = 224


def scaled(pixels: int, size: int) -> int:
    """A length published for 224 x 224 images, in pixels of a `size` x `size` image."""
    return round(pixels * size / PUBLISHED_SIZE)
