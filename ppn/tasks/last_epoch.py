"""Checkpoints of training that is never validated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info

from ppn.errors import DataError

if TYPE_CHECKING:
    from lightning import Trainer

_FIX = "raise val_fraction to have validation images"


def keep_last_epoch(trainer: Trainer) -> None:
    """Let checkpoints hold the last epoch where validation will never say which one is best.

    Lightning would wait for the monitored value, and save nothing at all.

    Args:
        trainer: One that is about to fit.

    Raises:
        DataError: If early stopping waits for a value of validation too.
    """
    if _validates(trainer):
        return
    for callback in trainer.callbacks:  # type: ignore[attr-defined] # made by its connector
        if not isinstance(callback, (EarlyStopping, ModelCheckpoint)):
            continue
        if not (callback.monitor or "").startswith("val"):
            continue
        if isinstance(callback, EarlyStopping):
            raise DataError(
                f"EarlyStopping waits for {callback.monitor}, but nothing is validated: {_FIX}, or "
                "leave this callback out."
            )
        rank_zero_info(
            f"Nothing is validated: the checkpoint is that of the last epoch, not of the best "
            f"{callback.monitor}; {_FIX}."
        )
        callback.monitor = None
        callback.save_top_k = min(callback.save_top_k, 1)
        # Where validation is not due after each epoch, Lightning would still wait for it.
        callback._save_on_train_epoch_end = True


def _validates(trainer: Trainer) -> bool:
    """Whether anything will be validated during `fit`."""
    epochs, every = trainer.max_epochs or 0, trainer.check_val_every_n_epoch or 1
    if not trainer.enable_validation or 0 < epochs < every:
        return False
    view = getattr(getattr(trainer, "datamodule", None), "view", None)  # of our own DataModules
    return view is None or len(view("val")) > 0
