"""Which data sets there are, and which of them are on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ppn.data.catalog import CATALOG
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ppn.data.published import Card, PublishedDataModule


@dataclass(frozen=True)
class Entry:
    """A data set and what is there of it.

    Attributes:
        name: Short name on the command line.
        title: Name in texts.
        state: How much of it is there.
        detail: What exactly, what is wrong, or how to get it.
        place: Its folder; None where it was not found or has none.
    """

    name: str
    title: str
    state: Literal["complete", "partial", "missing", "unreadable", "built in"]
    detail: str
    place: Path | None = None


def inventory(base: Path) -> Iterator[Entry]:
    """Look for every data set in a folder, one after another.

    Args:
        base: The folder that holds data sets, or a data set's own folder.
    """
    for name, module in CATALOG.items():
        yield _look(name, module, base)
    yield Entry("synthetic_birds", "SyntheticBirds", "built in", "drawn on demand, nothing to get")


def markdown_table() -> str:
    """Return the table of all data sets for the documentation, with a line break at its end."""
    rows = [
        ("data set", "short name", "classes", "train / test", "annotations", "licence", "citation"),
        ("---",) * 7,
        (
            "SyntheticBirds (built in)",
            _fragment("synthetic_birds"),
            "2 to 200",
            "any number, drawn on demand",
            "12 keypoints, boxes, part masks",
            "that of this package",
            "-",
        ),
        *(_row(module.card) for module in CATALOG.values()),
        (
            "Your own images",
            _fragment("folder"),
            "any",
            "given, or drawn",
            "keypoints and boxes where given",
            "yours",
            "-",
        ),
    ]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows
    )


def _look(name: str, module: type[PublishedDataModule], base: Path) -> Entry:
    card = module.card
    # Many layouts begin with "train": a folder of another name is not taken for the data set.
    place = card.locate(base, itself=base.resolve().name == card.folder)
    if place is None:
        return Entry(name, card.title, "missing", card.way_to_get())
    lacking = card.first_missing(place)
    if lacking is not None:
        detail = f"{lacking} is missing: {card.way_to_get()}"
        return Entry(name, card.title, "partial", detail, place)
    try:
        data = module(root=str(place))
        state, note = card.compare(data.train_source, data.test_source)
    except PPNError as error:
        return Entry(name, card.title, "unreadable", str(error), place)
    except Exception as error:  # a parser may stumble over anything; the other rows still count
        detail = f"{place} cannot be read ({type(error).__name__}: {error}): replace the files."
        return Entry(name, card.title, "unreadable", " ".join(detail.split()), place)
    for opening in (f"{card.title} is complete: ", f"{card.title} is not the whole data set: "):
        note = note.removeprefix(opening)
    return Entry(name, card.title, state, note.removesuffix("."), place)


def _fragment(name: str) -> str:
    """Short name, linked to the fragment of a configuration as seen from `docs/`."""
    return f"[`{name}`](../configs/data/{name}.yaml)"


def _row(card: Card) -> tuple[str, ...]:
    train = f"{card.train:,}" if card.train else "depends on options"
    test = f"{card.test:,}" if card.test else "depends on options"
    address, _, remark = card.page.partition(" ")
    title = f"[{card.title}]({address}) {remark}".rstrip()
    if card.archives:
        title += ", `download: true`"
    return (
        title,
        _fragment(card.name),
        f"{card.classes:,}",
        f"{train} / {test}",
        card.annotations,
        card.licence,
        card.citation,
    )
