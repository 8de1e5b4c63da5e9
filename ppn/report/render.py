"""Writes the report: one HTML file that needs nothing else, or one and a page for each class."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ppn.io.files import write_bytes
from ppn.report.class_lines import CLASSES, class_lines, part_lines
from ppn.report.evidence import comparison, gauge, shades
from ppn.report.flag_rows import flag_table
from ppn.report.panels import ALONE, panel
from ppn.report.part_panels import part_panel
from ppn.report.parts import SEPARATING
from ppn.report.rivals import rivals
from ppn.report.samples import steps
from ppn.version import __version__
from ppn.visualization.numbers import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppn.report.content import Report

_STYLES = (
    "page.css", "sample.css", "rivals.css", "gallery.css", "parts.css", "evidence.css",
    "flags.css", "print.css",
)  # fmt: skip
_SCRIPT = "report.js"


def write_report(report: Report, directory: Path) -> Path:
    """Render a report and write it as `index.html`.

    The file appears at once or not at all: an earlier report stays whole when rendering or
    writing fails.

    Args:
        report: What the report says.
        directory: Where to write; made where it is missing.

    Returns:
        Path of the written file.
    """
    html = render(report)
    target = Path(directory) / "index.html"
    written = set()
    if report.card is not None:
        for place, html_of_class in class_pages(report):
            write_bytes(target.parent / CLASSES / place, html_of_class.encode())
            written.add(place)
    write_bytes(target, html.encode())
    for page in (target.parent / CLASSES).glob("*.html"):  # of an earlier report
        if page.name not in written:
            page.unlink()
    if not written:
        with suppress(OSError):  # there is none, or it holds something else
            (target.parent / CLASSES).rmdir()
    return target


def render(report: Report) -> str:
    """Render a report as the text of one HTML page."""
    environment = _environment()
    cards = {card.label: card for card in report.classes}
    columns, rows = comparison(report)
    table, listed = part_lines(report), class_lines(report)
    return environment.get_template("index.html.j2").render(
        samples=[steps(sample, cards.get(sample.label)) for sample in report.samples],
        rivals={place: rivals(pair, cards) for place, pair in report.versus.items()},
        panels=[] if listed else [panel(card) for card in report.classes],
        listed=listed,
        table=table,
        boxed=any(line.outside is not None for line in table),
        flagged=sum(bool(line.flags) for line in table),
        confusion=report.confusion,
        parts=[part_panel(part, report.classes) for part in report.parts],
        flags=flag_table(report.flags, report.classes),
        images=SEPARATING,
        gauges=[gauge(metric) for metric in report.metrics],
        columns=columns,
        explainers=list(zip(report.explainers, rows, strict=True)),
        differences=any(row.differences for row in report.explainers),
        sensitivity=[(one, shades(one)) for one in report.sensitivity],
        **_page(environment, report),
    )


def class_pages(report: Report) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each class's page, one at a time."""
    assert report.card is not None
    environment = _environment()
    template = environment.get_template("class.html.j2")
    lines = class_lines(report)
    for place, (line, card) in enumerate(zip(lines, report.lines, strict=True)):
        yield (
            line.file,
            template.render(
                {"class": panel(report.card(card.label), ALONE)},
                before=lines[place - 1] if place else None,
                after=lines[place + 1] if place + 1 < len(lines) else None,
                **_page(environment, report),
            ),
        )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ppn.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["number"] = number
    return environment


def _page(environment: Environment, report: Report) -> dict[str, Any]:
    """What every page needs."""
    script = _source(environment, _SCRIPT)
    return {
        "report": report,
        "styles": Markup("\n".join(_source(environment, name) for name in _STYLES)),
        "script": Markup(script),
        "script_hash": _integrity(script),
        "version": __version__,
    }


def _source(environment: Environment, name: str) -> str:
    """The text of one of the package's own CSS or JavaScript files, which hold no user's text."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _integrity(script: str) -> str:
    """What the page's security policy calls the one script that may run on it."""
    digest = hashlib.sha256(script.encode()).digest()
    return "sha256-" + base64.b64encode(digest).decode("ascii")
