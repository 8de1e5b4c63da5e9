"""Body, breast pattern, wings, tail and legs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ppn.data.synthetic.curves import Frame, Points, ellipse, region, spline
from ppn.data.synthetic.drawing import Canvas, Colour, darker, lighter, mix
from ppn.data.synthetic.plumage import MARKS

if TYPE_CHECKING:
    from ppn.data.synthetic.plumage import Plumage

# Control points of the body in body lengths, clockwise from the root of the tail.
_BODY = np.array(
    [
        [-0.60, -0.05],
        [-0.30, -0.24],
        [0.08, -0.36],
        [0.36, -0.50],
        [0.60, -0.30],
        [0.62, 0.00],
        [0.42, 0.27],
        [0.05, 0.37],
        [-0.32, 0.24],
        [-0.60, 0.07],
    ]
)
_OUTLINE = spline(_BODY)
_BACK = region(_OUTLINE, 0, 3, [[0.30, -0.22], [0.0, -0.08], [-0.35, -0.02]])
_BREAST = region(_OUTLINE, 4, 6, [[0.24, 0.16], [0.20, -0.02], [0.30, -0.22]])
_UNDER = region(_OUTLINE, 4, 9, [[-0.30, 0.05], [0.05, 0.02], [0.30, -0.18]])
# Where spots and streaks sit on the breast, all inside it.
_FLECKS = np.array(
    [
        [x + 0.035 * (row % 2), y]
        for row, y in enumerate([-0.16, -0.06, 0.04, 0.14])
        for x in (0.29, 0.385, 0.48, 0.565)
        if x < 0.55 or row in (0, 2)
    ]
)
_TICKS = np.array([[-0.22, 0.2], [-0.06, 0.17], [-0.1, 0.29], [0.08, 0.27], [0.22, 0.24]])
_TICK = np.array([[0.05, -0.02], [0.0, 0.015], [-0.06, 0.0]])
_WING = spline(
    [
        [-0.02, 0.0],
        [0.16, -0.15],
        [0.5, -0.13],
        [0.98, -0.01],
        [0.72, 0.12],
        [0.42, 0.2],
        [0.1, 0.15],
    ]
)
BODY_POINTS = {"back": (-0.06, -0.288), "breast": (0.47, 0.03), "belly": (0.06, 0.29)}
WING_POINT = (0.42, 0.0)


def draw_body(
    canvas: Canvas, frame: Frame, plumage: Plumage, pattern: str, rng: np.random.Generator
) -> None:
    """Draw the body with the breast pattern of the class."""
    canvas.polygon(frame(_OUTLINE), plumage.upper, "belly")
    canvas.polygon(frame(_BACK), darker(plumage.upper, 0.14), "back")
    canvas.polygon(frame(_UNDER), plumage.lower)
    canvas.polygon(frame(_BREAST), plumage.upper)  # what a bird without a breast shows there
    breast = canvas.showing("breast")
    breast.polygon(frame(_BREAST), plumage.lower, "breast")
    shadow = (*darker(plumage.lower, 0.5), 70)
    for tick in _TICKS:
        path = spline(tick + _TICK, closed=False)
        canvas.stroke(frame(path), [0.0, 0.022 * frame.unit, 0.0], shadow)
    _draw_pattern(breast, frame, pattern, _FLECKS + rng.normal(0, 0.008, _FLECKS.shape))


def _draw_pattern(canvas: Canvas, frame: Frame, pattern: str, flecks: Points) -> None:
    dark = MARKS["dark"]
    if pattern == "band":
        path = spline([[0.618, -0.1], [0.45, -0.03], [0.24, -0.12]], False)
        canvas.stroke(frame(path), [0.13 * frame.unit, 0.14 * frame.unit, 0.05 * frame.unit], dark)
    elif pattern == "spots":
        for fleck in flecks:
            canvas.polygon(frame(ellipse(fleck, 0.029, 0.026)), dark)
    elif pattern == "streaks":
        for x, y in flecks:
            path = np.array([[x + 0.012, y - 0.06], [x, y], [x - 0.03, y + 0.075]])
            canvas.stroke(frame(path), [0.0, 0.04 * frame.unit, 0.0], dark)


def wing_frame(body: Frame, raised: float) -> Frame:
    """Return the frame of the near wing: x from shoulder to tip, y down when folded."""
    return body.child([0.27, -0.09], raised, (-1.0, 1.0)).child([0, 0], 0.1)


def draw_wing(canvas: Canvas, frame: Frame, plumage: Plumage, marks: str) -> None:
    """Draw the near wing with the bars of the class."""
    unit = frame.unit
    edge = darker(plumage.wing, 0.45)
    for i in range(6):  # primaries, the uppermost last
        y = 0.14 - 0.028 * i
        path = spline(
            [[0.38, y * 0.8], [0.7, y * 0.75], [0.80 + 0.05 * i, y * 0.45 - 0.005]], False
        )
        tone = mix(plumage.wing, edge, 0.55 - 0.08 * i)
        canvas.stroke(frame(path), [0.07 * unit, 0.075 * unit, 0.02 * unit], tone, "wing")
    canvas.polygon(frame(_WING), plumage.wing, "wing")
    for i in range(4):
        y = 0.115 - 0.052 * i
        path = spline([[0.44, y + 0.02], [0.66, y * 0.72], [0.9 - 0.02 * i, y * 0.3]], False)
        canvas.stroke(frame(path), [0.0, 0.016 * unit, 0.0], (*edge, 190))
    _draw_coverts(canvas, frame, plumage)
    _draw_marks(canvas, frame, marks)


def _draw_coverts(canvas: Canvas, frame: Frame, plumage: Plumage) -> None:
    tone, rim = lighter(plumage.wing, 0.16), (*darker(plumage.wing, 0.3), 150)
    for row, x in enumerate((0.40, 0.26, 0.13)):
        for step in range(4 - (row == 2)):
            y = 0.125 - 0.07 * step
            canvas.polygon(frame(ellipse([x + 0.012 * step, y], 0.085, 0.045)), rim)
            canvas.polygon(frame(ellipse([x + 0.012 * step - 0.014, y], 0.08, 0.043)), tone)


def _draw_marks(canvas: Canvas, frame: Frame, marks: str) -> None:
    white = MARKS["white"]
    if marks == "gold panel":
        panel = spline([[0.40, 0.155], [0.47, -0.06], [0.74, -0.06], [0.66, 0.09]])
        canvas.polygon(frame(panel), MARKS["gold"])
        return
    for x in {"one bar": (0.47,), "two bars": (0.26, 0.47)}.get(marks, ()):
        for step in range(5):
            y = 0.15 - 0.06 * step
            feather = ellipse([x + 0.01 * step, y], 0.036, 0.034)
            canvas.polygon(frame(feather), white)


def draw_far_wing(canvas: Canvas, body: Frame, plumage: Plumage, raised: float) -> None:
    """Draw what shows of the other wing behind the body when the wings are raised."""
    frame = wing_frame(body, raised + 0.22).child([-0.05, -0.06], 0.0, (0.92, 0.9))
    canvas.polygon(frame(_WING), darker(plumage.wing, 0.28), "wing")


def draw_tail(canvas: Canvas, body: Frame, plumage: Plumage, shape: str, angle: float) -> Points:
    """Draw the tail of the class and return its keypoint in pixels."""
    frame = body.child([-0.50, 0.0], angle, (-1.0, 1.0))
    unit = frame.unit
    kind = shape.split()[-1]
    length, spread, count = {
        "fork": (0.62, 0.30, 6),
        "fan": (0.52, 0.52, 7),
        "square": (0.58, 0.16, 5),
        "lance": (0.92, 0.05, 3),
    }[kind]
    for i in sorted(range(count), key=lambda i: abs(i - (count - 1) / 2), reverse=True):
        side = 2 * i / (count - 1) - 1
        reach = length * (1 - 0.38 * (1 - abs(side)) if kind == "fork" else 1 - 0.12 * abs(side))
        end = np.array([reach * np.cos(spread * side), reach * np.sin(spread * side) + 0.03 * side])
        bend = [0.55 * end[0], 0.55 * end[1] + 0.03 * side]
        path = spline(np.array([[0.0, 0.05 * side], bend, end]), closed=False)
        tone = mix(plumage.tail, darker(plumage.tail, 0.4), 0.75 * (i % 2) + 0.1)
        widths = [0.09 * unit, 0.13 * unit, (0.02 if kind in ("lance", "fork") else 0.1) * unit]
        canvas.stroke(frame(path), widths, tone, "tail")
        if kind == "square":
            tip = path[-1] + (path[-4] - path[-1]) * np.array([[1.2], [0.5], [-0.1], [-0.3]])
            widths = [0.12 * unit, 0.12 * unit, 0.11 * unit, 0.06 * unit]
            canvas.stroke(frame(tip), widths, MARKS["white"], "tail")
    point = [0.42, 0.14] if kind == "fork" else [0.4, 0.0]
    return frame(point)


def draw_leg(
    canvas: Canvas, ground: Frame, hip: Points, foot: float, colour: Colour, part: str
) -> Points:
    """Draw a leg from the hip to the foot and return its keypoint in pixels.

    Args:
        canvas: Where to draw.
        ground: Frame of the ground, the feet at y = 0.
        hip: (2,) where the leg leaves the body, in the frame of the ground.
        foot: Where it stands, x in the frame of the ground.
        colour: Colour of the leg.
        part: Name of the leg.
    """
    unit = ground.unit
    heel = np.array([foot - 0.05, hip[1] * 0.5])
    toe = np.array([foot, -0.015])
    path = np.stack([hip, hip * 0.5 + heel * 0.5 + [0.01, 0], heel, heel * 0.4 + toe * 0.6, toe])
    canvas.stroke(ground(path), [0.1 * unit, 0.06 * unit, 0.052 * unit, 0.05 * unit], colour, part)
    for dx, dy in ((0.14, 0.0), (0.12, 0.035), (-0.09, 0.01)):
        bend = np.array([[0, 0], [dx * 0.6, dy * 0.5 - 0.02], [dx, dy + 0.02]])
        claw = spline(toe + bend, closed=False)
        canvas.stroke(ground(claw), [0.05 * unit, 0.042 * unit, 0.015 * unit], colour, part)
    return ground(heel * 0.5 + toe * 0.5)
