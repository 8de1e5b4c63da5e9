"""Finished classes on disk, so that a killed discovery goes on where it stopped."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save

from ppn.io.files import write_bytes
from ppn.io.tensors import misfit, parse_tensors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from torch import Tensor

    from ppn.prototypes.certificate import CertificateSample
    from ppn.prototypes.dictionary import PartDictionary
    from ppn.prototypes.head import PrototypeHead
    from ppn.prototypes.looks import Looks


class Journal:
    """One file per finished class, in a folder named by everything that results depend on.

    Classes are factorised in groups, and the last bits of a class depend on its group; so a class
    is taken over only together with its whole group, and a resumed run gives the same bits.

    Args:
        folder: Where journals are kept.
        key: Fingerprint of weights, configuration and data; see `fingerprint`.
        heads: The head of each refinement strategy.
        dictionary: What discovery finds.
        sample: Images for the certificate.
        looks: What parts look like.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        heads: dict[str, PrototypeHead],
        dictionary: PartDictionary,
        sample: CertificateSample,
        looks: Looks,
    ) -> None:
        self.folder = folder / key
        self._heads = heads
        self._dictionary = dictionary
        self._sample = sample
        self._looks = looks

    def write(self, labels: Sequence[int]) -> None:
        """Keep what was found for some classes.

        Raises:
            DataError: If the disk is full or cannot be written.
        """
        for label in labels:
            rows = {name: row.cpu().contiguous() for name, row in self._rows(label).items()}
            write_bytes(self._file(label), save(rows))

    def restore(self, labels: Sequence[int]) -> bool:
        """Take over a group of classes, if all of them are there and whole.

        Returns:
            Whether they were.
        """
        found = []
        for label in labels:
            rows = self._rows(label)
            try:
                kept = parse_tensors(self._file(label).read_bytes())
            except (OSError, ValueError):  # none, or damaged: found again
                return False
            if misfit(kept, rows) is not None:
                return False
            found.append((rows, kept))
        for rows, kept in found:
            for name, row in rows.items():
                row.copy_(kept[name])
        return True

    def remove(self) -> None:
        """Delete the journal: everything in it is in a checkpoint now."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, label: int) -> Path:
        return self.folder / f"{label:06d}.safetensors"

    def _rows(self, label: int) -> dict[str, Tensor]:
        """Everything that belongs to one class, as views into the buffers."""
        place = self._sample.rows(label)
        heads, found, sample = self._heads, self._dictionary, self._sample
        return (
            {f"head.{name}": head.prototypes[label] for name, head in heads.items()}
            | {f"found.{name}": b[label : label + 1] for name, b in found.named_buffers()}
            | {f"looks.{name}": b[label : label + 1] for name, b in self._looks.named_buffers()}
            | {f"sample.{name}": b[place] for name, b in sample.named_buffers()}
        )


def fingerprint(parts: Iterable[str | Tensor]) -> str:
    """Return a short name for everything that a result depends on.

    Args:
        parts: In a fixed order.
    """
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        if isinstance(part, str):
            content = np.frombuffer(part.encode(), np.uint8)
        else:
            content = part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(f"{type(part).__name__} {len(content)} ".encode())
        digest.update(content.data)
    return digest.hexdigest()
