"""Reads MATLAB files as plain Python values."""

from __future__ import annotations

import multiprocessing
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.io import loadmat

from ppn.errors import DataError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path


def read_mat(path: Path, *names: str) -> list[Any]:
    """Read variables of a `.mat` file, each as a one-dimensional array.

    Args:
        path: The file.
        names: Its variables.

    Raises:
        DataError: If the file is missing, damaged, or lacks a variable.
    """
    if not path.exists():
        raise DataError(f"{path} is missing: complete the data set.")
    content = _load_apart(path) if sys.platform == "linux" else _load(path)
    if isinstance(content, str):
        raise DataError(f"{path} cannot be read ({content}): replace the file.")
    absent = [name for name in names if name not in content]
    if absent:
        raise DataError(f"{path} has no variable {absent[0]}: get the official file.")
    return [np.atleast_1d(content[name]) for name in names]


def _load(path: Path) -> dict[str, Any] | str:
    """The variables of a file, or why they cannot be had."""
    try:
        return dict(loadmat(path, squeeze_me=True))
    except Exception as error:  # scipy raises whatever it stumbles over in a damaged file
        return " ".join(str(error).split())[:200] or type(error).__name__


def _load_apart(path: Path) -> dict[str, Any] | str:
    """The same in a process of its own: on some damaged files scipy crashes."""
    context = multiprocessing.get_context("fork")  # at once, as the loaders' workers
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(path, theirs))
    process.start()
    theirs.close()
    try:
        content: dict[str, Any] | str = ours.recv()
    except EOFError:
        content = "its reader crashed"
    process.join()
    return content


def _answer(path: Path, answer: Connection) -> None:
    answer.send(_load(path))
