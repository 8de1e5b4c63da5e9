"""Writes a network as ONNX or torch.export, and holds the file against the network."""

from __future__ import annotations

import importlib
import io
import json
import logging
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from ppn.errors import DataError, PPNError
from ppn.export.graph import Graph, Maps
from ppn.io.files import replacing, user_path, write_json
from ppn.prototypes.arguments import one_of
from ppn.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import InputConfig

Format = Literal["onnx", "torch"]
SUFFIX: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}
TOLERANCE = 1e-3
"""Most that an output may differ, over the standard deviation of the network's own output."""
_EXTRA = "pip install 'ppn[export]'"


def export(
    network: PrototypeNetwork,
    path: str | Path,
    format: Format = "onnx",
    maps_of: Maps = "predicted",
    images: Tensor | None = None,
) -> dict[str, Any]:
    """Write a network as one graph for any batch size, and check it.

    The file is run on random images, and on real ones where they are given, in batches of one and
    more, and must give what the network gives; it appears only then. Beside it, a JSON file of the
    same name says what goes in and what comes out.

    Args:
        network: The network; its edits are in the graph.
        path: The file; its suffix is `.onnx` or `.pt2`.
        format: "onnx", or "torch" for what `torch.export.load` reads.
        maps_of: Maps of the predicted class, of all, or none.
        images: (n, channels, H, W), real ones to check with, n at least 1.

    Returns:
        What the JSON file says.

    Raises:
        PPNError: If ONNX's packages are missing, the network cannot be traced, the file gives
            something else, or it cannot be written.
    """
    one_of("format", format, get_args(Format))
    target = user_path(path)
    if target.suffix != SUFFIX[format]:
        raise DataError(f"{path} does not end in {SUFFIX[format]}, as files of {format} do.")
    if format == "onnx":
        _expect_packages()
    graph = Graph(network, maps_of).eval()
    device = next(network.classifier.model.parameters()).device
    shape = (network.input_config.channels, *network.input_config.size)
    drawn = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    given = {"random": drawn} if images is None else {"random": drawn, "real": images.cpu().float()}
    with replacing(target) as temporary:
        # Traced on a CPU, on which the file is checked too; the network goes back where it was.
        network.cpu()
        try:
            program = _traced(graph, drawn[:2])
            run = _write(program, graph, temporary, format)
            errors = {
                name: [_error(run, graph, batch[:count]) for count in {1, len(batch)}]
                for name, batch in given.items()
            }
        finally:
            network.to(device)
        worst = {name: max(found) for name, found in errors.items()}
        if not max(worst.values()) <= TOLERANCE:
            raise PPNError(
                f"The exported graph differs from the network by {max(worst.values()):.1e} of an "
                "output's standard deviation, so it was not kept: try the other --format."
            )
    content = description(network, graph, format, target.name, worst)
    write_json(target.with_suffix(".json"), content)
    return content


def description(
    network: PrototypeNetwork, graph: Graph, kind: str, file: str, errors: dict[str, float]
) -> dict[str, Any]:
    """Return what someone needs who runs an exported graph without this package."""
    inspection = network.classifier.inspection
    return {
        "format": f"ppn {kind} graph",
        "ppn_version": __version__,
        "file": file,
        "input": {
            "name": "images",
            **_plain(network.input_config),
            # What prepared images in place of this, as far as it can be said.
            "processor": network.settings.get("processor"),
            "transform": bool(network.settings.get("transform")),
        },
        "outputs": graph.outputs,
        "maps": graph.maps,
        "classes": network.class_names,
        "parts": network.k,
        "bias": network.head.bias.tolist(),
        "probability": "sigmoid" if network.independent else "softmax",
        "exactness": inspection.exactness,
        "edits": [edit.words(network.class_names) for edit in network.edits],
        "is_black_box": network.is_black_box,
        "difference": errors,
    }


def _traced(graph: Graph, images: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(graph, (images,), dynamic_shapes={"images": {0: batch}})
    except Exception as error:  # a user's model may do whatever cannot be traced
        raise PPNError(
            f"The classifier cannot be traced ({_first_line(error)}): what depends on the numbers "
            "of an image, or on the size of the batch, must leave its forward."
        ) from None


def _write(
    program: torch.export.ExportedProgram, graph: Graph, path: Path, kind: Format
) -> Callable[[Tensor], Sequence[Tensor]]:
    """Write the file, read it again, and return how to run what was read."""
    if kind == "torch":
        buffer = io.BytesIO()  # the name of a temporary file has no suffix that torch accepts
        torch.export.save(program, buffer)
        path.write_bytes(buffer.getvalue())
        loaded: Callable[[Tensor], Sequence[Tensor]] = torch.export.load(
            io.BytesIO(path.read_bytes())
        ).module()
        return loaded
    import onnxruntime  # type: ignore[import-untyped,unused-ignore]

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                program,
                input_names=["images"],
                output_names=graph.outputs,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # whatever operators are not known to ONNX
        raise PPNError(f"The network cannot be written as ONNX ({_first_line(error)}).") from None
    assert made is not None
    about = {"classes": graph.network.class_names, "edits": len(graph.network.edits)}
    made.model.metadata_props["ppn"] = json.dumps(about)
    made.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(out) for out in session.run(None, {"images": images.numpy()})]

    return run


def _error(run: Callable[[Tensor], Sequence[Tensor]], graph: Graph, images: Tensor) -> float:
    """Largest difference of an output over the standard deviation of the network's own."""
    with torch.no_grad():
        expected = graph(images)
        found = run(images)
    logits = expected[0]
    close = logits.topk(min(2, logits.shape[1]), 1).values
    # Maps of the predicted class are of another one where two classes tie.
    tied = logits.shape[1] > 1 and graph.maps == "predicted"
    tied = tied and bool((close[:, 0] - close[:, 1]).min() < 1e-4)
    pairs = list(zip(found, expected, strict=True))[: 2 if tied else None]
    return max(
        float((ours - theirs).abs().max() / theirs.std().clamp(min=1e-12))
        for ours, theirs in pairs
        if theirs.numel() > 1
    )


def _expect_packages() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise PPNError(f"ONNX needs the package {name}: {_EXTRA}.") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _plain(config: InputConfig) -> dict[str, Any]:
    """As JSON has it, which knows no tuples."""
    values = asdict(config).items()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}
