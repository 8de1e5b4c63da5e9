"""The HTML report in the run's directory."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning import Callback
from lightning.pytorch.utilities import rank_zero_info

from ppn.callbacks.results import evaluated_split
from ppn.data.datamodule import FineGrainedDataModule
from ppn.report.collect import Selection, collect
from ppn.report.content import Fact
from ppn.report.examined import Examination
from ppn.report.render import write_report
from ppn.tasks.prototypes import PrototypeTask

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer

    from ppn.types import Batch


class HTMLReport(Callback):
    """Writes `report/index.html` after `ppn validate` and `ppn test`.

    Args:
        samples: Explained images.
        classes: Most classes on one page. Where there are more, the report has a page for each
            beside it, in `report/classes/`.
        patches: Nearest training patches shown for each prototype, as far as the network keeps them
            (`num_patches`); on pages of classes all of these, at most 24.
        maps: Which maps are shown: of cells, complete, or of pixels; see `ppn explain`.
    """

    def __init__(
        self,
        samples: int = 10,
        classes: int = 40,
        patches: int = 20,
        maps: Literal["cells", "complete", "pixels"] | None = None,
    ) -> None:
        self.selection = Selection(samples, classes, patches, maps)
        self._seen: Examination | None = None

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to look at images, unless this is part of `fit` or has no prototypes to show."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(pl_module, PrototypeTask) and isinstance(data, FineGrainedDataModule):
            self._seen = Examination(pl_module.network) if evaluated_split(trainer) else None

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ANN401 - Lightning's, of the task's own
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the images of a batch."""
        if self._seen is not None:
            self._seen.update(batch, outputs["tokens"], outputs["output"].contributions)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the report of the images that were evaluated."""
        if self._seen is None:
            return
        seen, self._seen = self._seen.result(), None
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, PrototypeTask)
        split = evaluated_split(trainer)
        if not trainer.is_global_zero or pl_module.per_class is None or split is None:
            return
        report = collect(pl_module.network, data, split, pl_module.per_class, seen, self.selection)
        report = replace(report, run=_run(trainer, data))
        path = write_report(report, Path(trainer.default_root_dir) / "report")
        rank_zero_info(f"report: {path}")

    on_validation_epoch_start = on_test_epoch_start
    on_validation_batch_end = on_test_batch_end
    on_validation_end = on_test_end


def _run(trainer: Trainer, data: FineGrainedDataModule) -> list[Fact]:
    """What was run, and where its files are."""
    folder = Path(trainer.default_root_dir).absolute()
    root = getattr(data, "root", None)
    files = [name for name in ("config.yaml", "metrics.json") if (folder / name).is_file()]
    shown = [
        Fact("Command", shlex.join(["ppn", *sys.argv[1:]])),
        Fact("Folder of the run", str(folder), ", ".join(files)),
        Fact("Measured checkpoint", str(trainer.ckpt_path or "")),
        Fact("Data", "" if root is None else str(root)),
    ]
    return [fact for fact in shown if fact.value]
