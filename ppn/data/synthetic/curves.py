"""Smooth outlines: splines, tapering ribbons, and the coordinate frames that they are drawn in."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
STEPS = 7  # points drawn per control point


class Frame(NamedTuple):
    """An affine frame of reference: its own coordinates to pixels.

    Attributes:
        matrix: (2, 2) columns are the frame's axes in pixels.
        origin: (2,) the frame's origin in pixels.
    """

    matrix: Points
    origin: Points

    def __call__(self, points: ArrayLike) -> Points:
        """Map (..., 2) points of the frame to pixels."""
        mapped: Points = np.asarray(points) @ self.matrix.T + self.origin
        return mapped

    def child(
        self, origin: ArrayLike, angle: float = 0.0, scale: tuple[float, float] = (1.0, 1.0)
    ) -> Frame:
        """Return a frame at `origin`, turned clockwise on screen by `angle` radians and scaled."""
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.array([[cos * scale[0], -sin * scale[1]], [sin * scale[0], cos * scale[1]]])
        return Frame(self.matrix @ turn, self(origin))

    @property
    def unit(self) -> float:
        """Length of the frame's unit in pixels, averaged over directions."""
        m = self.matrix
        return float(abs(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]) ** 0.5)


@lru_cache(maxsize=64)
def _basis(count: int, closed: bool) -> Points:
    """Weights of `count` control points in the points of a Catmull-Rom spline through them."""
    t = np.arange(STEPS)[:, None] / STEPS
    powers = np.concatenate([t**0, t, t**2, t**3], axis=1)
    segment = powers @ np.array(
        [[0, 1, 0, 0], [-0.5, 0, 0.5, 0], [1, -2.5, 2, -0.5], [-0.5, 1.5, -1.5, 0.5]]
    )
    segments = count if closed else count - 1
    basis = np.zeros((segments * STEPS + (not closed), count))
    for i in range(segments):
        for offset in range(4):
            j = i + offset - 1
            j = j % count if closed else min(max(j, 0), count - 1)
            basis[i * STEPS : (i + 1) * STEPS, j] += segment[:, offset]
    if not closed:
        basis[-1, -1] = 1
    return basis


def spline(points: ArrayLike, closed: bool = True) -> Points:
    """Return a smooth curve through the (n, 2) points, `STEPS` per point."""
    control = np.asarray(points, dtype=np.float64)
    curve: Points = _basis(len(control), closed) @ control
    return curve


def arc(outline: Points, start: int, stop: int) -> Points:
    """Return the part of a closed spline between two of its control points, both included."""
    return outline[np.arange(start * STEPS, stop * STEPS + 1) % len(outline)]


def region(outline: Points, start: int, stop: int, inner: ArrayLike) -> Points:
    """Return the area between an arc of an outline and a smooth curve that leads back inside it.

    Args:
        outline: (n, 2) closed spline.
        start: Control point at which the arc begins.
        stop: Control point at which it ends.
        inner: (m, 2) points on the way back, m >= 1.
    """
    edge = arc(outline, start, stop)
    back = spline(np.concatenate([edge[-1:], np.asarray(inner), edge[:1]]), closed=False)
    return np.concatenate([edge, back[1:-1]])


@lru_cache(maxsize=64)
def _between(given: int, wanted: int) -> Points:
    """Weights (wanted, given) that interpolate linearly between evenly spaced values."""
    at = np.linspace(0, given - 1, wanted)[:, None]
    weights: Points = np.clip(1 - np.abs(at - np.arange(given)), 0, 1)
    return weights


def ribbon(path: Points, widths: ArrayLike) -> Points:
    """Return the outline of a line of varying width.

    Args:
        path: (n, 2) the line.
        widths: Width at each point, or at evenly spaced points between which it is interpolated.
    """
    given = np.atleast_1d(np.asarray(widths, dtype=np.float64))
    width = _between(len(given), len(path)) @ given
    along = np.empty_like(path)
    along[1:-1] = path[2:] - path[:-2]
    along[0], along[-1] = path[1] - path[0], path[-1] - path[-2]
    length = np.hypot(along[:, 0], along[:, 1]) + 1e-9
    across = along[:, ::-1] * [-1.0, 1.0] * (width / (2 * length))[:, None]
    return np.concatenate([path + across, (path - across)[::-1]])


_CIRCLE = np.stack([np.cos(np.arange(20) * np.pi / 10), np.sin(np.arange(20) * np.pi / 10)], axis=1)


def ellipse(centre: ArrayLike, radius_x: float, radius_y: float | None = None) -> Points:
    """Return the outline of an ellipse; a circle without `radius_y`."""
    radii = [radius_x, radius_x if radius_y is None else radius_y]
    outline: Points = _CIRCLE * radii + np.asarray(centre)
    return outline
