"""The classes' prototypes, laid out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ppn.explanation.record import part_title
from ppn.visualization.heatmap import crop_patch, overlay
from ppn.visualization.images import CONTEXT, CROP, WHOLE, data_uri, fit, patch_crop, patch_in_image
from ppn.visualization.numbers import number, percent
from ppn.visualization.palette import identity_colour, ink_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppn.explanation.record import Patch
    from ppn.report.parts import ClassCard, Prototype, Sighting

_PATCHES = 5
_THUMBNAIL = 48
_MORE = 64
_PLACE = 60
_IN_A_ROW = 10


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
    anchor: str
    flags: tuple[str, ...]
    outside: str
    place: str | None
    more: str | None
    further: int
    sightings: list[tuple[str, str]]


@dataclass(frozen=True)
class Panel:
    """One class; `anchor` names it in the page's address."""

    anchor: str
    name: str
    key: str
    rows: list[Row]
    images: str
    accuracy: str | None


@dataclass(frozen=True)
class Sizes:
    """Longer sides of pictures in pixels, how many images a part is seen on, and their files."""

    crop: int = CROP
    whole: int = WHOLE
    sighting: int = 112
    sightings: int = 6
    compact: bool = False


ALONE = Sizes(crop=88, whole=116, sighting=80, sightings=5, compact=True)
"""Of a class's own page: there are many of them."""


def panel(card: ClassCard, sizes: Sizes | None = None) -> Panel:
    """Lay out one class."""
    total = sum(abs(p.share) for p in card.prototypes if p.share is not None)
    return Panel(
        anchor=class_anchor(card.label),
        name=card.name,
        key=card.name.casefold(),
        rows=[_row(card.label, p, total, sizes or Sizes()) for p in card.prototypes],
        images=number(card.images),
        accuracy=None if card.accuracy is None else percent(card.accuracy),
    )


def class_anchor(label: int) -> str:
    """What a class is called in the address of a page."""
    return f"class-{label}"


def part_anchor(label: int, index: int) -> str:
    """What a prototype is called there."""
    return f"{class_anchor(label)}-part-{index + 1}"


def _row(label: int, prototype: Prototype, total: float, sizes: Sizes) -> Row:
    colour = identity_colour(prototype.index)
    nearest, rest = prototype.patches[:_PATCHES], prototype.patches[_PATCHES:]
    return Row(
        title=prototype.name or part_title(prototype.index),
        colour=colour,
        ink=ink_on(colour),
        pictures=[
            PatchPicture(
                crop=patch_crop(p, sizes.crop, sizes.compact),
                whole=patch_in_image(p, colour, sizes.whole, sizes.compact),
                name=p.name,
                caption=PurePath(p.name).stem or p.name,
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
        anchor=part_anchor(label, prototype.index),
        flags=prototype.flags,
        outside="" if prototype.outside is None else percent(prototype.outside),
        place=None if prototype.place is None else _place(prototype.place, colour),
        more=_tiles(rest) if rest else None,
        further=len(rest),
        sightings=[
            (data_uri(_seen(s, sizes.sighting, colour), compact=sizes.compact), s.name)
            for s in prototype.sightings[: sizes.sightings]
        ],
    )


def _seen(sighting: Sighting, side: int, colour: str) -> Image.Image:
    size = fit(sighting.image, side)
    return overlay(sighting.image, sighting.heatmap, size, hue=colour, outline=False)


def _tiles(patches: list[Patch]) -> str:
    """Many patches as one picture, row by row."""
    columns = min(_IN_A_ROW, len(patches))
    whole = Image.new("RGB", (columns * _MORE, -(-len(patches) // columns) * _MORE), "white")
    for at, patch in enumerate(patches):
        tile = crop_patch(patch.image, patch.box, CONTEXT).resize((_MORE - 2, _MORE - 2))
        whole.paste(tile, (at % columns * _MORE, at // columns * _MORE))
    return data_uri(whole, compact=True)


def _place(grid: NDArray[np.floating[Any]], colour: str) -> str:
    """Where a part lands on the object, as a small picture: the darker, the more often."""
    share = np.clip(grid / max(float(grid.max()), 1e-12), 0, 1)[..., None]
    paint = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    cells = np.round(245 + share * (paint - 245)).astype(np.uint8)
    return data_uri(Image.fromarray(cells).resize((_PLACE, _PLACE), Image.Resampling.NEAREST))
