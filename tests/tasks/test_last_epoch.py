"""Training without validation images: its last epoch is saved, or it is refused before."""

import logging

import pytest
import torch
from lightning import LightningDataModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from ppn.data.cub import CUBDataModule
from ppn.errors import DataError
from ppn.tasks.classification import ClassificationTask
from tests import fakes


class Foreign(LightningDataModule):
    """A user's own DataModule, with training images only."""

    def train_dataloader(self):
        items = [{"image": torch.rand(3, 64, 64), "label": i % 3, "index": i} for i in range(6)]
        return DataLoader(items, batch_size=3)


def cub(tmp_path, val_fraction):
    root = fakes.cub(tmp_path / "CUB_200_2011", train=4)
    return CUBDataModule(str(root), batch_size=6, num_workers=0, val_fraction=val_fraction)


def fit(data, folder, *callbacks, **options):
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **{"max_epochs": 3, "default_root_dir": folder, **options},
    )
    trainer.fit(ClassificationTask(3, "test_resnet", image_size=64), datamodule=data)
    return trainer


def best(folder, **options):
    given = {"monitor": "val/accuracy", "mode": "max", **options}
    return ModelCheckpoint(folder / "checkpoints", "best", enable_version_counter=False, **given)


def epochs(folder):
    """The epoch of each checkpoint, counted from 1."""
    files = sorted((folder / "checkpoints").glob("*.ckpt"))
    return {file.name: torch.load(file, weights_only=True)["epoch"] + 1 for file in files}


@pytest.mark.parametrize(
    ("val_fraction", "options"),
    [
        (0.1, {}),  # of four images: none
        (0.0, {}),
        (0.0, {"check_val_every_n_epoch": 2}),
        (0.0, {"num_sanity_val_steps": 0, "check_val_every_n_epoch": 2}),
        (0.25, {"limit_val_batches": 0}),
        (0.25, {"check_val_every_n_epoch": 5}),
        (None, {}),
    ],
)
@pytest.mark.parametrize("monitor", [{}, {"monitor": "val/loss", "mode": "min", "save_top_k": 2}])
def test_the_last_epoch_is_saved_and_that_is_said(val_fraction, options, monitor, tmp_path, caplog):
    caplog.set_level(logging.INFO, "lightning.pytorch.utilities.rank_zero")
    data = Foreign() if val_fraction is None else cub(tmp_path, val_fraction)
    trainer = fit(data, tmp_path, best(tmp_path, **monitor), **options)
    assert epochs(tmp_path) == {"best.ckpt": 3}
    assert trainer.checkpoint_callback.best_model_path == str(tmp_path / "checkpoints/best.ckpt")
    said = [r.getMessage() for r in caplog.records if "Nothing is validated" in r.getMessage()]
    assert len(said) == 1
    assert "that of the last epoch" in said[0]
    assert "raise val_fraction" in said[0]
    assert not any("could not find the monitored key" in r.getMessage() for r in caplog.records)


def test_with_validation_images_the_best_epoch_is_chosen_as_before(tmp_path):
    callback = best(tmp_path)
    fit(cub(tmp_path, 0.25), tmp_path, callback)
    assert callback.monitor == "val/accuracy"
    assert callback.best_model_score is not None


def test_values_of_training_are_still_monitored_without_validation(tmp_path):
    callback = best(tmp_path, monitor="train/loss", mode="min")
    fit(cub(tmp_path, 0), tmp_path, callback)
    assert callback.monitor == "train/loss"
    assert list(epochs(tmp_path)) == ["best.ckpt"]


def test_early_stopping_without_validation_is_refused_before_training(tmp_path):
    stop = EarlyStopping("val/loss")
    with pytest.raises(DataError, match=r"EarlyStopping waits for val/loss, .*raise val_fraction"):
        fit(cub(tmp_path, 0), tmp_path, best(tmp_path), stop)
    assert not (tmp_path / "checkpoints").exists()
