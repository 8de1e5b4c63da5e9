"""Annotations cost next to nothing: our loader against torchvision's own on the same files."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ppn.data.cub import CUBDataModule
from ppn.types import InputConfig
from tests import fakes

SCRIPT = Path(__file__).parents[2] / "experiments/loading_speed.py"
spec = importlib.util.spec_from_file_location("loading_speed", SCRIPT)
loading_speed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(loading_speed)


def photographs(root):
    """Put images of a photograph's size and detail in the place of a fake's small ones."""
    rng = np.random.default_rng(0)
    for path in sorted((root / "images").rglob("*.jpg")):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.float32)
        grain = rng.normal(0, 12, (375, 500, 1))
        Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)


@pytest.mark.slow  # it compares times
def test_training_images_load_as_fast_as_from_a_bare_image_folder(tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011", train=10, test=1)
    photographs(root)
    data = CUBDataModule(str(root), num_workers=0, val_fraction=0.0, batch_size=10)
    data.input_config = InputConfig()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # The processor's time of this process: other processes do not count.
        ours, bare, ratio = loading_speed.compare(data, repeats=9, clock=time.process_time)
    finally:
        torch.set_num_threads(threads)
    assert ours > 0
    assert bare > 0
    assert ratio >= 0.95


def test_both_loaders_read_the_same_files(tmp_path):
    root = fakes.cub(tmp_path / "CUB_200_2011", train=3, test=1)
    data = CUBDataModule(str(root), num_workers=0, val_fraction=0.0, batch_size=4)
    data.input_config = InputConfig((32, 32))
    view, bare = data.view("train"), loading_speed.bare_loader(data).dataset
    ours = [str(root / "images" / view.source.name(int(i))) for i in view.indices]
    assert [path for path, _ in bare.samples] == ours
    assert [label for _, label in bare.samples] == view.labels.tolist()
    assert bare[0][0].shape == view[0]["image"].shape
