"""What a bird stands on: a branch, the ground or a rock in the water."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppn.data.synthetic.clutter import GREENS, choose, frame_at, leaf
from ppn.data.synthetic.curves import ellipse, ribbon, spline
from ppn.data.synthetic.drawing import Canvas, Colour, darker, lighter, mix

if TYPE_CHECKING:
    from ppn.data.synthetic.pose import Pose


def draw_branch(canvas: Canvas, rng: np.random.Generator, pose: Pose) -> None:
    """Draw a branch across the picture, under the bird's feet."""
    size, (x, y) = canvas.size, pose.feet
    thick = pose.unit * rng.uniform(0.12, 0.2)
    slope, bend = rng.uniform(-0.08, 0.08), rng.uniform(-0.03, 0.08) * size
    level = y + 0.42 * thick
    xs = np.array([-0.06 * size, 0.5 * x, x, 0.5 * (x + size), 1.06 * size])
    ys = level + slope * (xs - x) + bend * ((xs - x) / size) ** 2 * 2
    path = spline(np.stack([xs, ys], 1), closed=False)
    bark = mix((122, 92, 70), (92, 84, 80), rng.random())
    widths = np.array([1.15, 1.05, 1.0, 0.9, 0.7])[:: 1 if rng.random() < 0.5 else -1] * thick
    up = np.array([0.0, -thick])
    canvas.polygon(ribbon(path, widths), bark)
    canvas.stroke(path + 0.24 * up, 0.3 * widths, (*lighter(bark, 0.5), 90))
    canvas.stroke(path - 0.3 * up, 0.4 * widths, (*darker(bark, 0.6), 90))
    for at in path[rng.integers(len(path), size=int(rng.integers(2, 5)))]:
        angle = rng.uniform(0.4, 2.7) * (1 if rng.random() < 0.6 else -1)
        leaf(canvas, frame_at(at, size * rng.uniform(0.09, 0.17), angle), choose(rng, GREENS))


def draw_ground(canvas: Canvas, rng: np.random.Generator, pose: Pose, colour: Colour) -> None:
    """Draw the ground a bird stands on, with its shadow."""
    size, (x, y) = canvas.size, pose.feet
    horizon = y - pose.unit * rng.uniform(0.05, 0.25)
    xs = np.linspace(-0.1, 1.1, 6) * size
    crest = spline(np.stack([xs, horizon + rng.normal(0, 0.012 * size, 6)], 1), closed=False)
    corners = np.array([[1.1 * size, 1.1 * size], [-0.1 * size, 1.1 * size]])
    canvas.polygon(np.concatenate([crest, corners]), colour)
    for _ in range(6):
        at = [rng.uniform(0, size), rng.uniform(y, size)]
        tone = darker(colour, 0.3) if rng.random() < 0.5 else lighter(colour, 0.3)
        canvas.polygon(ellipse(at, size * rng.uniform(0.05, 0.2), size * 0.012), (*tone, 90))
    shadow = (*darker(colour, 0.8), 100)
    canvas.polygon(ellipse([x, y + 0.03 * pose.unit], 0.5 * pose.unit, 0.06 * pose.unit), shadow)


def draw_rock(canvas: Canvas, rng: np.random.Generator, pose: Pose, water: Colour) -> None:
    """Draw water with ripples and the rock in it a bird stands on."""
    size, (x, y) = canvas.size, pose.feet
    surface = y - pose.unit * rng.uniform(0.1, 0.5)
    below = np.array([[0.0, surface], [size, surface], [size, size], [0.0, size]])
    canvas.polygon(below, water)
    for _ in range(9):
        at = [rng.uniform(0, size), rng.uniform(surface, size)]
        tone = lighter(water, 0.5) if rng.random() < 0.6 else darker(water, 0.3)
        canvas.polygon(ellipse(at, size * rng.uniform(0.05, 0.2), size * 0.008), (*tone, 100))
    grey = mix((128, 122, 120), (100, 98, 106), rng.random())
    width, height = pose.unit * rng.uniform(0.6, 0.9), size - y
    contour = np.array([[-1, 1.2], [-0.86, 0.25], [-0.4, 0.0], [0.35, -0.02], [0.8, 0.3], [1, 1.2]])
    rock = np.array([x, y]) + contour * [width, height + 0.1 * size]
    canvas.polygon(spline(rock), grey)
    canvas.polygon(spline(rock * [0.8, 0.3] + [0.2 * x, 0.7 * y]), (*lighter(grey, 0.5), 80))
    shadow = (*darker(grey, 0.7), 110)
    canvas.polygon(ellipse([x, y + 0.03 * pose.unit], 0.4 * pose.unit, 0.05 * pose.unit), shadow)
