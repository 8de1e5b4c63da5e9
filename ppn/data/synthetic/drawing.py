"""The canvas: anti-aliased colour and, in step with it, the map of parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from ppn.data.synthetic.anatomy import PART_NAMES
from ppn.data.synthetic.curves import Points, ribbon

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import ArrayLike, NDArray

Colour = tuple[int, ...]  # red, green, blue in 0..255 and, if translucent, alpha
BACKGROUND = "background"
_CODE = {BACKGROUND: 0, **{name: i + 1 for i, name in enumerate(PART_NAMES)}}
_FACTOR = 2  # pixels drawn per pixel of the final image, each way


class Canvas:
    """Draws at twice the final resolution; all coordinates are pixels of the final image.

    Args:
        backdrop: RGB image of any size, stretched over the canvas.
        size: Height and width of the final image.
        without: What is not to be seen; see `showing`.
    """

    def __init__(
        self, backdrop: Image.Image, size: int, without: Collection[str | int] = ()
    ) -> None:
        side = size * _FACTOR
        self.size = size
        self.without = without
        self._image = backdrop.resize((side, side), Image.Resampling.BILINEAR)
        self._parts = Image.new("L", (side, side))
        self._opaque = ImageDraw.Draw(self._image)
        self._translucent = ImageDraw.Draw(self._image, "RGBA")
        self._map = ImageDraw.Draw(self._parts)

    def showing(self, what: str | int) -> Canvas:
        """Return this canvas, or one that nobody sees for what is left out.

        So everything is drawn with the same chance, whatever is left out.
        """
        return Canvas(Image.new("RGB", (1, 1)), self.size) if what in self.without else self

    def polygon(self, outline: Points, colour: Colour, part: str | None = None) -> None:
        """Fill an outline.

        Args:
            outline: (n, 2) pixels.
            colour: Opaque, or translucent with a fourth value.
            part: Part the area belongs to from now on; None leaves the map of parts alone.
        """
        corners = (outline * _FACTOR).ravel().tolist()
        draw = self._opaque if len(colour) == 3 else self._translucent
        draw.polygon(corners, fill=colour)
        if part is not None:
            self._map.polygon(corners, fill=_CODE[part])

    def stroke(
        self, path: Points, widths: ArrayLike, colour: Colour, part: str | None = None
    ) -> None:
        """Draw a line of the given width(s) in pixels; see `curves.ribbon`."""
        self.polygon(ribbon(path, widths), colour, part)

    def image(self) -> Image.Image:
        """Return the anti-aliased RGB image."""
        return self._image.reduce(_FACTOR)

    def parts(self) -> NDArray[np.uint8]:
        """Return the map of parts (size, size): 0 is background, i + 1 is part i."""
        parts: NDArray[np.uint8] = np.asarray(self._parts)[::_FACTOR, ::_FACTOR].copy()
        return parts

    def coverage(self, *parts: str) -> Image.Image:
        """Return where the named parts are, or any part without a name: 0 to 255, anti-aliased."""
        codes = [_CODE[name] for name in parts] or range(1, len(PART_NAMES) + 1)
        table = [255 * (code in codes) for code in range(256)]
        return self._parts.point(table).reduce(_FACTOR)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; `share` in [0, 1] is that of the second."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))


def darker(colour: Colour, amount: float) -> Colour:
    """Blend towards a deep warm shadow; `amount` in [0, 1]."""
    return mix(colour, (28, 20, 34), amount)


def lighter(colour: Colour, amount: float) -> Colour:
    """Blend towards a warm white; `amount` in [0, 1]."""
    return mix(colour, (255, 250, 240), amount)
