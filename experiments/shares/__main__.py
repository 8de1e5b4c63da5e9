"""Compact shares, named parts, their controls and their ceiling, on tokens extracted once.

Usage: python -m experiments.shares --data cub --data.root ROOT
       [--classifier_ckpt CKPT] [--out runs/shares]
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from experiments.arguments import add_classifier, parse, study_parser
from experiments.shares.clicks import named
from experiments.shares.present import table
from experiments.shares.study import (
    DEFAULT,
    WAYS,
    floors,
    held_out,
    levels,
    tested,
    without_labels,
)
from experiments.shares.tokens import extract
from ppn.data.build import parse_options
from ppn.errors import PPNError
from ppn.io.files import write_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from experiments.shares.study import Table
    from experiments.shares.tokens import Extracted


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = study_parser("shares", __doc__, [3, 5], "runs/shares")
    add_classifier(parser, list(WAYS))
    parser.add_argument("--draws", type=int, default=3, help="draws of annotated images")
    parser.add_argument("--clicked", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument(
        "--choosing", nargs="+", choices=["random", "chosen"], default=["random", "chosen"]
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Extract, score, and write the tables.

    Args:
        arguments: Command line; None takes it from `sys.argv`.

    Returns:
        Exit code: 0, or 2 after a mistake in the input.
    """
    parser = make_parser()
    try:
        given = parse(parser, arguments)
        folder = Path(given.out, given.data)
        if given.classifier_ckpt and not Path(given.classifier_ckpt).is_file():
            parser.error(f"--classifier_ckpt {given.classifier_ckpt} is no file")
        extracted = extract(
            given.data,
            given.root,
            given.architecture,
            given.classifier_ckpt or "pypi",
            folder,
            parse_options(given.set),
        )
    except PPNError as error:
        sys.stderr.write(f"shares: {error}\n")
        return 2
    pooled = extracted.test.tokens["clean"].mean(1).double()
    right = (pooled @ extracted.weight.T + extracted.bias).argmax(1) == extracted.test.labels
    lines = [f"# {given.data}", "", f"Accuracy on test images {100 * right.double().mean():.0f} %."]
    for k in given.k:
        lines += _chosen(extracted, k, tuple(given.ways), given.seeds)
        write_bytes(folder / "results.md", "\n".join(lines).encode())
    for k in given.k:
        lines += _tested(extracted, k, given)
        write_bytes(folder / "results.md", "\n".join(lines).encode())
    print(f"results: {folder / 'results.md'}")
    return 0


def _chosen(extracted: Extracted, k: int, ways: tuple[str, ...], seeds: int) -> list[str]:
    found: Table = defaultdict(list)
    for seed in range(seeds):
        setting = held_out(extracted, k, seed)
        for way, prototypes in without_labels(setting, ways).items():
            found[way].append(setting.score(prototypes))
    return ["", f"## k = {k}, held-out training images, {seeds} splits", "", *table(found, DEFAULT)]


def _tested(extracted: Extracted, k: int, given: argparse.Namespace) -> list[str]:
    name, draws = given.data, given.draws
    setting = tested(extracted, k)
    prototypes = without_labels(setting, (DEFAULT, "compact"))
    prototypes |= levels(setting, name, prototypes[DEFAULT])
    found: Table = {way: [setting.score(own)] for way, own in prototypes.items()}
    notes = []
    for count, kind in product(given.clicked, given.choosing):
        told: dict[str, list[float]] = defaultdict(list)
        for draw in range(draws):
            result = named(setting, name, count, draw, kind == "chosen")
            told["accuracy"].append(result.accuracy)
            told["missed"].append(result.missed)
            told["seconds"].append(result.seconds)
            for way, own in result.prototypes.items():
                found.setdefault(way, []).append(setting.score(own, k))
            for way, share in result.rest.items():
                told[way].append(share)
        means = {what: round(sum(values) / len(values), 3) for what, values in told.items()}
        notes.append(f"- {count} images, {kind}: {json.dumps(means)}")
    chance = {kind: round(score, 1) for kind, score in floors(setting).items()}
    return [
        "",
        f"## k = {k}, test images",
        "",
        *table(found, "compact"),
        "",
        f"Consistency of floors: {json.dumps(chance)}. Images were drawn {draws} times, from half "
        "of the classes, to explain the other half; or chosen there as `ppn annotate` proposes "
        "them. How often points of the other half get their name and are taken for background, "
        "CPU seconds to learn names, and the remainder's share of the mean logit:",
        "",
        *notes,
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
