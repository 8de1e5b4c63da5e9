"""How a bird stands: what varies in its outline without changing its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppn.data.synthetic.curves import Frame

if TYPE_CHECKING:
    from ppn.data.synthetic.curves import Points


@dataclass(frozen=True)
class Pose:
    """Where and how a bird stands; angles in radians, lengths in body lengths.

    Attributes:
        feet: (2,) the point it stands on, in pixels.
        unit: Length of the body in pixels.
        facing: 1 looks right, -1 left.
        pitch: How far the breast is raised.
        plump: Height of the body over its usual one.
        depth: Length of the body over its usual one, less than 1 where it is turned.
        head: Turn of the head against the body, positive is down.
        glance: 1 looks ahead, less is turned towards the viewer, negative looks back.
        wing: How far the wing is raised.
        tail: Angle of the tail against the body, positive is up.
        legs: Length of the visible legs.
        stride: Distance between the feet.
    """

    feet: Points
    unit: float
    facing: int
    pitch: float
    plump: float
    depth: float
    head: float
    glance: float
    wing: float
    tail: float
    legs: float
    stride: float

    @classmethod
    def sample(cls, size: int, rng: np.random.Generator) -> Pose:
        """Draw a pose within a square frame of `size` pixels."""
        share = rng.uniform(0.30, 0.42)
        # As far as nearly every bird stays within a central crop of 7/8.
        aside, up = max(0.02, 0.48 - 1.08 * share), 0.86 - 1.7 * share
        backwards = rng.random() < 0.1
        raised = rng.random() < 0.2
        facing = 1 if rng.random() < 0.5 else -1
        return cls(
            feet=np.array([0.5 + rng.uniform(-aside, aside), 0.88 - rng.uniform(0, up)]) * size,
            unit=share * size,
            facing=facing,
            pitch=rng.uniform(-0.12, 0.62),
            plump=rng.uniform(0.94, 1.12),
            depth=rng.uniform(0.88, 1.04),
            head=rng.uniform(-0.28, 0.32),
            glance=-0.95 if backwards else rng.uniform(0.72, 1.0),
            wing=rng.uniform(0.25, 0.85) if raised else rng.uniform(-0.10, 0.08),
            tail=rng.uniform(-0.3, 0.45),
            legs=rng.uniform(0.26, 0.42),
            stride=rng.uniform(0.12, 0.34),
        )

    def body_frame(self) -> Frame:
        """Return the body's frame: x to the breast, y down, 1 is the body's length."""
        hip = np.array([0.0, 0.27 * self.plump])
        upright = Frame(np.array([[self.facing, 0.0], [0.0, 1.0]]) * self.unit, self.feet)
        centre = np.array([0.0, -self.legs]) - _turned(hip, -self.pitch)
        return upright.child(centre, -self.pitch, (self.depth, self.plump))

    def ground_frame(self) -> Frame:
        """Return the frame at the feet: x to where the bird looks, y down, same unit."""
        return Frame(np.array([[self.facing, 0.0], [0.0, 1.0]]) * self.unit, self.feet)


def _turned(point: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Points = np.array([[cos, -sin], [sin, cos]]) @ point
    return turned
