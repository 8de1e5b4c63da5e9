"""Writes files whole or not at all, and reads JSON and YAML."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside the target; what is written there then takes its place.

    Args:
        path: The target; its folder is made. A link stays, and the file it points to is replaced.

    Raises:
        DataError: If it cannot be written, for example because the disk is full, or is a folder,
            pipe or device; an earlier file stays whole.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.exists() and not target.is_file():
            raise DataError(f"{path} is not a regular file: choose another path to write to.")
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise DataError(
            f"{path} cannot be written ({reason}): check the path and the space left on the disk."
        ) from None
    finally:
        with contextlib.suppress(OSError):  # it may not be there
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file; see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def parse_json(text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """Return what a JSON text holds.

    Raises:
        ValueError: If it is not JSON, is nested too deeply, or holds half a character; the
            message is one line.
    """
    try:
        content = json.loads(text)
        if "\\u" in text:  # half a character, which nobody can print or store
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """Return what a YAML text holds, where JSON could say the same.

    Raises:
        ValueError: If it is not YAML, holds more than plain values, or contains itself; the
            message is one line.
    """
    import yaml  # takes a while, and only some need it

    try:
        content = yaml.safe_load(text)
        _expect_bounded(content)
        json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
    except Exception as error:  # what is tagged raises whatever it stumbles over
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    return content


def _expect_bounded(content: Any, most: int = 1_000_000) -> None:  # noqa: ANN401 - of YAML
    """Refuse what a few aliases blow up, or nest in itself."""
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen + len(waiting) > most:
            raise ValueError("its aliases stand for too much")
        if isinstance(value, (dict, list)):
            waiting += value.values() if isinstance(value, dict) else value


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON; see `replacing`."""
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())
