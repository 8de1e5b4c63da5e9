"""Keeps what was done on the page: each time a new folder, and nothing is written over."""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING

from ppn.errors import DataError
from ppn.io.files import write_json
from ppn.prototypes.edited import write_edited
from ppn.prototypes.load import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ppn.prototypes.editing import Edit

_MOST = 100
"""Folders: a page that others can open must not fill the disk."""


class Saving:
    """Writes edited copies of one checkpoint.

    Args:
        ckpt: The checkpoint, which is left as it is.
        folder: Gets a folder for each copy: 1, 2, ...
        architecture: `module:factory`, where the checkpoint needs it.
    """

    def __init__(self, ckpt: str, folder: Path, architecture: str | None = None) -> None:
        self._ckpt = ckpt
        self._folder = folder
        self._architecture = architecture
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """Where copies go."""
        return str(self._folder)

    def save(self, edits: Sequence[Edit], flags: Sequence[tuple[int, int, str]]) -> str:
        """Write a copy, and return its folder.

        Args:
            edits: All edits of the copy.
            flags: (class, part, reason) that a person has flagged.

        Raises:
            DataError: If there are too many copies, or it cannot be written.
        """
        with self._lock:
            # Another network: the one that explains is not touched.
            network = load(self._ckpt, architecture=self._architecture)
            target = next(self._folder / str(n) for n in count(1) if not self._taken(n))
            if int(target.name) > _MOST:
                raise DataError(f"{self._folder} holds {_MOST} copies: move some away first.")
            if edits:
                network.edit(edits)
                write_edited(network, self._ckpt, target)
            if flags:
                flagged = [
                    {
                        "class": network.class_names[label],
                        "label": label,
                        "prototype": part + 1,
                        "reason": reason,
                    }
                    for label, part, reason in flags
                ]
                write_json(target / "flags.json", {"from": self._ckpt, "flags": flagged})
            return str(target)

    def _taken(self, number: int) -> bool:
        return (self._folder / str(number)).exists()
