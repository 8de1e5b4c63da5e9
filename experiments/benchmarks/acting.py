"""`ppn explain` on many images, and the first explanation of a process."""

from __future__ import annotations

import contextlib
import io
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from experiments.benchmarks.measure import Row, side_by_side
from experiments.benchmarks.passes import K, discover
from ppn.__main__ import main
from ppn.classifier.record import Record
from ppn.data.transforms import to_picture
from ppn.prototypes.checkpoint import PREFIX, write_entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppn.classifier import Classifier
    from ppn.prototypes.network import PrototypeNetwork
    from ppn.types import Batch


@torch.no_grad()
def explain_rows(
    classifier: Classifier, architecture: str, batches: list[Batch], classes: int, images: int
) -> Iterator[Row]:
    """Compare `ppn explain --json` with bare forward passes, and a first explanation with imports.

    Args:
        classifier: The classifier.
        architecture: Its name.
        batches: Training images, class by class.
        classes: Number of classes in them.
        images: Number of files that are explained.
    """
    with tempfile.TemporaryDirectory() as folder:
        network = discover(classifier, batches, classes)
        ckpt = write_checkpoint(network, architecture, Path(folder) / "run/checkpoints/p.ckpt")
        pixels = torch.cat([batch["image"] for batch in batches])
        photos = Path(folder) / "photos"
        photos.mkdir()
        for index in range(images):
            picture = to_picture(pixels[index % len(pixels)].cpu(), classifier.config)
            picture.save(photos / f"{index:05d}.jpg", quality=90)
        memory = [pixels[torch.arange(s, s + 32) % len(pixels)] for s in range(0, images, 32)]

        def explain() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                words = ["--ckpt", str(ckpt), "--target", "0", "--json"]
                assert main(["explain", str(photos), *words]) == 0

        def forward() -> None:
            for batch in memory:
                classifier.classify(batch)

        ours, theirs = side_by_side(explain, forward, 3)
        yield Row(
            f"ppn explain --json on {images} files, with loading the network",
            "the bare forward pass, images in memory",
            ours,
            theirs,
            theirs / ours,
            ">= 0.8",
            "the forward pass itself",
        )
        yield _first_row(ckpt, photos / "00000.jpg")


def write_checkpoint(network: PrototypeNetwork, architecture: str, path: Path) -> Path:
    """Write a network as `ppn fit` does."""
    state = {PREFIX + name: tensor for name, tensor in network.state_dict().items()}
    content: dict[str, Any] = {"state_dict": state}
    structure = {
        "classifier_ckpt": None,
        "architecture": architecture,
        "image_size": network.input_config.size[0],
        "model_options": None,
        "k": K,
        "num_patches": network.dictionary.patch_index.shape[2],
        "prototypes": None,
    }
    Record("PrototypeTask", len(network.class_names), structure).write(content)
    write_entry(network, content)
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    return path


def _first_row(ckpt: Path, photo: Path) -> Row:
    """A fresh process that loads a network and explains one image, against importing its base."""
    commands = {
        "base": "import torch, timm",
        "ours": f"import ppn; ppn.load({str(ckpt)!r}).explain({str(photo)!r}, 0)",
    }
    spent: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(4):
        for name, code in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            if repeat:
                spent[name].append(time.perf_counter() - began)
    ours, base = (statistics.median(spent[name]) for name in ("ours", "base"))
    return Row(
        "first explanation in a fresh process", "import torch, timm", ours, base, ours / base,
        "<= 1.3", "imports",
    )  # fmt: skip
