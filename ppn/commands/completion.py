"""`ppn completion SHELL`: completion of commands and options, by shtab."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Literal

from ppn.commands.parsing import command_of, make_parser
from ppn.commands.short_help import ABOUT, SMALL_COMMANDS, lightning_parser
from ppn.errors import PPNError


def completion(shell: Literal["bash", "zsh", "tcsh"]) -> int:
    """Print a script that completes commands and options: `source <(ppn completion bash)`.

    Args:
        shell: bash, zsh or tcsh.

    Returns:
        Exit code 0.

    Raises:
        PPNError: If shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        raise PPNError(
            "shtab, which writes completions, is not installed: pip install 'ppn[completion]'."
        ) from None
    print(shtab.complete(whole_parser(), shell))
    return 0


def whole_parser() -> ArgumentParser:
    """Return one parser of all commands, for completion only."""
    top = ArgumentParser(prog="ppn")
    commands = top.add_subparsers()
    parsers = {name: lightning_parser(name) for name in ABOUT}
    parsers |= {name: parser_of(name) for name in SMALL_COMMANDS}
    for name, parser in parsers.items():
        commands.add_parser(
            name, parents=[parser], conflict_handler="resolve", help=parser.description or name
        )
    return top


def parser_of(name: str) -> ArgumentParser:
    """Return the parser of a command that is not Lightning's.

    Args:
        name: One of `SMALL_COMMANDS`.
    """
    if name == "benchmark":  # of a class, not of a function
        from ppn.commands.benchmark import make_parser as benchmark

        return benchmark()
    return make_parser(f"ppn {name}", command_of(name))
