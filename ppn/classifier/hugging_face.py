"""Image classifiers of Hugging Face's transformers, by name or folder, with their processors."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.errors import CheckpointError, MissingPackageError, optional
from ppn.types import InputConfig, Interpolation

if TYPE_CHECKING:
    from torch import nn

HUGGING_FACE = "hf:"
"""Before the name of a model on the Hub, or before a folder with its config.json."""
_CONFIG = "preprocessor_config.json"
_MODES: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of ways to resize."""


def make_classifier(
    architecture: str, pretrained: bool, options: dict[str, Any]
) -> tuple[nn.Module, InputConfig]:
    """Make an image classifier; code that comes with a model never runs.

    Args:
        architecture: `hf:NAME` or `hf:FOLDER`.
        pretrained: Whether its weights are taken, too.
        options: `config`, what the model's config.json says, as `describe` gives it; without it
            the config is read from where the name says.

    Returns:
        The model, and what it expects of an image, as far as that can be said in such words.

    Raises:
        CheckpointError: If there is no such model, or it is no image classifier.
        MissingPackageError: If transformers is missing.
    """
    library = optional("transformers", "hf")
    name, given = architecture.removeprefix(HUGGING_FACE), options.get("config")
    place = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    classes = library.AutoModelForImageClassification
    try:
        if pretrained:
            model = classes.from_pretrained(place, trust_remote_code=False)
        else:
            known = {k: v for k, v in (given or {}).items() if k != "use_pretrained_backbone"}
            config = (
                library.AutoConfig.for_model(**known)
                if known
                else library.AutoConfig.from_pretrained(place, trust_remote_code=False)
            )
            model = classes.from_config(config, trust_remote_code=False)
    except MissingPackageError:
        raise
    except Exception as error:  # of files, the network, and configs of every kind
        raise CheckpointError(
            f"transformers cannot make the image classifier '{name}' ({_reason(error)}): give a "
            "folder with config.json and model.safetensors, or a name on the Hub."
        ) from None
    processor = None if given else processor_of(architecture)
    return model.eval(), input_config_of_processor(model, processor)


def processor_of(architecture: str) -> Any:  # noqa: ANN401 - an image processor
    """Return the image processor that comes with a model; None where none does."""
    library = optional("transformers", "hf")
    name = architecture.removeprefix(HUGGING_FACE)
    folder = Path(name).expanduser()
    if folder.is_dir() and not (folder / _CONFIG).is_file():
        return None
    try:
        return library.AutoImageProcessor.from_pretrained(
            str(folder) if folder.is_dir() else name, trust_remote_code=False
        )
    except Exception as error:
        raise CheckpointError(
            f"The image processor of '{name}' cannot be read ({_reason(error)}): check its "
            f"{_CONFIG}."
        ) from None


def describe(model: nn.Module) -> dict[str, Any] | None:
    """Return how transformers makes a module, as plain values; None for other modules.

    Returns:
        `architecture`, and `model_options` with the model's config.
    """
    config = getattr(model, "config", None)
    if not type(model).__module__.startswith("transformers.") or config is None:
        return None
    plain = json.loads(config.to_json_string(use_diff=False))
    plain.pop("_name_or_path", None)
    name = str(getattr(model, "name_or_path", "") or type(model).__name__)
    if Path(name).is_dir():  # which is nobody's business, and not needed any more
        name = Path(name).resolve().name
    return {"architecture": HUGGING_FACE + name, "model_options": {"config": plain}}


def class_names_in(model: nn.Module) -> list[str] | None:
    """Return the names of a model's classes; None where its config has but numbers for them."""
    config: Any = model.config
    names = [str(config.id2label[label]) for label in range(config.num_labels)]
    numbered = all(name == f"LABEL_{label}" for label, name in enumerate(names))
    return None if numbered else names


def is_processor(transform: object) -> bool:
    """Whether a transform is an image processor of transformers, which files can keep."""
    return type(transform).__module__.startswith("transformers.") and hasattr(
        transform, "to_json_string"
    )


def describe_processor(processor: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what `preprocessor_config.json` says of an image processor."""
    kept: dict[str, Any] = json.loads(processor.to_json_string())
    return kept


def read_processor(content: dict[str, Any]) -> Any:  # noqa: ANN401
    """Make an image processor from what `describe_processor` gave.

    Raises:
        CheckpointError: If transformers knows no such processor.
    """
    library = optional("transformers", "hf")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / _CONFIG).write_text(json.dumps(content), encoding="utf-8")
        try:
            return library.AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            raise CheckpointError(
                f"The image processor that is kept with the prototypes cannot be made "
                f"({_reason(error)}): give it to ppn.load as transform=."
            ) from None


def input_config_of_processor(model: nn.Module, processor: Any) -> InputConfig:  # noqa: ANN401
    """Say what a model expects of an image, from its processor where it has one.

    A processor that stretches pictures to a square cannot be said in these words: their shorter
    side is resized, and the middle taken.
    """
    config: Any = model.config
    side = getattr(config, "image_size", None) or 224
    height, width = (side, side) if isinstance(side, int) else tuple(side)
    if processor is None:
        return InputConfig((height, width)).with_channels(getattr(config, "num_channels", 3))
    found = processor.to_dict()
    size, crop = dict(found.get("size") or {}), dict(found.get("crop_size") or {})
    shorter = size.get("shortest_edge") or size.get("height") or height
    if found.get("do_center_crop") and crop:
        height, width = crop["height"], crop["width"]
    elif "height" in size:
        height, width = size["height"], size["width"]
    else:
        height = width = shorter
    percent = found.get("crop_pct") or min(1.0, height / shorter)
    normal = found.get("do_normalize", True)
    return InputConfig(
        (height, width),
        tuple(found["image_mean"]) if normal else (0.0, 0.0, 0.0),
        tuple(found["image_std"]) if normal else (1.0, 1.0, 1.0),
        _MODES.get(int(found.get("resample") or 3), "bicubic"),
        float(percent),
    )


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200].rstrip(".")
