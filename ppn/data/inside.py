"""Checks that paths from lists and archives stay inside their folder."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def is_inside(name: str) -> bool:
    """Whether a relative path stays below its folder, on every system.

    Links that are in the folder are the user's own and may lead where they like.
    """
    parts = re.split(r"[/\\]", name)
    return bool(name) and parts[0] != "" and ".." not in parts and ":" not in parts[0]


def expect_inside(paths: Iterable[str], place: Path) -> None:
    """Refuse paths that lead out of their folder.

    Args:
        paths: As a data set's lists give them.
        place: The list, or the folder, that the message names.

    Raises:
        DataError: If there is one.
    """
    for path in paths:
        if not is_inside(path):
            raise DataError(f"{place}: image '{path}' must lie below the folder of images.")
