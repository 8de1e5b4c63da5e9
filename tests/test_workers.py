"""The same seed gives the same bits with any number of workers that load images."""

import csv
import json

import pytest
import timm
import torch

from ppn.__main__ import main
from ppn.classifier.weights import read_checkpoint
from tests import fakes

WORKERS = [0, 2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Both stages with each number of workers; the classifier has dropout and augmentation."""
    base = tmp_path_factory.mktemp("workers")
    root = fakes.cub(base / "CUB_200_2011")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), base / "box.pth")
    return [_both_stages(base, root, workers) for workers in WORKERS]


def _both_stages(base, root, workers):
    run_dir = base / str(workers) / "run"

    def ppn(command, name, *more):
        common = [
            "--data=CUBDataModule",
            f"--data.root={root}",
            f"--data.num_workers={workers}",
            "--data.batch_size=4",
            "--data.val_fraction=0.25",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
            "--trainer.log_every_n_steps=1",
            "--seed_everything=3",
            f"--trainer.default_root_dir={run_dir / name}",
        ]
        assert main([command, *common, *more]) == 0
        return run_dir / name

    dropout = "--model.model_options={drop_rate: 0.3}"
    box = ["--model=ClassificationTask", "--model.architecture=test_resnet", dropout]
    augmented = "--data.augmentation=standard"
    ppn("fit", "box", augmented, *box, "--model.image_size=64", "--trainer.max_epochs=3")
    given = ["--model=PrototypeTask", f"--model.classifier_ckpt={base / 'box.pth'}"]
    given += ["--model.architecture=test_resnet", "--model.image_size=64"]
    ppn("fit", "net", *given, "--trainer.callbacks=PrototypeDiscovery", "--trainer.max_epochs=0")
    found = run_dir / "net/checkpoints/prototypes.ckpt"
    ppn("test", "test", "--model=PrototypeTask", f"--ckpt_path={found}")
    return run_dir


def test_training_with_augmentation_and_dropout(runs):
    losses, states = [], []
    for run in runs:
        rows = csv.DictReader((run / "box/metrics.csv").open())
        losses.append([row["train/loss"] for row in rows if row["train/loss"]])
        (saved,) = (run / "box/checkpoints").glob("*.ckpt")
        states.append(read_checkpoint(saved)["state_dict"])
    assert len(losses[0]) == len(set(losses[0])) == 9
    assert losses[0] == losses[1]
    for state in states[1:]:
        assert [key for key, value in states[0].items() if not torch.equal(state[key], value)] == []


def test_prototypes_and_metrics(runs):
    found = [read_checkpoint(r / "net/checkpoints/prototypes.ckpt")["state_dict"] for r in runs]
    for state in found[1:]:
        assert [key for key, value in found[0].items() if not torch.equal(state[key], value)] == []
    figures = [json.loads((run / "test/metrics.json").read_text()) for run in runs]
    assert figures[0] == figures[1]
