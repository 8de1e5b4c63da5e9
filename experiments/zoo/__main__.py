"""Examine the architectures of timm, and write the support table."""

from __future__ import annotations

import json as json_format
import sys
from pathlib import Path

import timm
import torch
from jsonargparse.typing import (  # noqa: TC002 - the parser reads the signature
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from rich.table import Table

from experiments.zoo.apart import Limits
from experiments.zoo.crawl import architectures, fill, read
from experiments.zoo.table import counts, page
from ppn.allocator import keep_memory
from ppn.classifier.complete import MOST_NODES
from ppn.commands.parsing import run
from ppn.errors import PPNError
from ppn.io.files import write_bytes
from ppn.io.terminal import console


def zoo(
    filter: str | None = None,
    out: str = "table.csv",
    markdown: str | None = None,
    limit: NonNegativeInt | None = None,
    processes: PositiveInt = 1,
    memory: PositiveFloat = 8.0,
    timeout: PositiveFloat = 300.0,
    nodes: PositiveInt = MOST_NODES,
    device: str = "cpu",
    image_size: PositiveInt | None = None,
    again: bool = False,
    json: bool = False,
) -> int:
    """Examine every architecture of timm that a table does not have yet.

    Args:
        filter: Only those whose name matches, such as 'vit_*'.
        out: CSV file, made or continued.
        markdown: Write the whole table as a page here.
        limit: Examine at most so many more; 0 only reads the table.
        processes: How many to examine at the same time, each on one core.
        memory: GiB that each may take, of the device.
        timeout: Seconds that each may take.
        nodes: Most points on the path that maps are integrated over.
        device: Where they run, such as cuda.
        image_size: Side of the pictures in pixels, for what takes too long at its own size.
        again: Examine those again that took too much, could not be run, or were not asked whether
            maps add up.
        json: Print JSON.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If no name matches, there is no such device, or a file is another kind of table
            or cannot be written.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise PPNError(f"device is {device!r}, which torch does not find here.") from None
    names = architectures(filter)
    limits = Limits(memory, timeout, nodes, device, image_size)
    fill(names, Path(out), limit, processes, limits, again)
    table_rows = read(Path(out))
    rows = [row for row in table_rows if row.model in set(names)]
    found = counts(rows)
    if markdown is not None:
        text = page(table_rows, architectures(None), timm.__version__)
        write_bytes(Path(markdown), text.encode())
    if json:
        print(json_format.dumps({"tried": len(rows), "of": len(names), "counts": found}))
        return 0
    table = Table("case", "architectures", title=f"{len(rows)} of {len(names)} tried")
    for name, count in found.items():
        table.add_row(name, str(count))
    console().print(table)
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The command line; None takes it from `sys.argv`.

    Returns:
        Exit code: 0, or 2 after a mistake in the input.
    """
    keep_memory()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        return run("python -m experiments.zoo", zoo, given)
    except PPNError as error:
        sys.stderr.write(f"experiments.zoo: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
