"""DataModules by the short names of the command line, with options given as text."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from ppn.data.catalog import CATALOG
from ppn.data.lists import read_text
from ppn.errors import DataError
from ppn.io.files import parse_yaml
from ppn.io.schema import Maybe, mismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ppn.data.datamodule import FineGrainedDataModule

_UNPUBLISHED = {
    "synthetic_birds": ("ppn.data.synthetic", "SyntheticBirdsDataModule"),
    "folder": ("ppn.data.folder", "ImageFolderDataModule"),
}
"""Short name -> module and class of the other data sets."""


def default_base() -> Path:
    """Where data sets are looked for: the environment variable PPN_DATA, or `data` here."""
    return Path(os.environ.get("PPN_DATA") or "data").expanduser()


def names() -> list[str]:
    """Return the short names of all data sets."""
    return [*CATALOG, *_UNPUBLISHED]


def title_of(section: dict[str, Any]) -> str:
    """What the data set of a finished run is called; empty where it is not known.

    Args:
        section: `data` of the run's `config.yaml`.
    """
    name = str(section.get("class_path") or "").rsplit(".", 1)[-1]
    root = (section.get("init_args") or {}).get("root")
    if root and name == _UNPUBLISHED["folder"][1]:
        return Path(root).name
    return name.removesuffix("DataModule")


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
            raise DataError(f"{pair} is not of the form KEY=VALUE, as in crop=box.")
        try:
            options[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise DataError(
                f"--data.{key} {value}: the value is not YAML, put quotes around it if it is text."
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
    return _make(name, module_class(name), root, options)


def build_config(
    path: str, root: str | None = None, options: dict[str, Any] | None = None
) -> FineGrainedDataModule:
    """Return the DataModule that a file of `configs/data/` describes, or one of a short name.

    Args:
        path: A YAML file with `class_path` and `init_args`, at its top or below `data`, as in the
            configuration of a run; or one of `names`.
        root: See `build`.
        options: Arguments that replace those of the file.

    Raises:
        DataError: If the file is missing or says no data set; see `build`.
    """
    if path in names():
        return build(path, root, options)
    file = Path(path).expanduser()
    if not file.suffix and not file.exists():
        module_class(path)  # says which names there are
    try:
        content = parse_yaml(read_text(file, "give a file of configs/data, or a short name"))
    except ValueError as error:
        raise DataError(f"{path} is not YAML ({error}): correct the file.") from None
    content = content.get("data", content) if isinstance(content, dict) else content
    fault = mismatch(content, {"class_path": str, "init_args": Maybe(dict)})
    if fault is not None:
        raise DataError(f"{path} describes no data set ({fault}): give a file of configs/data.")
    given = {**(content.get("init_args") or {}), **(options or {})}
    found = content["class_path"]
    for name in names():
        if module_class(name).__name__ == found.rpartition(".")[2]:
            return _make(name, module_class(name), root, given)
    return _make(found, _own_class(path, found), root, given)


def _own_class(path: str, place: str) -> type[FineGrainedDataModule]:
    """The class of a user's own code that a file names."""
    from ppn.data.datamodule import FineGrainedDataModule

    file, _, name = place.rpartition(".")
    try:
        found = getattr(importlib.import_module(file), name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if not isinstance(found, type) or not issubclass(found, FineGrainedDataModule):
        raise DataError(f"{path}: there is no data set {place}: correct class_path.")
    return found


def _make(
    name: str,
    module: type[FineGrainedDataModule],
    root: str | None,
    options: dict[str, Any] | None,
) -> FineGrainedDataModule:
    """Make a DataModule from checked options; see `build`."""
    parser = ArgumentParser(exit_on_error=False)
    accepted = parser.add_class_arguments(module)
    given = dict(options or {})
    for key in given:
        if key not in accepted:
            raise DataError(f"{name} has no option --data.{key}: it takes {', '.join(accepted)}.")
    if root is not None:
        if "root" not in accepted:
            raise DataError(
                f"{name} draws its images and reads no files: leave out --data.root {root}."
            )
        given["root"] = root
    if "root" in accepted and "root" not in given:
        if name not in CATALOG:
            raise DataError(f"{name} needs the folder of its images: add --data.root FOLDER.")
        given["root"] = str(default_base())
    try:
        values = parser.parse_object(given).as_dict()
    except ArgumentError as error:
        raise DataError(_sentence(str(error), given)) from None
    return module(**values)


def _sentence(message: str, given: dict[str, Any]) -> str:
    """Say in one sentence what jsonargparse has to say about a value."""
    key = re.match(r'Parser key "(\w+)"', message)
    kinds = re.findall(r"Expected an? (?:<class '(\w+)'>|typing\.(\w+\[[^\]]*\]))", message)
    if key is None or not kinds:
        return f"--data: {' '.join(message.split())}"
    texts = [name or re.sub(r"^Literal\[(.+)\]$", r"one of \1", form) for name, form in kinds]
    wanted = " or ".join("nothing" if text == "NoneType" else text for text in texts)
    return f"--data.{key[1]} {given.get(key[1])} does not fit: the value must be {wanted}."
