"""What a parser has to say about a mistake, in one sentence that names what was probably meant."""

from __future__ import annotations

import difflib
import errno
import importlib
import re
from typing import TYPE_CHECKING

from jsonargparse import ArgumentError, ArgumentParser

from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
_LOST = re.compile(r"Connection closed by peer|Connection reset|NCCL.*(remote|abort)")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'X'?" for the most similar word; "" where none is similar."""
    folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f"did you mean '{folded[found[0]]}'?" if found else ""


def mistake(error: BaseException, prog: str) -> str | None:
    """Return the user's mistake behind an error as a sentence; None if it is no mistake.

    Args:
        error: Whatever was raised; jsonargparse wraps the errors of constructors.
        prog: What the user has typed before the arguments.
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
            return sentence(str(found), prog)
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
    unknown = re.match(r"unrecognized arguments: (\S+)", message)
    if unknown:
        option = unknown[1].split("=")[0]
        if not option.startswith("-"):
            return f"There is nothing to do with '{option}': {more}"
        return f"There is no option {option}: {nearest(option, flags) or more}"
    needed = re.match(r"the following arguments are required: (.+)", message)
    if needed:
        names = [f"--{n}" if f"--{n}" in flags else n for n in needed[1].split(", ")]
        return f"{' and '.join(names)} must be given: {more}"
    valueless = re.match(
        r"argument (?:-\S, )?(\S+): expected (?:one|at least one) argument", message
    )
    if valueless:
        return f"{valueless[1]} needs a value: {more}"
    choice = re.match(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.+)\)", message)
    if choice:
        known = re.findall(r"[\w-]+", choice[3])
        return f"There is no {choice[1]} '{choice[2]}': {nearest(choice[2], known) or more}"
    return _of_value(message, more)


def _of_value(message: str, more: str) -> str:
    """What is wrong with the value of one option."""
    keys = re.findall(r'Parser key "([^"]+)"', message)
    if not keys:
        return f"{' '.join(message.split()).rstrip('.')}; {more}"
    option = f"--{'.'.join(keys)}"
    strange = re.search(r"given class_path '([\w.]+)':\s+Option '([^']+)' is not accepted", message)
    if strange:
        path, name = strange.groups()
        hint = nearest(name, _options(path)) or "see --print_config."
        return f"{path.rsplit('.', 1)[-1]} has no option '{name}' ({option}.{name}): {hint}"
    absent = re.search(r"File does not exist: '?([^'\n]+)", message)
    if absent:
        return f"{option}: there is no file {absent[1]}."
    value = re.findall(
        r"(?:Got value|Given value): (.*)|Not of type \w+: (\S+) does not conform", message
    )
    given = re.sub(r"^NestedArg\(.*val='(.*)'\)$", r"\1", "".join(value[0])) if value else ""
    if "import path" in message:
        if re.search(r"\.(ya?ml|json)$", given):
            return f"{option}: there is no file {given}."
        hint = nearest(given, _classes(message)) or "give its name, or its module and name."
        return f"There is no class '{given}' for {option}: {hint}"
    if re.search(r"\(choose from|Expected|Not of type", message) and value:
        return f"{option} {given} does not fit: the value must be {_wanted(message)}."
    return f"{option}: {' '.join(message.split(':', 1)[-1].split())}"


def _wanted(message: str) -> str:
    forms = re.findall(
        r"(?:Expected an? |Not of type )(?:<class '([\w.]+)'>|typing\.(Literal\[[^\]]*\])|(\w+))",
        message,
    )
    texts = []
    for kind, literal, other in forms:
        name = (kind or other).rsplit(".", 1)[-1]
        text = f"one of {literal[8:-1]}" if literal else _KINDS.get(name, name)
        if text not in texts:
            texts.append(text)
    return " or ".join(sorted(texts, key=lambda text: text == "nothing"))


def _options(class_path: str) -> list[str]:
    module, name = class_path.rsplit(".", 1)
    kind = getattr(importlib.import_module(module), name)
    return [*ArgumentParser().add_class_arguments(kind, fail_untyped=False)]


def _classes(message: str) -> list[str]:
    """Names of all known subclasses of the classes that the message says were expected."""
    found: set[str] = set()
    subtypes = re.search(r"Subtypes: (.+)", message)
    for path in re.findall(r"[\w.]+\.\w+", subtypes[1] if subtypes else ""):
        module, name = path.rsplit(".", 1)
        waiting = [getattr(importlib.import_module(module), name, None)]
        while waiting:
            kind = waiting.pop()
            if isinstance(kind, type) and kind.__module__.split(".")[0] != "collections":
                found.add(kind.__name__)
                waiting += type.__subclasses__(kind)
    return sorted(found)
