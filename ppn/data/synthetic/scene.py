"""Where a bird is: backdrop, perch, clutter in front and behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ppn.data.synthetic.clutter import (
    blade,
    butterfly,
    frame_at,
    loose_leaf,
    sprig,
    stalk,
    stone,
)
from ppn.data.synthetic.drawing import Canvas, Colour, mix
from ppn.data.synthetic.perch import draw_branch, draw_ground, draw_rock

if TYPE_CHECKING:
    from ppn.data.synthetic.pose import Pose

_COARSE = 4  # the backdrop is out of focus: drawn at a fraction of the resolution
# Colours at the top and at the bottom, then those of the shapes out of focus.
_BACKDROPS: dict[str, tuple[Colour, Colour, tuple[Colour, ...]]] = {
    "canopy": ((150, 186, 140), (84, 132, 96), ((190, 214, 140), (70, 116, 84), (226, 232, 180))),
    "dusk": ((246, 206, 170), (176, 150, 176), ((255, 226, 190), (150, 124, 160), (240, 180, 150))),
    "sky": ((148, 194, 226), (226, 238, 240), ((250, 252, 252), (240, 246, 248), (196, 222, 238))),
    "autumn": ((232, 206, 150), (176, 120, 78), ((240, 170, 80), (200, 92, 60), (250, 224, 160))),
    "meadow": (
        (190, 220, 226),
        (150, 184, 110),
        ((236, 226, 150), (120, 164, 96), (214, 226, 190)),
    ),
    "shore": ((206, 226, 232), (110, 164, 186), ((236, 246, 246), (90, 146, 172), (170, 206, 216))),
}
_KINDS = tuple(_BACKDROPS)


class Scene:
    """The surroundings of one bird, drawn behind it and then in front of it.

    Args:
        size: Height and width of the image in pixels.
        rng: Source of all its chance.

    Attributes:
        objects: How many things were drawn so far; a canvas may leave some out by their number.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        self.kind = _KINDS[int(rng.integers(len(_KINDS)))]
        self.objects = 0

    def backdrop(self) -> Image.Image:
        """Return the blurred far distance at a fraction of the resolution."""
        top, bottom, blobs = _BACKDROPS[self.kind]
        side = -(-self.size // _COARSE)
        ramp = np.linspace(0, 1, side)[:, None, None]
        tilt = self.rng.uniform(-0.3, 0.3) * np.linspace(-1, 1, side)[None, :, None]
        share = np.clip(ramp + tilt, 0, 1)
        jitter = self.rng.uniform(-14, 14, 3)
        rows = np.asarray(top) * (1 - share) + np.asarray(bottom) * share + jitter
        image = Image.fromarray(np.clip(rows, 0, 255).astype(np.uint8))
        draw = ImageDraw.Draw(image, "RGBA")
        flat = 0.3 if self.kind == "shore" else 0.45 if self.kind == "sky" else 1.0
        for x, y, r, alpha in self.rng.random((int(self.rng.integers(14, 26)), 4)):
            colour = blobs[int(self.rng.integers(len(blobs)))]
            radius = side * (0.04 + 0.14 * r**2)
            x, y = x * side, y * side
            box = [x - radius / flat, y - radius * flat, x + radius / flat, y + radius * flat]
            draw.ellipse(box, fill=(*colour, int(50 + 110 * alpha)))
        return image.filter(ImageFilter.GaussianBlur(0.023 * side))

    def _next(self, canvas: Canvas) -> Canvas:
        """Return where the next thing is drawn."""
        self.objects += 1
        return canvas.showing(self.objects - 1)

    def behind(self, canvas: Canvas, pose: Pose) -> None:
        """Draw perch and clutter behind the bird."""
        rng, (top, bottom, _) = self.rng, _BACKDROPS[self.kind]
        foliage = mix(bottom, (60, 110, 66), 0.5)
        for _ in range(int(rng.integers(1, 4))):
            sprig(self._next(canvas), rng, mix(foliage, top, rng.uniform(0.1, 0.5)))
        if self.kind == "meadow":
            draw_ground(self._next(canvas), rng, pose, mix(bottom, (96, 104, 60), 0.35))
        elif self.kind == "shore":
            draw_rock(self._next(canvas), rng, pose, mix(bottom, (70, 110, 140), 0.3))
        else:
            draw_branch(self._next(canvas), rng, pose)
        self._adrift(canvas, int(rng.integers(2, 6)))

    def front(self, canvas: Canvas, pose: Pose) -> None:
        """Draw what is between the viewer and the bird: a little, and not always."""
        rng, size = self.rng, self.size
        if self.kind == "meadow":
            for _ in range(int(rng.integers(6, 14))):
                grow = (blade, blade, stalk)[int(rng.integers(3))]
                root = np.array([rng.uniform(0, size), rng.uniform(pose.feet[1], 1.04 * size)])
                grow(self._next(canvas), rng, root, size * rng.uniform(0.07, 0.2))
        if self.kind in ("meadow", "shore"):
            for _ in range(int(rng.integers(1, 4))):
                at = np.array([rng.uniform(0, size), rng.uniform(pose.feet[1] + 0.04 * size, size)])
                stone(self._next(canvas), rng, frame_at(at, size * rng.uniform(0.02, 0.05), 0.0))
        if rng.random() < 0.35:
            self._adrift(canvas, 1)

    def _adrift(self, canvas: Canvas, count: int) -> None:
        """Draw leaves and butterflies in the air, anywhere."""
        rng, size = self.rng, self.size
        for _ in range(count):
            thing = (loose_leaf, loose_leaf, butterfly)[int(rng.integers(3))]
            at = rng.uniform(0, size, 2)
            frame = frame_at(at, size * rng.uniform(0.03, 0.055), rng.uniform(-1.2, 1.2))
            thing(self._next(canvas), rng, frame)
