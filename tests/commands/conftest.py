"""A user's classifier and images, and the prototypes that `ppn fit` finds of it."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from ppn.__main__ import main

QUIET = [
    "--trainer.accelerator=cpu",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
CLASSES = ["mug", "plate"]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Class folders, weights from a plain loop, and the prototypes that `ppn fit` finds."""
    base = tmp_path_factory.mktemp("user")
    rng = np.random.default_rng(0)
    images, labels = [], []
    torch.manual_seed(0)  # a fixture of the session comes before that of each test
    for label, name in enumerate(CLASSES):
        (base / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 90, (80, 100, 3), dtype=np.uint8)
            pixels[20:50, 30:70, label] = 240
            Image.fromarray(pixels).save(base / f"photos/{name}/{i}.png")
            images.append(torch.from_numpy(pixels[:64, :64]).permute(2, 0, 1) / 255)
            labels.append(label)
    torch.manual_seed(0)  # so barely trained, it says one class of all images, and this is mug
    model = timm.create_model("test_resnet", num_classes=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(4):
        loss = torch.nn.functional.cross_entropy(model(torch.stack(images)), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": weights}, base / "mine.pth")
    fit = [
        "fit",
        "--model=PrototypeTask",
        "--model.architecture=test_resnet",
        "--model.image_size=64",
        f"--model.classifier_ckpt={base / 'mine.pth'}",
        "--data=ImageFolderDataModule",
        f"--data.root={base / 'photos'}",
        "--data.num_workers=0",
        "--trainer.callbacks=PrototypeDiscovery",
        "--trainer.max_epochs=0",
        f"--trainer.default_root_dir={base / 'run'}",
        *QUIET,
    ]
    assert main(fit) == 0
    return base, model.eval()
