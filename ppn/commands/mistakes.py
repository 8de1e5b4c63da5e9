"""What a parser has to say about a mistake, in one sentence that names what was probably meant."""

from __future__ import annotations

import errno
import importlib
import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentError, ArgumentParser

from ppn.errors import PPNError, nearest
from ppn.io.files import parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "dict": "a mapping",
    "list": "a list",
    "NoneType": "nothing",
    "PositiveInt": "a whole number of at least 1",
    "NonNegativeInt": "a whole number of at least 0",
    "PositiveFloat": "a number above 0",
}


_UNWRITABLE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
_RENAMED = {"--of": "--target"}
"""Options by the names that they had."""
_LOST = re.compile(r"Connection closed by peer|Connection reset|NCCL.*(remote|abort)")


def mistake(error: BaseException, prog: str, help_text: str = "") -> str | None:
    """Return the user's mistake behind an error as a sentence; None if it is no mistake.

    Args:
        error: Whatever was raised; jsonargparse wraps the errors of constructors.
        prog: What the user has typed before the arguments.
        help_text: See `sentence`.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from ppn.distributed import LOST

    chain = list(_causes(error))
    for found in chain:
        if isinstance(found, PPNError):
            return str(found)
    for found in chain:
        if isinstance(found, MisconfigurationException):
            return " ".join(str(found).split())
        if isinstance(found, RuntimeError) and "conditioned on metric" in str(found):
            return " ".join(str(found).split()).rstrip(".") + "."  # of EarlyStopping
        if isinstance(found, RuntimeError) and _LOST.search(str(found)):
            return LOST
        if isinstance(found, OSError) and found.errno in _UNWRITABLE:
            place = found.filename or "The run's directory"
            return (
                f"{place} cannot be written ({found.strerror}): check the path, its permissions "
                "and the space left on it."
            )
    for found in chain:
        if isinstance(found, ArgumentError):
            return sentence(str(found), prog, help_text)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def sentence(message: str, prog: str, help_text: str = "") -> str:
    """Return what is wrong with the arguments and what to do.

    Args:
        message: Of a parser's `ArgumentError`.
        prog: What the user has typed before the arguments.
        help_text: What the parser's `--help` prints, which names all options.
    """
    more = f"see {prog} --help."
    flags = re.findall(r"--[\w.]+", help_text)
    unknown = re.match(
        r"unrecognized arguments: (\S+)"
        r"|(?:Group '(.+)'|Subcommand '.+') does not accept option '(.+)'",
        message,
    )
    if unknown:
        word, group, key = unknown.groups()
        option = word.split("=")[0] if word else "--" + ".".join(filter(None, (group, key)))
        if not option.startswith("-"):
            return f"There is nothing to do with '{option}': {more}"
        hint = nearest(_RENAMED.get(option, option), flags) or nearest(option.split(".")[0], flags)
        return f"There is no option {option}: {hint or more}"
    needed = re.match(r"the following arguments are required: (.+)", message)
    if needed:
        names = [name.split(".")[-1] for name in needed[1].split(", ")]
        names = [f"--{name}" if f"--{name}" in flags else name for name in names]
        return f"{' and '.join(names)} must be given: {more}"
    valueless = re.match(r"argument (?:-\S, )?(\S+): expected (?:at least )?one argument", message)
    if valueless:
        return f"{valueless[1]} needs a value: {more}"
    choice = re.match(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.+)\)", message)
    if choice:
        known = re.findall(r"[\w-]+", choice[3])
        return f"There is no {choice[1]} '{choice[2]}': {nearest(choice[2], known) or more}"
    helped = re.match(r"--(data|model)\.help: .*: (\S+)$", message)
    if helped:
        kind = {"data": "LightningDataModule", "model": "LightningModule"}[helped[1]]
        hint = nearest(helped[2], _subclasses([f"lightning.{kind}"]))
        return f"There is no class '{helped[2]}' for --{helped[1]}.help: {hint or more}"
    return _of_value(message, more)


def damaged(words: Sequence[str]) -> str | None:
    """Return what is wrong with the first file of a command line that is not YAML, if one is."""
    for before, word in zip(["", *words], words, strict=False):
        path = Path(word.partition("=")[2] if word.startswith("--") else word)
        options = "--config" in (before, word.partition("=")[0])
        if (options or path.suffix in (".yaml", ".yml")) and path.is_file():
            try:
                content = parse_yaml(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                return f"{path} cannot be read as YAML ({error}): correct it."
            if options and not isinstance(content, dict):
                return f"{path} is no configuration: give a YAML file of options and their values."
    return None


def _of_value(message: str, more: str) -> str:
    """What is wrong with the value of one option."""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    if not keys:
        return f"{' '.join(message.split()).rstrip('.')}; {more}"
    option = f"--{'.'.join(keys)}"
    strange = re.search(
        r"given class_path '([\w.]+)':\s+(?:Option '([^']+)' is not accepted"
        r"|the following arguments are required: (.+))",
        message,
    )
    if strange:
        path, name, needed = strange.groups()
        kind = path.rsplit(".", 1)[-1]
        if needed:
            return f"{kind} needs {needed}: set {option}.{needed.split(', ')[0]}."
        known = _options(path)
        listed = ", ".join(known)
        hint = nearest(name, known) or f"its options are {listed}."
        if not known:  # the base of all, because the class was not named yet
            hint = f"name the class before its options, as in {option}=NAME."
        elif kind == "SyntheticBirdsDataModule" and name == "root":
            hint = "it draws its birds. Your own images are --data ppn:data/folder --data.root DIR."
        return f"{kind} has no option '{name}' ({option}.{name}): {hint}"
    absent = re.search(r"File does not exist: '?([^'\n]+)", message)
    if absent:
        return f"{option}: there is no file {absent[1]}."
    named = re.search(
        r"import path (?:string|format): (\S+)|Import path (\S+) does not"
        r"|given class_path '(.+)':\s+(?:No module named|module .* has no attribute)"
        r"|Expected a path but (\S+) (?:.|\n)*Import path does not correspond",
        message,
    )
    if named:
        given = next(filter(None, named.groups()))
        if re.search(r"\.(ya?ml|json)$", given):
            return f"{option}: there is no file {given}."
        hint = nearest(given, _classes(message)) or "give its name, or its module and name."
        return f"There is no class '{given}' for {option}: {hint}"
    value = re.search(
        r"Got value: (.*)|Given value: (.*)|Not of type \w+: (\S+) does not conform", message
    )
    wanted = _wanted(message)
    if value is None or not wanted:
        return f"{option}: {' '.join(message.split(':', 1)[-1].split())}"
    given = next(filter(None, value.groups()), "")
    return f"{option} {given} does not fit: the value must be {wanted}."


def _wanted(message: str) -> str:
    """What the innermost key may be; "" where the message does not say."""
    first, *lines = message.rsplit("Parser key", 1)[-1].split("\n")
    indent = re.match(r" *", lines[0])[0] if lines else ""  # type: ignore[index]
    within = takewhile(lambda line: line.startswith(indent), lines)
    kinds, literals = [], []
    for kind, literal, other in re.findall(
        r"(?:Expected an? |Not of type )(?:<class '([\w.]+)'>|typing\.Literal\[([^\]]*)\]|(\w+))",
        "\n".join([first, *within]),
    ):
        if literal:
            literals += [word.strip("' ") for word in literal.split(",")]
        else:
            name = (kind or other).rsplit(".", 1)[-1]
            kinds.append(_KINDS.get(name, name))
    if literals:
        kinds.insert(0, f"one of {', '.join(dict.fromkeys(literals))}")
    return " or ".join(sorted(dict.fromkeys(kinds), key=lambda kind: kind == "nothing"))


def _options(class_path: str) -> list[str]:
    module, name = class_path.rsplit(".", 1)
    kind = getattr(importlib.import_module(module), name)
    return [*ArgumentParser().add_class_arguments(kind, fail_untyped=False)]


def _classes(message: str) -> list[str]:
    """Names of all known subclasses of the classes that the message says were expected."""
    subtypes = re.findall(r"Subtypes: (.+)", message)
    return _subclasses(re.findall(r"[\w.]+\.\w+", subtypes[-1] if subtypes else ""))


def _subclasses(bases: Iterable[str]) -> list[str]:
    """Names of these classes and of all known subclasses."""
    found: set[str] = set()
    for path in bases:
        module, name = path.rsplit(".", 1)
        waiting = [getattr(importlib.import_module(module), name, None)]
        while waiting:
            kind = waiting.pop()
            if isinstance(kind, type) and kind.__module__.split(".")[0] != "collections":
                found.add(kind.__name__)
                waiting += type.__subclasses__(kind)
    return sorted(found)
