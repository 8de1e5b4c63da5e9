"""Commands as typed functions: the signature and the docstring are the options."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentError, ArgumentParser

from ppn.commands.mistakes import sentence
from ppn.errors import PPNError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Command = Callable[..., int]

_OF_DATA = {"root": "data.root", "set": "data.KEY"}
"""Parameters whose options are called as `ppn fit` calls them."""


def command_of(name: str) -> Command | Mapping[str, Command]:
    """Return the function of a command, or several by their names; see `SMALL_COMMANDS`."""
    module = import_module(f"ppn.commands.{name}")
    found: Command | Mapping[str, Command] = getattr(module, "COMMANDS", None) or getattr(
        module, name
    )
    return found


def make_parser(prog: str, command: Command | Mapping[str, Command]) -> ArgumentParser:
    """Return the parser of a command.

    Parameters without a default are positional unless they are keyword-only. Lists take several
    words, or an option that can be repeated. Booleans are flags. `root` and `set` are --data.root
    and --data.KEY; see `run`.

    Args:
        prog: What the user types to call it.
        command: A function whose arguments are plain values, or several by their names.
    """
    if not callable(command):
        top = ArgumentParser(prog=prog, exit_on_error=False, allow_abbrev=False)
        commands = top.add_subcommands(dest="command")
        for name, function in command.items():
            said = parse_docstring(function.__doc__ or "").short_description
            commands.add_subcommand(name, make_parser(f"{prog} {name}", function), help=said)
        return top
    doc = parse_docstring(command.__doc__ or "")
    parser = ArgumentParser(
        prog=prog, description=doc.short_description, exit_on_error=False, allow_abbrev=False
    )
    helps = {argument.arg_name: argument.description for argument in doc.params}
    hints = get_type_hints(command)
    for name, parameter in inspect.signature(command).parameters.items():
        required = parameter.default is parameter.empty
        positional = required and parameter.kind is not parameter.KEYWORD_ONLY
        options: dict[str, Any] = {"help": helps[name]}
        if not positional:
            options |= {"required": True} if required else {"default": parameter.default}
        if hints[name] is bool:
            options["action"] = "store_true"
        elif get_origin(hints[name]) in (list, tuple):
            options["type"] = get_args(hints[name])[0]
            if required:
                options["nargs"] = "+"
            else:
                options |= {"action": "append", "default": list(parameter.default)}
        else:
            options["type"] = hints[name]
        if name in _OF_DATA:
            options["dest"] = name
        if name == "set":
            options["metavar"] = "VALUE"
        parser.add_argument(name if positional else f"--{_OF_DATA.get(name, name)}", **options)
    return parser


def run(prog: str, command: Command | Mapping[str, Command], arguments: Sequence[str]) -> int:
    """Parse a command line and call its function.

    Args:
        prog: What the user has typed before the arguments.
        command: See `make_parser`.
        arguments: The rest of the command line. Where the command has a parameter `set`, the
            option --data.crop box, of any such name, gives it crop=box.

    Returns:
        What the function returns; 0 after `--help`.

    Raises:
        PPNError: If an argument is unknown, missing or does not fit.
    """
    parser = make_parser(prog, command)
    words = list(arguments)
    if callable(command) and "set" in inspect.signature(command).parameters:
        words = data_options(words)
    if not callable(command):
        if not words:
            parser.print_help()
            return 0
        if words[0] in command:
            return run(f"{prog} {words[0]}", command[words[0]], words[1:])
    try:
        given = parser.parse_args(words)
    except ArgumentError as error:
        raise PPNError(sentence(str(error), prog, parser.format_help())) from None
    except SystemExit:  # --help
        return 0
    assert callable(command)
    return command(**given.as_dict())


def data_options(words: Sequence[str]) -> list[str]:
    """Put `--data.KEY key=value` in the place of `--data.key value`.

    Args:
        words: A command line.

    Raises:
        PPNError: If an option has no value.
    """
    found: list[str] = []
    waiting = iter(words)
    for word in waiting:
        option = re.fullmatch(r"--data\.(\w+)(?:=(.*))?", word, re.DOTALL)
        if option is None or option[1] == "root":
            found.append(word)
            continue
        value = next(waiting, None) if option[2] is None else option[2]
        if value is None or (option[2] is None and value.startswith("--")):
            raise PPNError(f"--data.{option[1]} needs a value, as in --data.crop box.")
        found.append(f"--data.KEY={option[1]}={value}")
    return found


def parts_of_class(text: str, names: Sequence[str], option: str) -> tuple[str, list[str]]:
    """Split CLASS:1,3 into the class and its parts; a class may have a colon in its name.

    Args:
        text: What was typed.
        names: Of the classes, for the message.
        option: What it was typed for.

    Raises:
        PPNError: If it is of another form.
    """
    name, colon, parts = text.rpartition(":")
    if not colon or not name or not parts.strip():
        raise PPNError(f"--{option} {text} is not of the form CLASS:PART, as in '{names[0]}:2'.")
    return name, [part.strip() for part in parts.split(",")]
