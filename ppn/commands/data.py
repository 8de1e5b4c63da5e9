"""`ppn data list|check|preview`: what data sets there are, and whether they are right."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse.typing import PositiveInt  # noqa: TC002 - the parser reads the signature

from ppn.errors import PPNError
from ppn.io.terminal import console

if TYPE_CHECKING:
    from rich.console import Console

    from ppn.commands.parsing import Command
    from ppn.data.check import CheckResult, SplitResult


def list_(root: str | None = None, markdown: bool = False) -> int:
    """Say which data sets are complete, partial or missing.

    Args:
        root: Folder of data sets; $PPN_DATA, or ./data, unless given.
        markdown: Print the table of the documentation instead.

    Returns:
        Exit code 0.
    """
    from rich.table import Table

    from ppn.data.build import default_base
    from ppn.data.listing import inventory, markdown_table

    if markdown:
        sys.stdout.write(markdown_table())
        return 0
    base = default_base() if root is None else Path(root).expanduser()
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
    console().print(table)
    return 0


def check(
    data: str,
    root: str | None = None,
    set: tuple[str, ...] = (),
    leaks: bool = False,
    num_workers: PositiveInt | None = None,
) -> int:
    """Read every image and annotation, and say what is wrong.

    Args:
        data: A file of configs/data, or a short name, as `ppn data list` shows it.
        root: Folder of the data set, or one that holds it; $PPN_DATA, or ./data, unless given.
        set: Any argument of the data set, such as --data.crop box; can be repeated.
        leaks: Look for images that are there more than once.
        num_workers: Threads that decode images; one for each CPU, but at most 8, unless given.

    Returns:
        Exit code: 0, or 2 if the data set is not right.

    Raises:
        PPNError: After a mistake in the input.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from ppn.data.build import build_config, parse_options
    from ppn.data.check import check as check_data

    module = build_config(data, root, parse_options(set))
    total = len(module.train_source) + len(module.test_source)
    shown = console()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=shown, transient=True, disable=not shown.is_terminal
    ) as progress:
        task = progress.add_task("", total=total)
        result = check_data(
            module,
            lambda sentence: _say(shown, f"Error: {sentence}"),
            leaks,
            num_workers or min(8, os.cpu_count() or 1),
            lambda: progress.advance(task),
        )
    _summarise(shown, data, result)
    return 2 if result.errors else 0


def preview(
    data: str,
    *,
    out: str,
    root: str | None = None,
    set: tuple[str, ...] = (),
    split: Literal["train", "test"] = "train",
    count: PositiveInt = 12,
    seed: int = 0,
    transformed: bool = False,
) -> int:
    """Draw images with their names, parts, boxes and masks.

    Args:
        data: A file of configs/data, or a short name, as `ppn data list` shows it.
        out: The sheet, a PNG file.
        root: Folder of the data set, or one that holds it; $PPN_DATA, or ./data, unless given.
        set: Any argument of the data set, such as --data.crop box; can be repeated.
        split: Which images.
        count: Images that are shown.
        seed: Seed of the choice of images.
        transformed: Draw what the network sees, with the augmentation of --data.augmentation.

    Returns:
        Exit code 0.

    Raises:
        PPNError: After a mistake in the input.
    """
    if not out.lower().endswith(".png"):
        raise PPNError(f"--out {out} does not end in .png: the sheet is a PNG file.")

    from ppn.data.build import build_config, parse_options
    from ppn.data.contact_sheet import draw_sheet
    from ppn.data.preview import make_sheet, write_png

    options = parse_options(set)
    if "augmentation" in options and (split == "test" or not transformed):
        raise PPNError(
            "--data.augmentation shows only on training images as the network sees them: add "
            "--transformed and --split train, or leave it out."
        )
    module = build_config(data, root, options)
    card = getattr(module, "card", None)
    title = data if card is None else card.title
    sheet = make_sheet(module, title, split, count, seed, transformed)
    target = Path(out).expanduser()
    write_png(draw_sheet(sheet), target)
    _say(console(), f"{target}: {len(sheet.pictures)} images of {title}, {split}.")
    return 0


COMMANDS: dict[str, Command] = {"list": list_, "check": check, "preview": preview}


def _summarise(terminal: Console, name: str, result: CheckResult) -> None:
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
    terminal.print(table)
    if result.note:
        _say(terminal, f"Note: {result.note}")
    for split, found in result.splits.items():
        for sentence in _warnings(split, found):
            _say(terminal, f"Warning: {sentence}")
    if result.repeated is not None:
        _say(
            terminal,
            f"Note: images that repeat another one of their class and split: {result.repeated:,}; "
            "pixels are compared, so copies that were resized or compressed again are not found.",
        )
    if result.errors:
        _say(terminal, f"{name} is not right; errors named above: {result.errors:,}.")
    else:
        _say(terminal, f"{name} is right: every image and annotation listed can be read.")


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


def _say(terminal: Console, sentence: str) -> None:
    terminal.print(sentence, soft_wrap=True)
