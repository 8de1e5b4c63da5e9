"""Strategies x ways to find parts x k x lambda x seeds, on tokens that are extracted once.

Usage: python -m experiments.refinement --classifier_ckpt CKPT [--data cub --data.root ROOT]
       [--seeds 3]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.arguments import parse, study_parser
from experiments.refinement.cells import KS, cells, score
from experiments.refinement.present import draw, markdown
from experiments.refinement.tokens import extract
from ppn.data.build import parse_options
from ppn.errors import PPNError
from ppn.io.files import write_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = study_parser("refinement", __doc__, KS, "runs/refinement")
    parser.add_argument(
        "--classifier_ckpt", required=True, help="a ClassificationTask's checkpoint"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Extract, score what is not scored yet, and write tables and figures.

    Args:
        arguments: Command line; None takes it from `sys.argv`.

    Returns:
        Exit code: 0, or 2 after a mistake in the input.
    """
    parser = make_parser()
    try:
        given = parse(parser, arguments)
        folder = Path(given.out, given.data)
        options = parse_options(given.set)
        checkpoint = Path(given.classifier_ckpt)
        if not checkpoint.is_file():
            parser.error(f"--classifier_ckpt {checkpoint} is no file")
        tokens, key = extract(given.data, given.root, checkpoint, folder / "tokens.pt", options)
        rows: list[dict[str, Any]] = []
        for cell in cells(given.seeds, tuple(given.k)):
            rows += score(cell, tokens, key, folder / "cells")
            print(f"== {cell.stem}", flush=True)
    except PPNError as error:
        sys.stderr.write(f"refinement: {error}\n")
        return 2
    write_bytes(folder / "results.md", markdown(given.data, rows, given.seeds).encode())
    draw(given.data, rows, folder)
    print(f"results: {folder / 'results.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
