"""Head: crown and crest, face, eye and beak."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppn.data.synthetic.curves import Frame, ellipse, region, spline
from ppn.data.synthetic.drawing import Canvas, darker, lighter, mix
from ppn.data.synthetic.plumage import MARKS

if TYPE_CHECKING:
    from ppn.data.synthetic.plumage import Plumage

RADIUS = 0.30  # of the head, in body lengths
CENTRE = (0.44, -0.50)

# Control points of the head in head radii, from the forehead over the crown to the chin.
_OUTLINE = spline(
    [
        [0.98, -0.08],
        [0.78, -0.62],
        [0.26, -0.98],
        [-0.36, -0.95],
        [-0.86, -0.52],
        [-1.02, 0.10],
        [-0.90, 0.72],
        [-0.10, 1.06],
        [0.58, 0.88],
        [0.92, 0.40],
    ]
)
_CROWN = region(_OUTLINE, 0, 4, [[-0.55, -0.36], [0.0, -0.46], [0.5, -0.44], [0.8, -0.22]])
_NAPE = region(_OUTLINE, 4, 6, [[-0.5, 0.55], [-0.45, 0.0]])
_THROAT = region(_OUTLINE, 7, 9, [[0.72, 0.28], [0.35, 0.36], [0.0, 0.62]])
_CREST = (  # root, bend and tip of each feather, the hindmost first
    ((-0.70, -0.62), (-1.15, -0.80), (-1.55, -0.72)),
    ((-0.48, -0.80), (-0.95, -1.20), (-1.42, -1.22)),
    ((-0.15, -0.88), (-0.55, -1.40), (-1.02, -1.62)),
)
EYE = (0.36, -0.10)
HEAD_POINTS = {"crown": (0.14, -0.72), "nape": (-0.82, 0.06), "throat": (0.52, 0.62)}
_LENGTHS = {"cone": 0.62, "needle": 1.05, "dagger": 0.95, "hook": 0.78}


def head_frame(body: Frame, tilt: float, glance: float, stretch: tuple[float, float]) -> Frame:
    """Return the frame of the head: x to the beak, y down, 1 is its radius.

    Args:
        body: Frame of the body.
        tilt: Turn in radians, positive lowers the beak.
        glance: Foreshortening of the head along x, negative when it looks back.
        stretch: Scale of the body along x and y, which the head does not share.
    """
    neck = body.child(CENTRE, 0.0, (1 / stretch[0], 1 / stretch[1]))
    # A head turned to the viewer stays round: only what sits on it moves.
    side = 1.0 if glance > 0 else -1.0
    return neck.child([0, 0], tilt * side, (RADIUS * side, RADIUS))


def draw_head(
    canvas: Canvas, frame: Frame, plumage: Plumage, crown: str, beak: str, eye: str, glance: float
) -> dict[str, np.ndarray]:
    """Draw the head of the class and return its keypoints in pixels."""
    turn = abs(glance)
    top = canvas.showing("crown")
    tip = _draw_beak(canvas.showing("beak"), frame, plumage, beak.split()[1], turn)
    if crown.endswith("crest"):
        _draw_crest(top, frame, plumage)
    canvas.polygon(frame(_OUTLINE), plumage.upper, "throat")
    canvas.polygon(frame(_NAPE), plumage.upper, "nape")
    canvas.polygon(frame(_THROAT), plumage.throat, "throat")
    top.polygon(frame(_CROWN), plumage.crown, "crown")
    shine = region(_OUTLINE, 1, 3, [[-0.1, -0.8], [0.4, -0.74]])
    top.polygon(frame(shine), (*lighter(plumage.crown, 0.6), 70))
    cheek = spline([[0.05, 0.2], [-0.3, 0.1], [-0.45, 0.35], [-0.1, 0.5]])
    canvas.polygon(frame(cheek), (*lighter(plumage.upper, 0.5), 60))
    centre = np.array([EYE[0] - 0.5 * (1 - turn), EYE[1]])
    _draw_eye(canvas.showing("eye"), frame.child(centre), eye)
    points = {name: frame(point) for name, point in HEAD_POINTS.items()}
    return {**points, "eye": frame(centre), "beak": tip}


def _draw_crest(canvas: Canvas, frame: Frame, plumage: Plumage) -> None:
    for i, feather in enumerate(_CREST):
        tone = mix(plumage.crown, darker(plumage.crown, 0.35), 0.6 - 0.3 * i)
        widths = [0.5 * frame.unit, 0.36 * frame.unit, 0.03 * frame.unit]
        canvas.stroke(frame(spline(feather, False)), widths, tone, "crown")


def _draw_eye(canvas: Canvas, frame: Frame, ring: str) -> None:
    if ring != "plain":
        canvas.polygon(frame(ellipse([0, 0], 0.34)), MARKS[ring.split()[0]], "eye")
    canvas.polygon(frame(ellipse([0, 0], 0.215)), (30, 24, 28), "eye")
    canvas.polygon(frame(ellipse([0, 0.02], 0.16)), (74, 46, 34))
    canvas.polygon(frame(ellipse([0.0, 0.0], 0.12)), (16, 12, 16))
    canvas.polygon(frame(ellipse([0.07, -0.08], 0.06)), (255, 255, 255))


def _draw_beak(
    canvas: Canvas, frame: Frame, plumage: Plumage, shape: str, turn: float
) -> np.ndarray:
    """Draw the beak and return its keypoint in pixels."""
    length = _LENGTHS[shape] * (1 - 1.1 * (1 - turn))
    root = frame.child([0.78, 0.12], 0.06, (length + 0.2, 1.0))
    upper, lower = {
        "cone": (
            [[0, -0.34], [0.5, -0.27], [1, 0.06], [0.5, 0.10], [0, 0.04]],
            [[0, 0.04], [0.5, 0.08], [0.92, 0.08], [0.5, 0.24], [0, 0.30]],
        ),
        "needle": (
            [[0, -0.15], [0.5, -0.09], [1, 0.08], [0.5, 0.05], [0, 0.04]],
            [[0, 0.04], [0.5, 0.04], [0.97, 0.09], [0.5, 0.13], [0, 0.17]],
        ),
        "dagger": (
            [[0, -0.24], [0.5, -0.2], [1, 0.02], [0.5, 0.06], [0, 0.05]],
            [[0, 0.05], [0.5, 0.05], [0.97, 0.04], [0.5, 0.18], [0, 0.24]],
        ),
        "hook": (
            [[0, -0.28], [0.5, -0.30], [0.98, -0.08], [0.96, 0.34], [0.8, 0.1], [0, 0.05]],
            [[0, 0.05], [0.4, 0.07], [0.78, 0.1], [0.5, 0.22], [0, 0.25]],
        ),
    }[shape]
    canvas.polygon(root(spline(lower)), darker(plumage.beak, 0.28), "beak")
    canvas.polygon(root(spline(upper)), plumage.beak, "beak")
    gloss = spline([[0.25, -0.16], [0.45, -0.14], [0.6, -0.06], [0.4, -0.08]])
    canvas.polygon(root(gloss), (*lighter(plumage.beak, 0.7), 120))
    return root([0.52, 0.0])
