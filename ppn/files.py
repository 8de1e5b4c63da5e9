"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from ppn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def write_bytes(path: Path, content: bytes) -> None:
    """Write to a temporary file beside the target, then rename it.

    Raises:
        DataError: If the file cannot be written; an earlier one stays whole.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}): check the path and the space "
            "left on the disk."
        ) from None
    finally:
        with contextlib.suppress(OSError):  # there is none, or its folder is none
            temporary.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON; see `write_bytes`."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
