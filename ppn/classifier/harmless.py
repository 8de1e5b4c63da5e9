"""What training scripts save beside weights and what may be read: values, never code."""

from __future__ import annotations

import argparse
import datetime
import pathlib
import types
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy._core.multiarray import (
    _reconstruct,
    scalar,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_NAMED = [
    *((part, f"{module}.{part.__name__}") for module in ("numpy.core.multiarray",
      "numpy._core.multiarray") for part in (_reconstruct, scalar)),
    *((pathlib.PurePosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    *((pathlib.PureWindowsPath, f"{module}.WindowsPath") for module in ("pathlib",
      "pathlib._local")),
]  # fmt: skip
HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    types.SimpleNamespace,
    datetime.datetime,
    datetime.date,
    datetime.timedelta,
    np.ndarray,
    np.dtype,
    *(getattr(np.dtypes, name) for name in np.dtypes.__all__),
    *_NAMED,
]
"""For `torch.serialization.safe_globals`: names of older numpy and of other systems included."""
