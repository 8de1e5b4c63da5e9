"""`metrics.json` in the run's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Callback

from ppn.io.files import write_json
from ppn.version import __version__

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer


class ResultsFile(Callback):
    """Writes what `ppn validate` or `ppn test` measured to `metrics.json` in the run's directory.

    The numbers are those of the module's `results`, with the names and constants of their
    protocols.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the results of the validation split, unless this is part of `fit`."""
        if trainer.state.fn == "validate":
            self._write(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the results of the test split."""
        self._write(trainer, pl_module, "test")

    def _write(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        results = getattr(module, "results", None)
        if results and trainer.is_global_zero:
            header = {"split": split, "model": type(module).__name__, "version": __version__}
            note = getattr(trainer.datamodule, "split_note", "")  # type: ignore[attr-defined]
            if note:  # where test images were drawn from the user's own
                header["split_note"] = note
            path = Path(trainer.default_root_dir) / "metrics.json"
            write_json(path, {**header, **results})
