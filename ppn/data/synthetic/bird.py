"""One bird, part over part, from the far leg to the near wing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppn.data.synthetic.anatomy import PART_NAMES, Anatomy
from ppn.data.synthetic.drawing import Canvas, darker
from ppn.data.synthetic.head import draw_head, head_frame
from ppn.data.synthetic.torso import (
    BODY_POINTS,
    WING_POINT,
    draw_body,
    draw_far_wing,
    draw_leg,
    draw_tail,
    draw_wing,
    wing_frame,
)

if TYPE_CHECKING:
    from ppn.data.synthetic.curves import Points
    from ppn.data.synthetic.plumage import Plumage
    from ppn.data.synthetic.pose import Pose


def draw_bird(
    canvas: Canvas, anatomy: Anatomy, plumage: Plumage, pose: Pose, rng: np.random.Generator
) -> Points:
    """Draw a bird and return its keypoints (P, 2) in pixels, in the order of `PART_NAMES`."""
    body = pose.body_frame()
    if pose.wing > 0.2:
        draw_far_wing(canvas.showing("wing"), body, plumage, pose.wing)
    points = _draw_legs(canvas.showing("legs"), anatomy, plumage, pose)
    points["tail"] = draw_tail(canvas.showing("tail"), body, plumage, anatomy.tail, pose.tail)
    draw_body(canvas, body, plumage, anatomy.breast, rng)
    points |= {name: body(point) for name, point in BODY_POINTS.items()}
    head = head_frame(body, pose.head + 0.5 * pose.pitch, pose.glance, (pose.depth, pose.plump))
    points |= draw_head(
        canvas, head, plumage, anatomy.crown, anatomy.beak, anatomy.eye, pose.glance
    )
    wing = wing_frame(body, pose.wing)
    draw_wing(canvas.showing("wing"), wing, plumage, anatomy.wing)
    points["wing"] = wing(WING_POINT)
    return np.stack([points[name] for name in PART_NAMES])


def _draw_legs(canvas: Canvas, anatomy: Anatomy, plumage: Plumage, pose: Pose) -> dict[str, Points]:
    # A bird that looks right shows its right side.
    near, far = ("right leg", "left leg") if pose.facing > 0 else ("left leg", "right leg")
    ground = pose.ground_frame()
    points = {}
    for part, side, colour in ((far, 1, darker(plumage.legs, 0.25)), (near, -1, plumage.legs)):
        hip = np.array([0.22 * side * pose.stride + 0.02, -pose.legs - 0.06])
        foot = 0.5 * side * pose.stride
        points[part] = draw_leg(canvas, ground, hip, foot, colour, part)
    return points
