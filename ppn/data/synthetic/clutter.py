"""Small things around a bird: leaves, berries, flowers, butterflies, stones and grass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppn.data.synthetic.curves import Frame, Points, ellipse, spline
from ppn.data.synthetic.drawing import BACKGROUND, Canvas, Colour, darker, lighter, mix
from ppn.data.synthetic.plumage import CROWNS, LEGS, MARKS

if TYPE_CHECKING:
    from collections.abc import Sequence

# The colours that mark classes occur everywhere: seeing one somewhere proves nothing.
VIVID = (*CROWNS.values(), *LEGS.values(), MARKS["white"], MARKS["gold"])
GREENS: tuple[Colour, ...] = ((96, 142, 76), (70, 120, 84), (138, 160, 74), (168, 128, 60))
_LEAF = np.array([[0, 0], [0.3, -0.2], [0.65, -0.17], [1, 0], [0.65, 0.17], [0.3, 0.2]])
_LEAF_OUTLINE = spline(_LEAF)
_LEAF_LIT = spline(np.concatenate([_LEAF[:4], [[0.5, 0.0]]]))
_LEAF_VEIN = np.array([[0.05, 0.0], [0.5, 0.01], [0.95, 0.0]])
_PETALS = [[0.62 * np.cos(a), 0.62 * np.sin(a)] for a in np.arange(5) * 2 * np.pi / 5]


def choose(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """Draw one of the colours."""
    return colours[int(rng.integers(len(colours)))]


def frame_at(point: Points, length: float, angle: float) -> Frame:
    """Return a frame at a point in pixels, of a unit `length`, turned clockwise by `angle`."""
    return Frame(np.eye(2), point).child([0, 0], angle, (length, length))


def leaf(canvas: Canvas, frame: Frame, colour: Colour) -> None:
    """Draw a leaf from the origin of `frame` along x, of length 1."""
    canvas.polygon(frame(_LEAF_OUTLINE), colour, BACKGROUND)
    canvas.polygon(frame(_LEAF_LIT), (*lighter(colour, 0.5), 60))
    canvas.stroke(frame(_LEAF_VEIN), 0.035 * frame.unit, darker(colour, 0.3))


def sprig(canvas: Canvas, rng: np.random.Generator, tone: Colour) -> None:
    """Draw a leafy twig that reaches into the picture from its edge, often with fruit or bloom."""
    size = canvas.size
    angle = rng.uniform(0, 2 * np.pi)
    inward = np.array([np.cos(angle), np.sin(angle)]) * size
    start = 0.5 * size - 0.72 * inward
    bend = rng.normal(0, 0.04 * size, 2)
    reach = rng.uniform(0.36, 0.48)
    stem = spline(
        np.stack([start, start + 0.55 * reach * inward + bend, start + reach * inward]),
        closed=False,
    )
    canvas.stroke(stem, [0.02 * size, 0.006 * size], darker(tone, 0.25))
    for i, at in enumerate(stem[3::2]):
        turn = angle + (0.8 if i % 2 else -0.8) + rng.uniform(-0.3, 0.3)
        leaf(canvas, frame_at(at, size * rng.uniform(0.08, 0.15), turn), tone)
    adornment = (berries, flower, None)[int(rng.integers(3))]
    if adornment is not None:
        for at in (stem[-1], stem[-4]):
            adornment(canvas, rng, frame_at(at, size * rng.uniform(0.03, 0.05), angle))


def loose_leaf(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw a leaf adrift, green, withered or in one of the classes' colours."""
    vivid = rng.random() < 0.4
    colour = mix(choose(rng, VIVID), (120, 90, 60), 0.3) if vivid else choose(rng, GREENS)
    leaf(canvas, frame.child([0, 0], 0.0, (2.2, 2.2)), colour)


def butterfly(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw a butterfly in one of the classes' colours."""
    colour = choose(rng, VIVID)
    fold = rng.uniform(0.55, 1.0)
    for side in (-1, 1):
        for at, radii in (((0.5, -0.42), (0.55, 0.42)), ((0.38, 0.34), (0.4, 0.34))):
            outline = ellipse([0, 0], *radii)
            wing = frame.child([side * at[0] * fold, at[1]], -0.5 * side, (fold, 1.0))
            canvas.polygon(wing(outline), darker(colour, 0.35), BACKGROUND)
            canvas.polygon(wing(outline * 0.74), colour)
    canvas.polygon(frame(ellipse([0, 0], 0.1, 0.55)), (52, 44, 48), BACKGROUND)


def stone(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw a pebble."""
    grey = mix((150, 144, 138), (104, 106, 118), rng.random())
    angles = np.arange(6) * np.pi / 3
    radii = rng.uniform(0.65, 1.0, 6)
    outline = spline(np.stack([np.cos(angles) * radii * 1.3, np.sin(angles) * radii * 0.7], 1))
    canvas.polygon(frame(outline), grey, BACKGROUND)
    canvas.polygon(frame(outline * 0.55 - np.array([0.1, 0.15])), (*lighter(grey, 0.6), 90))


def berries(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw one to three berries in one of the classes' colours."""
    colour = choose(rng, VIVID)
    for x, y in rng.uniform(-0.8, 0.8, (int(rng.integers(1, 4)), 2)):
        canvas.polygon(frame(ellipse([x, y], 0.52)), colour, BACKGROUND)
        canvas.polygon(frame(ellipse([x + 0.12, y + 0.15], 0.34)), (*darker(colour, 0.6), 60))
        canvas.polygon(frame(ellipse([x - 0.16, y - 0.18], 0.14)), (255, 255, 255, 170))


def flower(canvas: Canvas, rng: np.random.Generator, frame: Frame) -> None:
    """Draw a flower seen from above, in two of the classes' colours."""
    colour = choose(rng, VIVID)
    for petal in _PETALS:
        canvas.polygon(frame(ellipse(petal, 0.44)), colour, BACKGROUND)
    canvas.polygon(frame(ellipse([0, 0], 0.36)), choose(rng, VIVID))


def stalk(canvas: Canvas, rng: np.random.Generator, root: Points, height: float) -> None:
    """Draw a flower on its stalk."""
    lean = rng.normal(0, 0.25) * height
    sway = np.array([[0, 0], [0.2 * lean, -0.6 * height], [lean, -height]])
    path = spline(root + sway, closed=False)
    green = choose(rng, GREENS[:3])
    canvas.stroke(path, 0.011 * canvas.size, green, BACKGROUND)
    leaf(canvas, frame_at(path[4], 0.45 * height, -0.7), green)
    flower(canvas, rng, frame_at(path[-1], canvas.size * rng.uniform(0.028, 0.045), lean))


def blade(canvas: Canvas, rng: np.random.Generator, root: Points, height: float) -> None:
    """Draw a blade of grass."""
    lean = rng.normal(0, 0.4) * height
    sway = np.array([[0, 0], [0.3 * lean, -0.6 * height], [lean, -height]])
    widths = np.array([0.02, 0.014, 0.002]) * canvas.size
    canvas.stroke(spline(root + sway, closed=False), widths, choose(rng, GREENS), BACKGROUND)
