"""`predictions.csv` in the run's directory."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback
from lightning.pytorch.utilities import rank_zero_info

from ppn.data.datamodule import FineGrainedDataModule
from ppn.distributed import gathered
from ppn.errors import DataError, PPNError
from ppn.io.files import replacing, write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning import LightningModule, Trainer
    from torch import Tensor

    from ppn.types import Batch

Row = tuple[int, int, int, float, list[float]]
"""Index, true and predicted label, logit; then bias and contributions, where there are any."""


class PredictionsFile(Callback):
    """Writes what `ppn predict` finds: a line for each image.

    Columns are the image, its true and its predicted class, the logit of the predicted class and,
    for prototypes, the bias and each contribution: they sum to the logit. Contributions of named
    parts are called by their names; they are empty where the predicted class has no prototypes,
    because there was no training image of it. The command line adds this callback to every run.

    Args:
        filename: Name of the file in the run's directory: `.csv`, or `.parquet` where pyarrow is
            installed.
    """

    def __init__(self, filename: str = "predictions.csv") -> None:
        suffix = Path(filename).suffix.lower()
        if suffix not in (".csv", ".parquet"):
            raise PPNError(f"filename {filename} does not end in .csv or .parquet.")
        if suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise PPNError(
                f"filename {filename} needs the package pyarrow, which is not installed: run pip "
                'install "ppn[parquet]", or name a file that ends in .csv.'
            )
        self.filename = filename
        self._rows: list[Row] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what an earlier call has found.

        Raises:
            DataError: If the data is not one of ppn's DataModules, which know names.
        """
        self._rows = []
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, FineGrainedDataModule):
            raise DataError(
                f"PredictionsFile names images and classes, which {type(data).__name__} does not "
                "know: use one of ppn's DataModules."
            )

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Mapping[str, Tensor],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the numbers of a batch."""
        predicted = outputs["prediction"]
        logits = outputs["logits"].gather(1, predicted[:, None])
        terms = logits.new_zeros(len(logits), 0)
        if "contributions" in outputs:
            terms = torch.cat([outputs["bias"][:, None], outputs["contributions"]], dim=1)
        columns = (outputs["index"], batch["label"], predicted, logits[:, 0].float(), terms.float())
        self._rows += zip(*(column.tolist() for column in columns), strict=True)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the lines of all processes, in the order of the images."""
        shares = gathered(self._rows)
        if not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / self.filename
        names = getattr(getattr(pl_module, "network", None), "part_names", [])
        rows = sorted(row for share in shares for row in share)
        _write(path, _table(rows, trainer.datamodule, names))  # type: ignore[attr-defined]
        rank_zero_info(f"predictions of {len(rows)} images: {path}")


def _table(
    rows: list[Row], data: FineGrainedDataModule, part_names: list[str]
) -> dict[str, list[Any]]:
    """The columns by their names."""
    titles = part_names or [str(number) for number in range(1, len(rows[0][-1]) if rows else 1)]
    names, source = data.class_names, data.test_source
    table: dict[str, list[Any]] = {
        "image": [source.name(index) for index, *_ in rows],
        "true_class": [names[label] for _, label, *_ in rows],
        "predicted_class": [names[label] for _, _, label, *_ in rows],
        "logit": [logit for *_, logit, _ in rows],
    }
    for position in range(len(rows[0][-1]) if rows else 0):
        name = f"contribution_{titles[position - 1]}" if position else "bias"
        values = (row[-1][position] for row in rows)
        table[name] = [None if value != value else value for value in values]
    return table


def _write(path: Path, table: dict[str, list[Any]]) -> None:
    if path.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        write_bytes(path, text.getvalue().encode())
        return
    import pyarrow
    from pyarrow import parquet

    with replacing(path) as temporary:
        parquet.write_table(pyarrow.table(table), temporary)
