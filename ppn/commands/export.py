"""`ppn export`: a network as one ONNX or torch.export graph that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppn.io.files import user_path
from ppn.io.terminal import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ppn.prototypes.network import PrototypeNetwork

_CHECKED = 8
"""Most real images with which the file is checked."""


def export(
    *,
    ckpt: str,
    out: str | None = None,
    format: str = "onnx",
    maps_of: str = "predicted",
    image: list[str] = [],  # noqa: B006 - the parser copies it
    architecture: str | None = None,
) -> int:
    """Write a network as one graph: images in; logits, contributions and maps out.

    Args:
        ckpt: Checkpoint of a prototype network; its edits are in the graph.
        out: The file, .onnx or .pt2; left out, it is written beside the checkpoint. A JSON file of
            the same name says what goes in and out.
        format: onnx, or torch for what torch.export.load reads.
        maps_of: Which classes' maps: the predicted one's (predicted), every one's (all), or none.
        image: An image with which the file is checked too; can be repeated. Left out, the
            network's training patches are used, where they are.
        architecture: module:factory, if the model is your own code.

    Returns:
        Exit code 0.
    """
    from ppn.export.write import SUFFIX
    from ppn.export.write import export as write
    from ppn.prototypes.load import load

    network = load(ckpt, architecture=architecture)
    target = user_path(out) if out else Path(ckpt).with_suffix(SUFFIX.get(format, ".onnx"))
    images = _real(network, image)
    found = write(network, target, format, maps_of, images)  # type: ignore[arg-type]
    terminal = console()
    for name, error in found["difference"].items():
        terminal.print(f"Largest difference on {name} images: {error:.1e} standard deviations.")
    if images is None:
        terminal.print("No real image was at hand: give one with --image.")
    for words in found["edits"]:
        terminal.print(f"Edited: {words}.")
    terminal.print(f"-> {target}, with {', '.join(found['outputs'])} for any batch size")
    if target.suffix == SUFFIX["onnx"]:
        terminal.print("An example that serves it: ppn recipes --show serve.py --out serve.py")
    return 0


def _real(network: PrototypeNetwork, files: Sequence[str]) -> Tensor | None:
    """Real images as the network takes them: those given, else training patches."""
    import torch

    prepare = network.preprocessing
    assert prepare is not None
    if files:
        return torch.stack([prepare(file)[0] for file in files[:_CHECKED]])
    labels = network.dictionary.found.nonzero()[:_CHECKED, 0].tolist()
    patches = [network.patch(label, 0) for label in labels]
    found = [prepare.convert(patch.image) for patch in patches if patch is not None]
    return torch.stack(found) if found else None
