"""DataModules by the short names of the command line, with options given as text."""

from __future__ import annotations

import importlib
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from ppn.data.catalog import CATALOG
from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.data.datamodule import FineGrainedDataModule

_UNPUBLISHED = {
    "synthetic_birds": ("ppn.data.synthetic", "SyntheticBirdsDataModule"),
    "folder": ("ppn.data.folder", "ImageFolderDataModule"),
}
"""Short name -> module and class of the data sets that nobody published."""


def default_base() -> Path:
    """Where data sets are looked for: the environment variable PPN_DATA, or `data` here."""
    return Path(os.environ.get("PPN_DATA") or "data").expanduser()


def names() -> list[str]:
    """Return the short names of all data sets."""
    return [*CATALOG, *(name for name, (file, _) in _UNPUBLISHED.items() if find_spec(file))]


def module_class(name: str) -> type[FineGrainedDataModule]:
    """Return the DataModule of a short name.

    Raises:
        DataError: If there is none of that name.
    """
    if name not in names():
        raise DataError(f"There is no data set '{name}': choose one of {', '.join(names())}.")
    if name in CATALOG:
        return CATALOG[name]
    file, attribute = _UNPUBLISHED[name]
    found: type[FineGrainedDataModule] = getattr(importlib.import_module(file), attribute)
    return found


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse "key=value" texts; values are YAML, as in the configuration files.

    Raises:
        DataError: If a text has no "=" or its value is not YAML.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise DataError(f"--set {pair} is not of the form KEY=VALUE, as in --set crop=box.")
        try:
            options[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise DataError(
                f"--set {pair}: the value is not YAML, put quotes around it if it is text."
            ) from None
    return options


def build(
    name: str, root: str | None = None, options: dict[str, Any] | None = None
) -> FineGrainedDataModule:
    """Return the DataModule of a short name, made with checked options.

    Args:
        name: One of `names`.
        root: Folder of the data set, or one that holds it; None takes `default_base` for
            published data sets.
        options: Further arguments of the DataModule's constructor.

    Raises:
        DataError: If the name or an option is unknown, a value does not fit, or the data set needs
            a folder and none is given, or the other way round.
    """
    module = module_class(name)
    parser = ArgumentParser(exit_on_error=False)
    accepted = parser.add_class_arguments(module)
    given = dict(options or {})
    for key in given:
        if key not in accepted:
            raise DataError(
                f"{name} has no option '{key}': --set takes one of {', '.join(accepted)}."
            )
    if root is not None:
        if "root" not in accepted:
            raise DataError(f"{name} is drawn and reads no files: leave out --root {root}.")
        given["root"] = root
    if "root" in accepted and "root" not in given:
        if name not in CATALOG:
            raise DataError(f"{name} needs the folder of its images: add --root FOLDER.")
        given["root"] = str(default_base())
    try:
        values = parser.parse_object(given).as_dict()
    except ArgumentError as error:
        raise DataError(_sentence(str(error), given)) from None
    return module(**values)


def _sentence(message: str, given: dict[str, Any]) -> str:
    """Say in one sentence what jsonargparse has to say about a value."""
    found = re.match(r'Parser key "(\w+)":\s*Expected an? (.+?)\. Got value', message, re.DOTALL)
    if found is None:
        return f"--set: {' '.join(message.split())}"
    key, kind = found.groups()
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind.replace("typing.", ""))
    kind = re.sub(r"^Literal\[(.+)\]$", r"one of \1", kind)
    return f"--set {key}={given.get(key)} does not fit: the value must be {kind}."
