"""A small vision transformer with a class token, trained on the built-in birds in minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from ppn.data.synthetic.datamodule import SyntheticBirds
from ppn.io.files import replacing
from ppn.types import InputConfig

if TYPE_CHECKING:
    from pathlib import Path

SIZE, CLASSES = 112, 6
_MEAN, _STD = 0.45, 0.25
INPUT = InputConfig((SIZE, SIZE), (_MEAN,) * 3, (_STD,) * 3, crop_pct=1.0)
NAMES = list(SyntheticBirds(CLASSES, 1, size=SIZE).class_names)


def architecture() -> VisionTransformer:
    """Return the untrained network: 8 x 8 patches and a class token through 6 blocks."""
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=SIZE, patch_size=14, num_classes=CLASSES, embed_dim=96, depth=6, num_heads=4
    )
    # What `ppn` reads of a model that is named by its function.
    model.pretrained_cfg = {
        "input_size": (3, SIZE, SIZE),
        "mean": INPUT.mean,
        "std": INPUT.std,
        "crop_pct": INPUT.crop_pct,
        "interpolation": INPUT.interpolation,
    }
    return model


def birds(split: str, per_class: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised images (n, 3, H, W), labels (n,) and keypoints (n, P, 3) in pixels."""
    data = SyntheticBirds(CLASSES, per_class, "train" if split == "train" else "test", size=SIZE)
    read = [data.read(index) for index in range(len(data.labels))]
    pixels = torch.stack([torch.from_numpy(np.array(item.image)) for item in read])
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - _MEAN) / _STD
    keypoints = torch.stack([torch.as_tensor(item.keypoints).float() for item in read])
    return images, torch.as_tensor(data.labels), keypoints


def trained(file: Path, epochs: int = 20, per_class: int = 60) -> VisionTransformer:
    """Return the trained network, from a file if it was trained before."""
    model = architecture()
    if file.exists():
        model.load_state_dict(torch.load(file, weights_only=True))
        return model.eval()
    images, labels, _ = birds("train", per_class)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)
    steps = epochs * -(-len(images) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, steps, pct_start=0.15)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(32):
            batch = images[rows]
            batch = batch.flip(3) if bool(torch.rand(()) < 0.5) else batch
            batch = batch.roll(
                (int(torch.randint(-8, 9, ())), int(torch.randint(-8, 9, ()))), (2, 3)
            )
            loss = nn.functional.cross_entropy(model(batch), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        torch.save(model.state_dict(), temporary)
    return model.eval()
