"""All classes and all parts without pictures: a list and a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppn.explanation.record import part_title
from ppn.report.panels import part_anchor
from ppn.visualization.numbers import number, percent

if TYPE_CHECKING:
    from ppn.report.content import Report

CLASSES = "classes"
"""Folder of the classes' pages, beside the report."""


@dataclass(frozen=True)
class ClassLine:
    """A class in the list, and the file of its page."""

    name: str
    about: str
    file: str


@dataclass(frozen=True)
class PartLine:
    """A part in the table; numbers as they are sorted by, and as they are printed."""

    name: str
    title: str
    href: str
    share: float
    share_text: str
    outside: float | None
    outside_text: str
    covers: str
    flags: tuple[str, ...]


def class_lines(report: Report) -> list[ClassLine]:
    """Return the list of classes; empty where all are on the page itself."""
    if report.card is None:
        return []
    return [
        ClassLine(
            card.name,
            f"{number(card.images)} images"
            + ("" if card.accuracy is None else f" · {percent(card.accuracy)} accuracy"),
            _file(card.label),
        )
        for card in report.lines
    ]


def part_lines(report: Report) -> list[PartLine]:
    """Return every part of every class."""
    page = "" if report.card is None else f"{CLASSES}/"
    return [
        PartLine(
            card.name,
            prototype.name or part_title(prototype.index),
            (page + _file(card.label) if page else "")
            + f"#{part_anchor(card.label, prototype.index)}",
            prototype.share,
            percent(prototype.share),
            prototype.outside,
            percent(prototype.outside),
            ""
            if prototype.part is None or prototype.part_rate is None
            else f"{prototype.part} in {percent(prototype.part_rate)} of images",
            prototype.flags,
        )
        for card in (report.lines or report.classes)
        for prototype in card.prototypes
        if prototype.share is not None
    ]


def _file(label: int) -> str:
    return f"{label:05d}.html"
