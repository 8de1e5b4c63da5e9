"""Checkpoints that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ppn.io.files import replacing

if TYPE_CHECKING:
    from lightning.fabric.utilities.types import _PATH


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it.

    Lightning's own writes to the system's folder for temporary files, whence a file system of its
    own is copied from: a process killed in the middle of it leaves half a checkpoint.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: _PATH,
        storage_options: Any = None,  # noqa: ANN401 - Lightning's signature
    ) -> None:
        """Save tensors and plain values.

        Raises:
            DataError: If the file cannot be written; an earlier one stays whole.
        """
        if "://" in str(path):  # a remote place, which fsspec knows how to replace
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)
