"""The classes' prototypes, laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppn.explanation.record import part_title
from ppn.visualization.images import patch_crop, patch_in_image
from ppn.visualization.numbers import number, percent, short
from ppn.visualization.palette import identity_colour, ink_on

if TYPE_CHECKING:
    from ppn.report.content import ClassCard, Prototype

_PATCHES = 5
_THUMBNAIL = 48


@dataclass(frozen=True)
class PatchPicture:
    """One nearest patch: alone (`crop`) and in its image (`whole`), as data URIs."""

    crop: str
    whole: str
    name: str
    caption: str
    score: str


@dataclass(frozen=True)
class Row:
    """One prototype; `width` is its share in % of the sum of absolute shares."""

    title: str
    colour: str
    ink: str
    pictures: list[PatchPicture]
    thumbnail: str | None
    share: str
    negative: bool
    width: float
    cosine: str
    part: str | None
    rate: str
    consistent: bool | None


@dataclass(frozen=True)
class Panel:
    """One class."""

    name: str
    key: str
    rows: list[Row]
    images: str
    accuracy: str | None


def panel(card: ClassCard) -> Panel:
    """Lay out one class."""
    total = sum(abs(p.share) for p in card.prototypes if p.share is not None)
    return Panel(
        name=card.name,
        key=card.name.casefold(),
        rows=[_row(prototype, total) for prototype in card.prototypes],
        images=number(card.images),
        accuracy=None if card.accuracy is None else percent(card.accuracy),
    )


def _row(prototype: Prototype, total: float) -> Row:
    colour = identity_colour(prototype.index)
    nearest = prototype.patches[:_PATCHES]
    return Row(
        title=prototype.name or part_title(prototype.index),
        colour=colour,
        ink=ink_on(colour),
        pictures=[
            PatchPicture(
                crop=patch_crop(p),
                whole=patch_in_image(p, colour),
                name=p.name,
                caption=short(p.name),
                score=number(float(p.score)),
            )
            for p in nearest
        ],
        thumbnail=patch_crop(nearest[0], _THUMBNAIL) if nearest else None,
        share=percent(prototype.share),
        negative=(prototype.share or 0.0) < 0,
        width=round(100 * abs(prototype.share or 0.0) / total, 2) if total else 0.0,
        cosine=number(prototype.cosine),
        part=prototype.guess,
        rate=percent(prototype.part_rate) if prototype.part_rate is not None else "",
        consistent=prototype.consistent,
    )
