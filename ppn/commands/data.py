"""`ppn data list|check|preview`: what data sets there are, and whether they are right."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.commands.arguments import Parser
from ppn.errors import PPNError

if TYPE_CHECKING:
    from rich.console import Console

    from ppn.data.check import CheckResult, SplitResult


def parser() -> Parser:
    """Return the parser of `ppn data`."""
    top = Parser("ppn data", description="Data sets: which there are, and whether they are right.")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    add = commands.add_parser

    listing = add("list", help="say which data sets are complete, partial or missing")
    listing.add_argument(
        "--root", metavar="DATA", help="folder of data sets (default: $PPN_DATA, or ./data)"
    )
    listing.add_argument(
        "--markdown", action="store_true", help="print the table of the documentation instead"
    )

    check = add("check", help="read every image and annotation, and say what is wrong")
    _add_data_set(check)
    check.add_argument(
        "--leaks", action="store_true", help="look for images that are there more than once"
    )
    check.add_argument(
        "--workers",
        type=_positive,
        default=min(8, os.cpu_count() or 1),
        metavar="N",
        help="threads that decode images (default: %(default)s)",
    )

    preview = add("preview", help="draw images with their names, parts, boxes and masks")
    _add_data_set(preview)
    preview.add_argument("--out", required=True, type=_png, metavar="FILE.png", help="the sheet")
    preview.add_argument("--split", choices=("train", "test"), default="train")
    preview.add_argument(
        "--images", type=_positive, default=12, metavar="N", help="how many (default: 12)"
    )
    preview.add_argument("--seed", type=int, default=0, help="seed of the choice of images")
    preview.add_argument(
        "--crop", choices=("frame", "box"), help="the whole image, or the object's box"
    )
    preview.add_argument(
        "--transformed",
        action="store_true",
        help="what the network sees, with the augmentation of --set augmentation=NAME",
    )
    return top


def main(arguments: list[str]) -> int:
    """Run `ppn data`.

    Args:
        arguments: What follows `ppn data` on the command line.

    Returns:
        Exit code: 0, or 2 if a data set that was checked is not right.

    Raises:
        PPNError: After a mistake in the input.
    """
    if not arguments:
        parser().print_help()
        return 0
    try:
        given = parser().parse_args(arguments)
    except SystemExit:  # --help
        return 0
    if given.command == "list":
        return _list(given)
    return _check(given) if given.command == "check" else _preview(given)


def _list(given: argparse.Namespace) -> int:
    from rich.table import Table

    from ppn.data.build import default_base
    from ppn.data.listing import inventory, markdown_table

    if given.markdown:
        sys.stdout.write(markdown_table())
        return 0
    base = default_base() if given.root is None else Path(given.root).expanduser()
    absent = "" if base.is_dir() else " (there is no such folder)"
    table = Table(title=f"Data sets in {base}{absent}", title_justify="left", show_lines=True)
    table.add_column("data set", no_wrap=True)
    table.add_column("name", no_wrap=True)
    table.add_column("what is there", overflow="fold")
    colours = {"complete": "green", "built in": "green", "partial": "yellow", "unreadable": "red"}
    for entry in inventory(base):
        state = f"{entry.state}: {entry.detail}"
        if entry.place is not None:
            state += f"\n{entry.place}"
        table.add_row(entry.title, entry.name, state, style=colours.get(entry.state))
    _console().print(table)
    return 0


def _check(given: argparse.Namespace) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from ppn.data.build import build, parse_options
    from ppn.data.check import check

    data = build(given.name, given.root, parse_options(given.set))
    total = len(data.train_source) + len(data.test_source)
    console = _console()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)
        result = check(
            data,
            lambda sentence: _say(console, f"Error: {sentence}"),
            given.leaks,
            given.workers,
            lambda: progress.advance(task),
        )
    _summarise(console, given.name, result)
    return 2 if result.errors else 0


def _summarise(console: Console, name: str, result: CheckResult) -> None:
    from rich.table import Table

    table = Table(title=name, title_justify="left")
    for heading in (
        "split",
        "images",
        "per class: min",
        "median",
        "max",
        "boxes",
        "parts",
        "masks",
    ):
        table.add_column(heading, justify="left" if heading == "split" else "right")
    for split, found in result.splits.items():
        least, median, most = found.per_class
        middle = f"{median:,.1f}".removesuffix(".0")
        having = (f"{n:,}" for n in (found.boxes, found.keypoints, found.masks))
        table.add_row(split, f"{found.images:,}", f"{least:,}", middle, f"{most:,}", *having)
    console.print(table)
    if result.note:
        _say(console, f"Note: {result.note}")
    for split, found in result.splits.items():
        for sentence in _warnings(split, found):
            _say(console, f"Warning: {sentence}")
    if result.repeated is not None:
        _say(
            console,
            f"Note: images that repeat another one of their class and split: {result.repeated:,}; "
            "pixels are compared, so copies that were resized or compressed again are not found.",
        )
    if result.errors:
        _say(console, f"{name} is not right; errors named above: {result.errors:,}.")
    else:
        _say(console, f"{name} is right: every image and annotation listed can be read.")


def _warnings(split: str, found: SplitResult) -> list[str]:
    sentences = []
    if found.empty:
        sentences.append(
            f"Classes without an image in {split}: {len(found.empty):,}, the first is "
            f"{found.empty[0]}."
        )
    for what, oddities in (
        ("Boxes that reach outside of their image or have no area", found.outside_boxes),
        ("Visible keypoints outside of their image", found.outside_keypoints),
    ):
        if oddities.count:
            sentences.append(f"{what}, in {split}: {oddities.count:,}, first {oddities.first}.")
    return sentences


def _preview(given: argparse.Namespace) -> int:
    from ppn.data.build import build, parse_options
    from ppn.data.contact_sheet import draw_sheet
    from ppn.data.preview import make_sheet, write_png

    options: dict[str, Any] = parse_options(given.set)
    if given.crop is not None:
        options["crop"] = given.crop
    if "augmentation" in options and (given.split == "test" or not given.transformed):
        raise PPNError(
            "--set augmentation shows only on training images as the network sees them: add "
            "--transformed and --split train, or leave it out."
        )
    data = build(given.name, given.root, options)
    card = getattr(data, "card", None)
    title = given.name if card is None else card.title
    sheet = make_sheet(data, title, given.split, given.images, given.seed, given.transformed)
    write_png(draw_sheet(sheet), given.out)
    _say(_console(), f"{given.out}: {len(sheet.pictures)} images of {title}, {given.split}.")
    return 0


def _add_data_set(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="short name, as `ppn data list` shows it")
    command.add_argument(
        "--root",
        help="folder of the data set, or one that holds it (default: $PPN_DATA, or ./data)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the data set's DataModule, as in configs/data/; can be repeated",
    )


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png, which the sheet is")
    return Path(text).expanduser()


def _console() -> Console:
    from rich.console import Console

    # A file or pipe has no width: lines of the table are not broken there.
    width = None if sys.stdout.isatty() else 200
    return Console(width=width, markup=False, highlight=False)


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, soft_wrap=True)
