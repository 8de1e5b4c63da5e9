"""Writes files whole or not at all, and reads JSON and YAML."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user gave, with `~` as the home folder.

    Raises:
        DataError: If it is no path, or there is no such user.
    """
    try:
        given = os.fspath(path)
        if not given or "\0" in given:
            raise TypeError
        return Path(path).expanduser()
    except (TypeError, RuntimeError):
        raise DataError(f"{path!r} is not a path: give the path of a file or folder.") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside the target; what is written there then takes its place.

    A symbolic link stays one, and the file that it names is written. A file that is replaced keeps
    its permissions. `~` is the home folder.

    Args:
        path: The target; its folder is made.

    Raises:
        DataError: If the target is there and is not a regular file, or it cannot be written, for
            example because the disk is full; an earlier file stays whole.
    """
    target = user_path(path)
    temporary = None
    try:
        if target.is_symlink():
            target = Path(os.path.realpath(target))
        there = _mode(target)
        if there is not None and not stat.S_ISREG(there):
            kind = "a folder" if stat.S_ISDIR(there) else "a pipe, device or socket"
            raise DataError(f"{path} is not a regular file but {kind}: choose another path.")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Of no length of its own, and another one for each thread that writes the same target.
        temporary = target.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.part")
        yield temporary
        if there is not None:
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise DataError(
            f"{path} cannot be written ({reason}): check the path and the space left on the disk."
        ) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # there is none, or its folder is none
                temporary.unlink()


def _mode(path: Path) -> int | None:
    """What kind of thing is at a path, and its permissions; None where there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


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
