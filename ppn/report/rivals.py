"""A mistake, laid out: the predicted class's parts beside those of the true class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppn.visualization.heatmap import overlay, scale_tops
from ppn.visualization.images import data_uri, fit, patch_crop
from ppn.visualization.palette import identity_colour, ink_on

if TYPE_CHECKING:
    from ppn.explanation.record import Explanation
    from ppn.explanation.versus import Versus
    from ppn.report.parts import ClassCard

_HEAT = 144


@dataclass(frozen=True)
class Side:
    """One part of one of the two classes; pictures are data URIs."""

    title: str
    colour: str
    ink: str
    part: str | None
    amount: str
    heat: str
    patch: str | None
    patch_name: str


@dataclass(frozen=True)
class Difference:
    """What sets two terms apart: `width` in % of the longest bar."""

    text: str
    width: float
    negative: bool


@dataclass(frozen=True)
class Row:
    """A pair of parts."""

    first: Side
    second: Side
    difference: Difference


@dataclass(frozen=True)
class Rivals:
    """The pair view, ready for the template."""

    versus: Versus
    rows: list[Row]
    bias: Difference
    total: Difference


def rivals(versus: Versus, cards: dict[int, ClassCard]) -> Rivals:
    """Lay out two explained classes of one image.

    Args:
        versus: The two.
        cards: The classes that the report shows, by label: they name the parts.
    """
    pairs, (mine, theirs, apart) = versus.pairs, versus.printed
    values = [*(pair.difference for pair in pairs), versus.bias, versus.difference]
    most = max(map(abs, values)) or 1.0
    shown = [
        Difference(text, round(100 * abs(value) / most, 2), value < 0)
        for text, value in zip(apart, values, strict=True)
    ]
    first = _sides(versus.first, cards, {p.first: t for p, t in zip(pairs, mine, strict=False)})
    second = _sides(
        versus.second, cards, {p.second: t for p, t in zip(pairs, theirs, strict=False)}
    )
    rows = [
        Row(first[pair.first], second[pair.second], difference)
        for pair, difference in zip(pairs, shown, strict=False)
    ]
    return Rivals(versus, rows, shown[-2], shown[-1])


def _sides(
    explanation: Explanation, cards: dict[int, ClassCard], printed: dict[int, str]
) -> list[Side]:
    card = cards.get(explanation.label)
    names = {p.index: p.part for p in card.prototypes} if card else {}
    image, sides = explanation.image, []
    for index, top in enumerate(scale_tops(explanation.maps)):
        colour = identity_colour(index)
        patch = explanation.patches[index] if explanation.carries[index] else None
        heat = overlay(image, explanation.maps[index], fit(image, _HEAT), top, colour)
        sides.append(
            Side(
                explanation.titles[index],
                colour,
                ink_on(colour),
                names.get(index),
                printed[index],
                data_uri(heat),
                patch_crop(patch, _HEAT) if patch else None,
                patch.name if patch else "",
            )
        )
    return sides
