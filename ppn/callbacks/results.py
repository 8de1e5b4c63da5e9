"""`metrics.json` in the run's directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Callback

from ppn.io.files import write_json
from ppn.version import __version__

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer

    from ppn.types import Split


class ResultsFile(Callback):
    """Writes what `ppn validate` or `ppn test` measured to `metrics.json` in the run's directory.

    The numbers are those of the module's `results`, with the names and constants of their
    protocols.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the results of the evaluated split, unless this is part of `fit`."""
        results, split = getattr(pl_module, "results", None), evaluated_split(trainer)
        if results and split is not None and trainer.is_global_zero:
            header = {"split": split, "model": type(pl_module).__name__, "version": __version__}
            note = getattr(trainer.datamodule, "split_note", "")  # type: ignore[attr-defined]
            if note:  # where test images were drawn from the user's own
                header["split_note"] = note
            path = Path(trainer.default_root_dir) / "metrics.json"
            write_json(path, {**header, **results})

    on_validation_end = on_test_end


def evaluated_split(trainer: Trainer) -> Split | None:
    """Return which split a run evaluates; None for one that does something else."""
    running = trainer.state.fn
    return "test" if running == "test" else "val" if running == "validate" else None
