"""One explained image, laid out: the staircase of contributions that climbs to the logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ppn.visualization.heatmap import overlay
from ppn.visualization.images import data_uri, fit, patch_crop, patch_in_image
from ppn.visualization.numbers import add_printed, number, percent, printed_sum
from ppn.visualization.palette import identity_colour, ink_on

if TYPE_CHECKING:
    from ppn.report.content import ClassCard, Patch, Prototype, Sample

_IMAGE = 320  # pixels of the longer side
_HEAT = 224
_THUMBNAIL = 96
_LEADING = 3  # parts that the opening equation shows where it has no room for all
AMPLIFY = 3.0  # at most: beyond, the noise of an empty map would look like evidence


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
    """What one prototype does on one image; pictures are data URIs, None where there is none."""

    title: str
    colour: str
    ink: str
    bar: Bar
    heat: str
    patch: str | None
    whole: str | None
    patch_name: str
    share: str
    part: str | None


@dataclass(frozen=True)
class Explanation:
    """One sample, ready for the template.

    `leading` are the parts that open the page, `others` the printed sum of those left out there.
    """

    sample: Sample
    image: str
    thumbnail: str
    parts: list[Part]
    leading: list[Part]
    others: str
    bias: Bar
    total: Bar
    zero: float
    correct: bool | None
    probability: str
    residual: str
    exact: bool


def explain(sample: Sample, card: ClassCard | None) -> Explanation:
    """Lay out a sample.

    Args:
        sample: The explained image.
        card: The predicted class, where the report shows it: names the parts and lends the
            patches that `sample.looks_like` leaves out.
    """
    terms = [*sample.contributions, sample.bias]
    sums = np.concatenate([[0.0], np.cumsum(terms)])
    low, high = min(0.0, float(sums.min())), max(0.0, float(sums.max()))
    low, high = min(low, sample.logit), max(high, sample.logit)
    extent = (high - low) or 1.0
    scale = max(abs(value) for value in (*terms, *sums.tolist(), sample.logit))

    def at(value: float) -> float:
        return round(100 * (value - low) / extent, 3)

    def bar(before: float, after: float, text: str) -> Bar:
        left, right = sorted((at(before), at(after)))
        return Bar(at(before), at(after), left, round(right - left, 3), text, after < before)

    # float32 sums of a few terms differ by some 1e-6 of their size; 1e-4 is not rounding.
    exact = abs(sample.residual) <= 1e-4 * max(scale, 1e-12)
    texts, total = printed_sum(terms, sample.logit, exact)
    steps = zip(sums[:-1].tolist(), sums[1:].tolist(), texts, strict=True)
    bars = [bar(before, after, text) for before, after, text in steps]
    prototypes = {p.index: p for p in card.prototypes} if card else {}
    together = sum(sample.contributions)
    tops = [float(np.nanmax(np.abs(m), initial=0.0)) for m in sample.maps]
    top = max(tops, default=0.0)
    parts = [
        _part(sample, index, bars[index], prototypes.get(index), together, top)
        for index in range(len(sample.contributions))
    ]
    leading, others = _opening(parts, sample.contributions)
    return Explanation(
        sample=sample,
        image=data_uri(sample.image, _IMAGE),
        thumbnail=data_uri(sample.image, _THUMBNAIL),
        parts=parts,
        leading=leading,
        others=others,
        bias=bars[-1],
        total=bar(0.0, sample.logit, total),
        zero=at(0.0),
        correct=sample.true_class == sample.predicted_class if sample.true_class else None,
        probability=percent(sample.probability, 1),
        residual=number(abs(sample.residual)),
        exact=exact,
    )


def _opening(parts: list[Part], contributions: list[float]) -> tuple[list[Part], str]:
    """The parts that count most, in their order, and the printed sum of the others."""
    if len(parts) <= _LEADING + 1:
        return parts, ""
    order = sorted(range(len(parts)), key=lambda i: -abs(contributions[i]))
    chosen = set(order[:_LEADING])
    rest = [part.bar.text for i, part in enumerate(parts) if i not in chosen]
    return [part for i, part in enumerate(parts) if i in chosen], add_printed(rest)


def _part(
    sample: Sample,
    index: int,
    bar: Bar,
    prototype: Prototype | None,
    together: float,
    top: float,
) -> Part:
    colour = identity_colour(index)
    patch: Patch | None = None
    if sample.looks_like:
        patch = sample.looks_like[index]
    elif prototype is not None and prototype.patches:
        patch = prototype.patches[0]
    # The bar says how much; the map says where, and so has a scale of its own, within limits.
    own = float(np.nanmax(np.abs(sample.maps[index]), initial=0.0))
    top = max(own, top / AMPLIFY)
    heat = overlay(sample.image, sample.maps[index], fit(sample.image, _HEAT), top, colour)
    # Shares of a sum that is negative, or in which most cancels out, say nothing.
    telling = together > 0.2 * sum(abs(c) for c in sample.contributions)
    share = percent(sample.contributions[index] / together) if telling else ""
    return Part(
        title=f"Part {index + 1}",
        colour=colour,
        ink=ink_on(colour),
        bar=bar,
        heat=data_uri(heat),
        patch=patch_crop(patch, _HEAT) if patch else None,
        whole=patch_in_image(patch, colour, _HEAT) if patch else None,
        patch_name=patch.name if patch else "",
        share=share,
        part=prototype.part if prototype else None,
    )
