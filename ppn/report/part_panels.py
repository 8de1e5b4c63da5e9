"""The named parts, laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ppn.visualization.images import patch_crop
from ppn.visualization.numbers import number, percent
from ppn.visualization.palette import identity_colour, ink_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.report.parts import ClassCard, NamedPart

_THUMBNAIL = 112


class Place(NamedTuple):
    """A part on one class: its nearest training patch as a data URI, None where there is none."""

    name: str
    crop: str | None
    share: str


class Told(NamedTuple):
    """How much of a class's lead over its rival comes from a part, printed."""

    name: str
    rival: str
    part: str
    lead: str


@dataclass(frozen=True)
class PartPanel:
    """One named part, or entry; `shared` whether it is an entry."""

    title: str
    shared: bool
    colour: str
    ink: str
    remainder: bool
    share: str
    accuracy: str
    consistent: str
    places: list[Place]
    separates: list[Told]


def part_panel(part: NamedPart, cards: Sequence[ClassCard]) -> PartPanel:
    """Lay out one part.

    Args:
        part: The part.
        cards: The classes shown.
    """
    colour = identity_colour(part.index)
    places = [(card, part.position(card.label)) for card in cards]
    shown = [(card, card.prototypes[at]) for card, at in places if at is not None]
    prototypes = [own for _, own in shown]
    rated = [p.consistent for p in prototypes if p.consistent is not None]
    return PartPanel(
        title=part.name,
        shared=part.positions is not None,
        colour=colour,
        ink=ink_on(colour),
        remainder=part.remainder,
        share=percent(part.share),
        accuracy="" if part.accuracy is None else percent(part.accuracy),
        consistent=f"{sum(rated)} of {len(rated)} classes" if rated else "",
        places=[
            Place(
                card.name,
                patch_crop(own.patches[0], _THUMBNAIL) if own.patches else None,
                percent(part.shares.get(card.label)),
            )
            for card, own in shown
        ],
        separates=[
            Told(one.name, one.rival, f"{one.part:+.2f}", number(one.lead))
            for one in part.separates
        ],
    )
