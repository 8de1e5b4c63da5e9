"""From the name of an architecture to a model: timm's, torchvision's, or a user's own."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from timm.data.config import resolve_model_data_config
from torch import nn

from ppn.classifier.hugging_face import HUGGING_FACE, make_classifier
from ppn.classifier.running import guarded, out_of_memory
from ppn.classifier.weights import classifiers, zero_
from ppn.errors import CheckpointError
from ppn.types import InputConfig, Interpolation

TORCHVISION = "torchvision:"
_CODE = re.compile(r"(?!timm:|hf_hub:|hf:)[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`package.module:factory`; timm's own names with a colon have a hyphen, a slash or its prefix."""


class Made(NamedTuple):
    """A model, what it expects of its input, and the module whose output are its features.

    `features` is None where the model has timm's methods or inspection is to find the module.
    """

    model: nn.Module
    config: InputConfig
    features: str | None


def is_code(architecture: str) -> bool:
    """Whether a name is the import path of a user's code, which runs when the model is made."""
    return not architecture.startswith(TORCHVISION) and bool(_CODE.fullmatch(architecture))


def make_model(
    architecture: str,
    num_classes: int,
    pretrained: bool = False,
    image_size: int | None = None,
    model_options: dict[str, Any] | None = None,
) -> Made:
    """Make a model from its name.

    Args:
        architecture: timm's name, `torchvision:NAME`, `hf:NAME` or `hf:FOLDER` for an image
            classifier of transformers, which has its own number of classes, or
            `package.module:factory`, a class or function that returns an nn.Module and is given
            `num_classes` if it accepts it.
        num_classes: Number of classes.
        pretrained: Load timm's or torchvision's pretrained weights.
        image_size: Side of the square input in pixels; None takes the model's own.
        model_options: Further arguments of the factory. `features` names the module whose output
            are the last features, for models without timm's methods; it is not passed on.

    Raises:
        CheckpointError: If there is no such model, or it cannot be made like this.
    """
    options = dict(model_options or {})
    if architecture.startswith(HUGGING_FACE):
        made, expected = make_classifier(architecture, pretrained, options)
        if image_size is not None:
            expected = replace(expected, size=(image_size, image_size))
        return Made(made, expected, options.get("features"))
    timms = not is_code(architecture) and not architecture.startswith(TORCHVISION)
    features = None if timms else options.pop("features", None)
    try:
        if timms:
            model = timm.create_model(
                architecture, pretrained=pretrained, num_classes=num_classes, **options
            )
            config = input_config(model)
        elif architecture.startswith(TORCHVISION):
            name = architecture.removeprefix(TORCHVISION)
            weights = "DEFAULT" if pretrained else None
            model = torchvision.models.get_model(
                name, weights=weights, num_classes=num_classes, **options
            )
            config = _torchvision_config(name)
        else:
            model = _from_code(architecture, num_classes, pretrained, options)
            config = input_config(model)
    except CheckpointError:
        raise
    except Exception as error:
        if is_code(architecture):
            raise  # a user's own code: its traceback says more
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        library = "timm" if timms else "torchvision"
        listed = "timm.list_models()" if timms else "torchvision.models.list_models()"
        offline = ", and the network; or take weights from a file (`weights`), or take "
        offline += "ppn:backbone/efficientnet_lite0, whose weights are a package"
        offline = offline if pretrained else ""
        raise CheckpointError(
            f"{library} cannot make '{architecture.removeprefix(TORCHVISION)}' with "
            f"{options or 'no options'}{' and pretrained weights' if pretrained else ''} "
            f"({first[:200]}): check the name with {listed}{offline}."
        ) from None
    if (
        timms
        and pretrained
        and getattr(model, "pretrained_cfg", {}).get("num_classes") != num_classes
    ):
        for layer in classifiers(model):
            zero_(layer)  # as `load_weights` does
    if image_size is not None:
        config = replace(config, size=(image_size, image_size))
        if hasattr(model, "set_input_size"):
            model.set_input_size(img_size=config.size)  # type: ignore[operator]
        elif (
            timms
            and "img_size" in inspect.signature(type(model)).parameters
            and not _runs(model, config)
        ):
            sized = {"img_size": image_size, **options}  # CaiT, for one, is made for one size
            return make_model(architecture, num_classes, pretrained, model_options=sized)._replace(
                config=config
            )
    return Made(model, config, features)


@torch.no_grad()
def _runs(model: nn.Module, config: InputConfig) -> bool:
    """Whether a model takes images of this size as it is: weights of its own size fit it then."""
    like = next(model.parameters())
    try:
        with guarded(model):
            model(like.new_zeros(1, config.channels, *config.size))
    except (RuntimeError, AssertionError, ValueError) as error:
        if out_of_memory(error):
            raise
        return False
    return True


def input_config(model: nn.Module) -> InputConfig:
    """Return what a model expects of its input: timm's record, or else ImageNet's usual values.

    A model whose first convolution takes one channel expects grey images.
    """
    config = _timm_config(model) if hasattr(model, "pretrained_cfg") else InputConfig()
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return config.with_channels(1) if first is not None and first.in_channels == 1 else config


def _from_code(path: str, num_classes: int, pretrained: bool, options: dict[str, Any]) -> nn.Module:
    """Import and call a user's factory."""
    if pretrained:
        raise CheckpointError(
            f"pretrained is timm's and torchvision's: give {path} its weights with `weights`."
        )
    module_name, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as `python -m` has it
        sys.path.insert(0, here)
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the user's module exists, and lacks something else
        raise CheckpointError(
            f"There is no module '{module_name}' to take '{name}' from: start ppn in the folder "
            "that holds it, or install it."
        ) from None
    except AttributeError:
        raise CheckpointError(f"Module {module_name} has no '{name}': check the name.") from None
    accepted = inspect.signature(factory).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
    if "num_classes" in accepted or takes_all:
        options = {"num_classes": num_classes, **options}
    unknown = [] if takes_all else sorted(set(options) - set(accepted))
    if unknown:
        raise CheckpointError(
            f"{path} takes no argument '{unknown[0]}': its own are {', '.join(accepted) or 'none'}."
        )
    model = factory(**options)
    if not isinstance(model, nn.Module):
        raise CheckpointError(f"{path} gives a {type(model).__name__}, not a torch.nn.Module.")
    return model


def _timm_config(model: nn.Module) -> InputConfig:
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    _, height, width = config["input_size"]
    return InputConfig(
        (height, width),
        config["mean"],
        config["std"],
        _interpolation(config["interpolation"]),
        config["crop_pct"],
    )


def _torchvision_config(name: str) -> InputConfig:
    """What the transforms of a model's default weights do; nothing is downloaded."""
    weights = torchvision.models.get_model_weights(name)
    if "DEFAULT" not in weights.__members__:
        return InputConfig(interpolation="bilinear")
    transforms = weights["DEFAULT"].transforms()
    side = transforms.crop_size[0]
    return InputConfig(
        (side, side),
        tuple(transforms.mean),
        tuple(transforms.std),
        _interpolation(transforms.interpolation.value),
        side / transforms.resize_size[0],
    )


def _interpolation(mode: str) -> Interpolation:
    return mode if mode in ("nearest", "bilinear", "bicubic") else "bicubic"  # type: ignore[return-value]
