"""Light on the finished drawing: relief of the bird, brightness and colour temperature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from ppn.data.synthetic.drawing import Canvas

_COARSE = 4  # the relief is worked out at a fraction of the resolution


@dataclass(frozen=True)
class Light:
    """How a scene is lit.

    Attributes:
        direction: (2,) unit vector towards the light, y down.
        strength: Contrast between the lit and the shaded side, about 0.3 to 1.
        gains: (3,) factor of red, green and blue.
    """

    direction: np.ndarray
    strength: float
    gains: np.ndarray

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Light:
        """Draw a light from above, left or right."""
        angle = rng.uniform(-1.1, 1.1)
        warmth = rng.uniform(-0.07, 0.1)
        brightness = rng.uniform(0.82, 1.03)
        return cls(
            direction=np.array([np.sin(angle), -np.cos(angle)]),
            strength=rng.uniform(0.6, 1.0),
            gains=brightness * np.array([1 + warmth, 1.0, 1 - warmth]),
        )

    def apply(self, canvas: Canvas, bird: Image.Image, wing: Image.Image) -> Image.Image:
        """Shade the bird as if its outline were rounded, then tint the whole image.

        Args:
            canvas: The finished drawing.
            bird: Coverage by the bird, 0 to 255, as `Canvas.coverage` gives it.
            wing: Coverage by its wing.
        """
        relief = self._relief(bird, 0.045) + 0.45 * self._relief(wing, 0.02)
        shade = Image.fromarray(relief).resize(bird.size, Image.Resampling.BICUBIC)
        inside = np.asarray(bird, np.float32) * np.float32(1 / 255)
        light = 1 + np.asarray(shade) * inside
        pixels = np.asarray(canvas.image(), np.float32) * light[..., None]
        pixels *= self.gains.astype(np.float32)
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))

    def _relief(self, coverage: Image.Image, radius: float) -> np.ndarray:
        """Slope towards the light of a surface that rises from the outline inwards."""
        coarse = coverage.reduce(_COARSE)
        blurred = coarse.filter(ImageFilter.GaussianBlur(radius * coarse.width))
        height = np.asarray(blurred, np.float32) * np.float32(1 / 255)
        down, right = np.gradient(height * np.float32(radius * coarse.width * 2))
        facing = -(right * self.direction[0] + down * self.direction[1])
        slope: np.ndarray = np.clip(0.42 * self.strength * facing, -0.42, 0.22)
        return slope.astype(np.float32)
