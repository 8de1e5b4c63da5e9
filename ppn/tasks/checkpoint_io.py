"""Checkpoints that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from ppn.io.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning.fabric.utilities.types import _PATH


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; reads what is needed of it.

    Lightning writes to the system's folder for temporary files. Where that is another file system,
    the file is copied, and a process that is killed while copying leaves half a checkpoint.

    Args:
        evaluating: Whether the run only evaluates. It then takes nothing of the callbacks that
            trained the checkpoint, which Lightning would otherwise ask for.
    """

    def __init__(self, evaluating: bool = False) -> None:
        super().__init__()
        self.evaluating = evaluating

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

    def load_checkpoint(
        self,
        path: _PATH,
        map_location: Callable[..., Any] | None = lambda storage, _: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Return the content of a checkpoint."""
        content: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        if self.evaluating:
            content.pop("callbacks", None)
        return content
