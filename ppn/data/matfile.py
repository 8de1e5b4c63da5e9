"""MATLAB files as plain Python values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.io import loadmat

from ppn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def read_mat(path: Path, *names: str) -> list[Any]:
    """Read variables of a `.mat` file, each as a one-dimensional array.

    Args:
        path: The file.
        names: Its variables.

    Raises:
        DataError: If the file is missing, damaged, or lacks a variable.
    """
    try:
        content = loadmat(path, squeeze_me=True)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: complete the data set.") from None
    except Exception as error:  # scipy raises whatever it stumbles over in a damaged file
        raise DataError(f"{path} cannot be read ({error}): replace the file.") from None
    absent = [name for name in names if name not in content]
    if absent:
        raise DataError(f"{path} has no variable {absent[0]}: get the official file.")
    return [np.atleast_1d(content[name]) for name in names]
