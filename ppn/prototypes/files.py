"""Prototypes as a pair of files: tensors, and what they are; see `docs/prototype-files.md`."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

import torch
from safetensors.torch import save

from ppn.discovery.token_classifier import TokenClassifier
from ppn.errors import CheckpointError
from ppn.io.files import parse_json, write_bytes, write_json
from ppn.io.schema import Maybe, mismatch
from ppn.io.tensors import misfit, parse_tensors
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.editing import SCHEMA, parse_edits
from ppn.prototypes.stored import NAMING, TOLERANCE, Prototypes, misnamed
from ppn.types import InputConfig, Interpolation

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

TENSORS = "prototypes.safetensors"
DESCRIPTION = "prototypes.json"
FORMAT = "ppn prototypes"
VERSION = 2
"""Grows when those who read the version before would misunderstand the files."""
EDITED = 3
"""The version of files with edits, which readers of version 2 must not take for the black box."""

_CHANNELS = 1024
"""No image has more: hyperspectral ones have hundreds."""
_KIND = {"format": str, "format_version": int}
_STRUCTURE = {
    "architecture": Maybe(str),
    "image_size": Maybe(int),
    "model_options": Maybe(dict),
    "features": Maybe(str),
}
_SCHEMA: dict[str, Any] = {
    "ppn_version": str,
    "tensors": {"file": str, "sha256": str},
    "classifier": {
        **_STRUCTURE,
        "weights": str,
        "input": {
            "size": [int],
            "mean": [float],
            "std": [float],
            "interpolation": str,
            "crop_pct": float,
        },
    },
    "refinement": {"name": str, "exact": bool},
    "parts": Maybe({"names": [str], "remainder": bool}),
    "settings": dict,
    "certificate": dict,
    "edits": SCHEMA,
    "classes": [
        {
            "label": int,
            "name": str,
            "images": int,
            "prototypes": [[{"image": str, "box": [float], "score": float}]],
        }
    ],
}


def write_prototypes(folder: Path, found: Prototypes) -> None:
    """Write the tensors, and then the description, which holds their SHA-256.

    Raises:
        DataError: If they cannot be written.
    """
    content = save(found.tensors)
    description = {
        "format": FORMAT,
        "format_version": EDITED if found.edits else VERSION,
        "ppn_version": found.version,
        "tensors": {"file": TENSORS, "sha256": hashlib.sha256(content).hexdigest()},
        "classifier": {
            **{key: found.structure.get(key) for key in _STRUCTURE},
            "weights": found.weights,
            "input": asdict(found.input),
        },
        "refinement": {"name": found.refinement, "exact": found.exact},
        "parts": {"names": found.part_names, "remainder": found.remainder}
        if found.part_names or found.remainder
        else None,
        "settings": found.settings,
        "certificate": found.certificate,
        **({"edits": [edit.to_dict() for edit in found.edits]} if found.edits else {}),
        "classes": _classes(found),
    }
    write_bytes(folder / TENSORS, content)
    write_json(folder / DESCRIPTION, description)


def _classes(found: Prototypes) -> list[dict[str, Any]]:
    counts = found.tensors["images"].tolist()
    boxes, scores = found.tensors["patch_box"].tolist(), found.tensors["patch_score"].tolist()
    return [
        {
            "label": label,
            "name": name,
            "images": counts[label],
            "prototypes": [
                [
                    {
                        "image": image,
                        "box": boxes[label][part][rank],
                        "score": scores[label][part][rank],
                    }
                    for rank, image in enumerate(names)
                ]
                for part, names in enumerate(found.images[label])
            ],
        }
        for label, name in enumerate(found.class_names)
    ]


def read_prototypes(folder: Path) -> Prototypes:
    """Read the two files of a folder and hold them against their format.

    Raises:
        CheckpointError: If one is missing, damaged, of another kind or version, or does not belong
            to the other.
    """
    path = folder / DESCRIPTION
    try:
        description, tensors = path.read_bytes(), (folder / TENSORS).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{error.filename} cannot be read ({error.strerror}): give a folder with {DESCRIPTION} "
            f"and {TENSORS}, as `ppn fit` writes them."
        ) from None
    try:
        content = parse_json(description.decode())
        _refuse(mismatch(content, _KIND))
        version = EDITED if content.get("edits") else VERSION
        if (content["format"], content["format_version"]) != (FORMAT, version):
            raise ValueError(
                f"its format is {content['format'][:40]!r} {content['format_version']}, but this "
                f"version of ppn reads {FORMAT!r} {version}"
            )
        _refuse(mismatch(content, _SCHEMA))
        if hashlib.sha256(tensors).hexdigest() != content["tensors"]["sha256"]:
            raise ValueError(f"{TENSORS} is damaged, or was written with another {DESCRIPTION}")
        return _interpret(content, parse_tensors(tensors))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path} cannot be used ({reason}): write both files again with `ppn fit`."
        ) from None


def _interpret(content: dict[str, Any], tensors: dict[str, Tensor]) -> Prototypes:
    """Hold the tensors against each other and the description; ValueError if they do not fit."""
    main, patches = tensors.get("prototypes"), tensors.get("patch_index")
    if main is None or main.ndim != 3 or patches is None or patches.ndim != 3 or not main.numel():
        raise ValueError(f"{TENSORS} lacks prototypes (C, k, D) or patch_index (C, k, m)")
    count, k, width = main.shape
    with torch.device("meta"):  # names, shapes and types, and no memory
        dictionary = PartDictionary(count, k, width, patches.shape[2])
        kind = torch.float32
        expected = {
            "prototypes": torch.zeros(main.shape, dtype=kind),
            "bias": torch.zeros(count, dtype=kind),
        }
    parts = content.get("parts") or {"names": [], "remainder": False}
    names, remainder = parts["names"], parts["remainder"]
    _refuse(misnamed(names, remainder, k))
    if names:
        with torch.device("meta"):
            naming = TokenClassifier(width, k - remainder).named_buffers()
        expected |= {NAMING + name: buffer for name, buffer in naming}
    text = misfit(tensors, {**expected, **dict(dictionary.named_buffers())})
    _refuse(None if text is None else f"{TENSORS} does not fit, {text}")
    found = tensors["found"]
    if not bool(((found == 0) | (found == 1)).all() & (found == 1).any()) or int(patches.min()) < 0:
        raise ValueError(f"{TENSORS} holds no classes with prototypes, or no images")
    classes = content["classes"]
    images = [[[p["image"] for p in rank] for rank in entry["prototypes"]] for entry in classes]
    known = (tensors["patch_score"] > -torch.inf).sum(2).tolist()
    if [[len(names) for names in entry] for entry in images] != known:
        raise ValueError(f"its classes, prototypes or patches are not those of {TENSORS}")
    if [entry["label"] for entry in classes] != list(range(count)):
        raise ValueError("its labels do not count from 0")
    classifier = content["classifier"]
    stored = Prototypes(
        tensors,
        [entry["name"] for entry in classes],
        images,
        content["refinement"]["name"],
        content["refinement"]["exact"],
        classifier["weights"],
        _input(classifier["input"]),
        {key: classifier.get(key) for key in _STRUCTURE},
        content["settings"],
        content["certificate"],
        content["ppn_version"],
        names,
        remainder,
        parse_edits(content.get("edits"), found, k),
    )
    if not stored.inexactness <= TOLERANCE:
        raise ValueError("its prototypes do not sum to the rows that they were found for")
    return stored


def _input(given: dict[str, Any]) -> InputConfig:
    size, mean, std, crop = given["size"], given["mean"], given["std"], given["crop_pct"]
    fits = (
        len(size) == 2
        and 0 < len(mean) == len(std) <= _CHANNELS
        and all(0 < side <= 1 << 13 for side in size)
        and all(-100 < value < 100 for value in (*mean, *std))
        and min(std) > 1e-6
        and 0.01 < crop <= 1
        and given["interpolation"] in get_args(Interpolation)
    )
    if not fits:
        raise ValueError("classifier.input is not what a classifier can expect")
    return InputConfig(
        (size[0], size[1]),
        tuple(mean),
        tuple(std),
        given["interpolation"],
        crop,
    )


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise ValueError(reason)
