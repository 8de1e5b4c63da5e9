"""Discovery, over and over in one process, leaves nothing behind."""

import gc
import os
import resource
from pathlib import Path

import pytest
import timm
import torch
from lightning import Trainer

from ppn.callbacks.discovery import PrototypeDiscovery
from ppn.data.cub import CUBDataModule
from ppn.refinement import Equal
from ppn.tasks.prototypes import PrototypeTask
from tests import fakes


def discover(base, run_dir):
    data = CUBDataModule(str(base / "CUB_200_2011"), num_workers=0, batch_size=4, val_fraction=0.0)
    network = PrototypeTask(
        3, str(base / "box.pth"), architecture="test_resnet", image_size=64, compare=[Equal()]
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run_dir,
        callbacks=[PrototypeDiscovery()],
    )
    trainer.fit(network, datamodule=data)
    assert network.network.dictionary.filled


def held():
    """Resident memory in bytes, open files, and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files, threads = (len(os.listdir(f"/proc/self/{kind}")) for kind in ("fd", "task"))
    return pages * resource.getpagesize(), files, threads


@pytest.mark.slow
def test_a_hundred_passes_hold_no_more_than_twenty(tmp_path):
    fakes.cub(tmp_path / "CUB_200_2011")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "box.pth")
    seen = []
    for _ in range(100):
        discover(tmp_path, tmp_path / "run")
        gc.collect()  # Trainer and module refer to each other
        seen.append(held())
    (early, *rest), (late, *others) = seen[19], seen[99]
    assert late - early <= 4 * 2**20  # a pass that leaks its network and images: 100 MiB
    assert others == rest
