"""A file of clicks that grows by one answer at a time, each of which is on the disk at once."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ppn.data.clicks import HEADER, Click, parse_clicks
from ppn.errors import DataError
from ppn.io.files import replacing, user_path

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HEADER = (",".join(HEADER) + "\n").encode()


class ClickFile:
    """A CSV file of clicks, open for answers; see `read_clicks`.

    An answer is on the disk when `put` returns. A process that is killed loses none; a line that a
    crash of the machine has cut off is dropped when the file is opened again.

    Args:
        path: The file; made, with its folder, where it is missing.

    Attributes:
        torn: Whether a last line was cut off, and dropped.

    Raises:
        DataError: If a line of the file is wrong, it cannot be written, or another process has it
            open.
    """

    def __init__(self, path: Path) -> None:
        self.path = user_path(path)
        self._answers: dict[tuple[str, str], Click] = {}
        self._of: dict[str, dict[str, Click]] = {}
        self.torn = False
        self._open_ended = True  # whether a line can be put at the end as it is
        self._stamp = (0, 0)  # size and time of what this process wrote last
        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise DataError(
                f"{path} is open in another `ppn annotate`: end that one, or choose another file."
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            if self.path.exists() and self.path.stat().st_size:
                found, self.torn = parse_clicks(self.path)
                for click in found.values():
                    self._keep(click)
                content = self.path.read_bytes()
                self._open_ended = content.startswith(_HEADER) and content.endswith(b"\n")
                self._stamp = self._now()
            else:
                self._rewrite()
        except BaseException:
            self.close()
            raise

    @property
    def answers(self) -> list[Click]:
        """All answers, in the order in which they were given."""
        return list(self._answers.values())

    def of(self, image: str) -> dict[str, Click]:
        """Return the answers for an image, by part."""
        return dict(self._of.get(image, {}))

    def put(self, click: Click) -> Click | None:
        """Write an answer.

        Args:
            click: Takes the place of an earlier answer for this part of this image.

        Returns:
            The earlier answer; None if there was none.

        Raises:
            DataError: If the file cannot be written, or another program has changed it.
        """
        key = click.image, click.part
        earlier = self._answers.get(key)
        self._expect_unchanged()
        if earlier is not None or not self._open_ended:
            self._rewrite([c for k, c in self._answers.items() if k != key] + [click])
            self._answers.pop(key, None)
            self._keep(click)
            return earlier
        try:
            with self.path.open("ab") as file:
                file.write(_lines([click]))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._stamp[0])  # half a line, where the disk is full
            raise self._unwritable(error) from None
        self._keep(click)
        self._stamp = self._now()
        return None

    def remove(self, image: str, part: str) -> None:
        """Take an answer back.

        Raises:
            DataError: See `put`.
        """
        self._expect_unchanged()
        self._rewrite([c for key, c in self._answers.items() if key != (image, part)])
        self._answers.pop((image, part), None)
        self._of.get(image, {}).pop(part, None)

    def close(self) -> None:
        """Let other processes open the file."""
        with contextlib.suppress(OSError):
            os.unlink(self._lock.lock_file)
        self._lock.release()

    def _keep(self, click: Click) -> None:
        self._answers[click.image, click.part] = click
        self._of.setdefault(click.image, {})[click.part] = click

    def _rewrite(self, clicks: Iterable[Click] = ()) -> None:
        """Write all answers beside the file, and put them in its place."""
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            file.write(_HEADER + _lines(clicks))
            file.flush()
            os.fsync(file.fileno())
        self._open_ended = True
        self._stamp = self._now()

    def _expect_unchanged(self) -> None:
        if self._now() != self._stamp:
            raise DataError(
                f"{self.path} was changed by another program: start `ppn annotate` again, to go on "
                "from what the file holds now."
            )

    def _now(self) -> tuple[int, int]:
        """Size of the file, and when it was changed last."""
        try:
            found = self.path.stat()
        except OSError as error:
            raise self._unwritable(error) from None
        return found.st_size, found.st_mtime_ns

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path} cannot be written ({error.strerror}): check the path and the space left "
            "on the disk."
        )


def _lines(clicks: Iterable[Click]) -> bytes:
    """Lines of a file, by whose digits a line that was cut off is known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for click in clicks:
        point = ("", "") if click.point is None else map(_text, click.point)
        writer.writerow((click.image, click.part, *point))
    return text.getvalue().encode()


def _text(value: float) -> str:
    """A number with one digit after the point, or with all it was given."""
    short = f"{value:.1f}"
    return short if float(short) == value else repr(value)
