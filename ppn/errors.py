"""The exceptions a user can cause; each message is one sentence that says what to do."""

from __future__ import annotations

import re


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


class DataError(PPNError):
    """Data that is missing, corrupt or inconsistent."""


class HeadError(PPNError):
    """A classifier whose head cannot be decomposed exactly."""


class CheckpointError(PPNError):
    """A checkpoint or weight file that does not fit where it is loaded."""


class DiscoveryError(PPNError):
    """Features from which no prototypes can be found."""
