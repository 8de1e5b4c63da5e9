"""The exceptions a user can cause; each message is one sentence that says what to do."""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType


class PPNError(Exception):
    """A mistake in the input: what was wrong, where, and what to do, in one sentence.

    The command line prints the message to standard error and exits with code 2; no traceback.
    """

    def __init__(self, message: str) -> None:
        # A DataLoader worker re-raises an exception as `type(text of its whole traceback)`:
        # only the last line of that text is ours.
        found = re.findall(r"^(?:[\w.]+\.)?\w+Error: (.+)$", message, flags=re.MULTILINE)
        told = found[-1] if "Original Traceback" in message and found else message
        super().__init__(re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", told))  # other libraries' colours


class PPNWarning(UserWarning):
    """Something that may not be what the user means, in one sentence."""


def warn(message: str) -> None:
    """Give a `PPNWarning` that names the line of the user's own code."""
    frame, level = sys._getframe(1), 2
    within = ("ppn", "torch", "contextlib")
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in within:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, PPNWarning, stacklevel=level)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'X'?" for the most similar word; "" where none is similar."""
    folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return f"did you mean '{folded[found[0]]}'?" if found else ""


class DataError(PPNError):
    """Data that is missing, corrupt or inconsistent."""


class HeadError(PPNError):
    """A classifier whose head cannot be decomposed exactly."""


class CheckpointError(PPNError):
    """A checkpoint or weight file that does not fit where it is loaded."""


class DiscoveryError(PPNError):
    """Features from which no prototypes can be found."""


class MissingPackageError(PPNError):
    """An optional package that is not installed; whatever needs it can be left out."""


def optional(package: str, extra: str) -> ModuleType:
    """Import a package of an extra.

    Args:
        package: Its name in Python, such as `captum.attr`.
        extra: The extra of `ppn` that installs it.

    Raises:
        MissingPackageError: If it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        root = package.split(".")[0]
        why = "is not installed" if error.name == root else f"cannot be imported ({error})"
        raise MissingPackageError(f"{root} {why}: run pip install 'ppn[{extra}]'.") from None
