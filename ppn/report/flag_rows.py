"""The table of flagged prototypes, laid out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ppn.prototypes.flags import LIMITS, MEANINGS
from ppn.visualization.images import patch_crop
from ppn.visualization.numbers import number
from ppn.visualization.palette import identity_colour, ink_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.report.parts import ClassCard, Flagged

MOST = 500
_THUMBNAIL = 48


class FlagRow(NamedTuple):
    """One flag; `order` is what the value is sorted by, the worst first."""

    name: str
    title: str
    colour: str
    ink: str
    kind: str
    other: str | None
    value: str
    order: float
    crop: str | None


class FlagTable(NamedTuple):
    """`rows`, the worst first, at most `MOST` of `total`; `kinds` with their meaning and limit."""

    rows: list[FlagRow]
    total: int
    kinds: list[tuple[str, str, str]]


def flag_table(flags: Sequence[Flagged], cards: Sequence[ClassCard]) -> FlagTable:
    """Lay out the flags.

    Args:
        flags: All of them.
        cards: The classes shown, whose patches are at hand.
    """
    shown = {
        (card.label, own.index): own.patches[0]
        for card in cards
        for own in card.prototypes
        if own.patches
    }
    found = []
    for flag in flags:
        patch, colour = shown.get((flag.label, flag.index)), identity_colour(flag.index)
        found.append(
            FlagRow(
                flag.name,
                flag.title,
                colour,
                ink_on(colour),
                flag.kind,
                flag.other,
                number(flag.value),
                1 - flag.value if flag.kind == "little" else flag.value,
                patch_crop(patch, _THUMBNAIL) if patch else None,
            )
        )
    found.sort(key=lambda row: -row.order)
    there = {flag.kind for flag in flags}
    kinds = [
        (str(kind), MEANINGS[kind], f"{'at most' if kind == 'little' else 'at least'} {limit:g}")
        for kind, limit in LIMITS.items()
        if kind in there
    ]
    return FlagTable(found[:MOST], len(flags), kinds)
