"""One explained image, laid out: the staircase of contributions that climbs to the logit."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ppn.visualization.heatmap import overlay, scale_tops
from ppn.visualization.images import data_uri, fit, patch_crop, patch_in_image
from ppn.visualization.numbers import add_printed, percent, printed_sum
from ppn.visualization.palette import identity_colour, ink_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.explanation.record import Explanation
    from ppn.report.parts import ClassCard

_IMAGE = 320  # pixels of the longer side
_HEAT = 224
_THUMBNAIL = 96
_LEADING = 3  # parts that the opening equation shows where it has no room for all


@dataclass(frozen=True)
class Bar:
    """One step of the staircase; positions in % of the axis.

    `start` and `end` are the running sum before and after the term, `left` and `width` the bar.
    """

    start: float
    end: float
    left: float
    width: float
    text: str
    negative: bool


@dataclass(frozen=True)
class Part:
    """What one prototype does on one image; pictures are data URIs, None where there is none.

    A part that carries nothing looks like nothing: it has no patch.
    """

    title: str
    colour: str
    ink: str
    bar: Bar
    heat: str
    patch: str | None
    whole: str | None
    patch_name: str
    carries: bool
    share: str
    part: str | None
    cells: str | None = None
    agreement: str = ""


@dataclass(frozen=True)
class Steps:
    """One explanation, ready for the template.

    `leading` are the parts that open the page, `others` the printed sum of those left out there.
    """

    explanation: Explanation
    image: str
    thumbnail: str
    parts: list[Part]
    leading: list[Part]
    others: str
    bias: Bar
    total: Bar
    zero: float
    correct: bool | None


def steps(explanation: Explanation, card: ClassCard | None) -> Steps:
    """Lay out an explanation.

    Args:
        explanation: The explained image.
        card: The explained class, where the report shows it: it names the parts.
    """
    logit, order = explanation.logit, explanation.order
    terms = [*(explanation.contributions[index] for index in order), explanation.bias]
    sums = [0.0, *accumulate(terms)]
    low, high = min(*sums, logit), max(*sums, logit)
    extent = (high - low) or 1.0

    def at(value: float) -> float:
        return round(100 * (value - low) / extent, 3)

    def bar(before: float, after: float, text: str) -> Bar:
        left, right = sorted((at(before), at(after)))
        return Bar(at(before), at(after), left, round(right - left, 3), text, after < before)

    texts, total = printed_sum(terms, logit, explanation.adds_up)
    bars = [bar(*ends, text) for ends, text in zip(pairwise(sums), texts, strict=True)]
    names = {p.index: p.guess for p in card.prototypes} if card else {}
    tops = scale_tops(explanation.drawn)
    parts = [
        _part(explanation, index, bars[place], names.get(index), tops[index])
        for place, index in enumerate(order)
    ]
    leading, others = _opening(parts, terms)
    true = explanation.true_class
    return Steps(
        explanation=explanation,
        image=data_uri(explanation.image, _IMAGE),
        thumbnail=data_uri(explanation.image, _THUMBNAIL),
        parts=parts,
        leading=leading,
        others=others,
        bias=bars[-1],
        total=bar(0.0, logit, total),
        zero=at(0.0),
        correct=true == explanation.class_name if true else None,
    )


def _opening(parts: list[Part], contributions: Sequence[float]) -> tuple[list[Part], str]:
    """The parts that count most, in their order, and the printed sum of the others."""
    if len(parts) <= _LEADING + 1:
        return parts, ""
    order = sorted(range(len(parts)), key=lambda i: -abs(contributions[i]))
    chosen = set(order[:_LEADING])
    rest = [part.bar.text for i, part in enumerate(parts) if i not in chosen]
    return [part for i, part in enumerate(parts) if i in chosen], add_printed(rest)


def _part(explanation: Explanation, index: int, bar: Bar, name: str | None, top: float) -> Part:
    colour = identity_colour(index)
    carries = explanation.carries[index]
    patch = explanation.patches[index] if carries else None
    image, contributions = explanation.image, explanation.contributions
    heat = overlay(image, explanation.drawn[index], fit(image, _HEAT), top, colour)
    # Shares of a sum that is negative, or in which most cancels out, say nothing.
    together = sum(contributions)
    telling = together > 0.2 * sum(map(abs, contributions))
    return Part(
        title=explanation.titles[index],
        colour=colour,
        ink=ink_on(colour),
        bar=bar,
        heat=data_uri(heat),
        patch=patch_crop(patch, _HEAT) if patch else None,
        whole=patch_in_image(patch, colour, _HEAT) if patch else None,
        patch_name=patch.name if patch else "",
        carries=carries,
        share=percent(contributions[index] / together) if telling else "",
        part=name,
        **_beside(explanation, index),
    )


def _beside(explanation: Explanation, index: int) -> dict[str, str]:
    """The map of cells beside a map of pixels, and how far the two agree."""
    if not explanation.agreements:
        return {}
    assert explanation.terms is not None
    cells = explanation.terms.cells
    image, colour = explanation.image, identity_colour(index)
    heat = overlay(image, cells[index], fit(image, _HEAT), scale_tops(cells)[index], colour)
    return {"cells": data_uri(heat), "agreement": explanation.agreements[index].sentence}
