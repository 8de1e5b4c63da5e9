"""The paint box: colours that mark a class, and those that vary from bird to bird."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppn.data.synthetic.drawing import Colour, darker, lighter, mix

if TYPE_CHECKING:
    from ppn.data.synthetic.anatomy import Anatomy

CROWNS: dict[str, Colour] = {
    "ember": (205, 48, 38),
    "gold": (244, 190, 44),
    "ink": (38, 34, 46),
    "azure": (38, 108, 204),
}
BEAKS: dict[str, Colour] = {
    "orange": (238, 130, 38),
    "dark": (46, 42, 50),
    "yellow": (246, 206, 70),
    "red": (196, 40, 56),
}
LEGS: dict[str, Colour] = {
    "orange": (240, 136, 34),
    "slate": (70, 78, 96),
    "rose": (226, 112, 138),
}
TAILS: dict[str, Colour] = {
    "dark": (52, 46, 58),
    "rufous": (184, 84, 42),
    "white-tipped": (84, 78, 84),
    "azure": (46, 110, 196),
}
MARKS: dict[str, Colour] = {
    "white": (252, 248, 238),
    "gold": (246, 196, 58),
    "yellow": (252, 212, 60),
    "dark": (66, 44, 44),
}


@dataclass(frozen=True)
class Plumage:
    """The colours of one bird; those before `crown` say nothing of its class."""

    upper: Colour
    wing: Colour
    lower: Colour
    throat: Colour
    crown: Colour
    beak: Colour
    legs: Colour
    tail: Colour

    @classmethod
    def sample(cls, anatomy: Anatomy, rng: np.random.Generator) -> Plumage:
        """Draw a bird's colours: the body's at random, the parts' by class with a slight jitter."""
        hue, saturation, value, warmth, pale, bib = rng.random(6)
        upper = _hsv(hue, 0.16 + 0.26 * saturation, 0.50 + 0.24 * value)
        cream = mix((255, 244, 222), (255, 226, 186), warmth)
        lower = mix(cream, upper, 0.28 * pale)

        def jitter(colour: Colour) -> Colour:
            shifted = np.clip(np.asarray(colour) + rng.integers(-10, 11, 3), 0, 255)
            return tuple(shifted.tolist())

        return cls(
            upper=upper,
            wing=darker(upper, 0.34),
            lower=lower,
            throat=lighter(lower, 0.4) if bib < 0.5 else mix(lower, upper, 0.45),
            crown=jitter(CROWNS[anatomy.crown.split()[0]]),
            beak=jitter(BEAKS[anatomy.beak.split()[0]]),
            legs=jitter(LEGS[anatomy.legs]),
            tail=jitter(TAILS[anatomy.tail.split()[0]]),
        )


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))
