"""What discovery costs at small sizes, the model fitted to it, and what it says of larger ones."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from scipy.optimize import nnls

from experiments.benchmarks.passes import discover
from experiments.benchmarks.processes import decompose_random
from ppn.classifier.build import build_classifier
from ppn.data.folder import ImageFolderDataModule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PATCHES = 49
ARCHITECTURE = "tf_efficientnet_lite0"
GROUP = 8
"""Classes in memory at once in the measurements."""
JPEG = (500, 375)
"""Width and height of the images that are decoded."""


@dataclass(frozen=True)
class Held:
    """A prediction beside what was measured.

    Attributes:
        what: The size, in words.
        predicted: By the model that was fitted.
        measured: What it was, in the same unit.
        fitted: Whether the model saw this size.
    """

    what: str
    predicted: float
    measured: float
    fitted: bool

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted / self.measured - 1


def fit(terms: Sequence[Sequence[float]], measured: Sequence[float]) -> np.ndarray:
    """Non-negative coefficients of the terms, for least relative errors."""
    scale = 1 / np.asarray(measured)
    coefficients, _ = nnls(np.asarray(terms) * scale[:, None], np.ones(len(scale)))
    return coefficients


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median processor seconds after one untimed round: other processes hardly count."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return statistics.median(spent)


@dataclass(frozen=True)
class Decomposition:
    """Seconds per class: `fixed`, per token, and per number (tokens x D).

    `per_pass` is the time of one product of k rows with the tokens, per number.
    """

    fixed: float
    per_token: float
    per_number: float
    per_pass: float

    def __call__(self, tokens: int, width: int) -> float:
        """Return the seconds of a class."""
        return self.fixed + tokens * (self.per_token + width * self.per_number)

    def passes(self, width: int) -> float:
        """Products with the tokens that take as long as all work that grows with them."""
        return (self.per_token / width + self.per_number) / self.per_pass


def decomposition() -> tuple[Decomposition, list[Held]]:
    """Refine random classes: NMF, cam_split, nearest patches and diagnostics."""
    classes = 4
    # Up to 64 MB of tokens: not even the half that NMF sees fits the processor's cache, as of large
    # classes.
    sizes = [(20, 512), (80, 512), (20, 1024), (80, 1024), (20, 2048), (160, 2048)]
    unseen = [(160, 1024), (240, 1024), (320, 2048)]
    measured = [
        seconds(lambda n=n, d=d: decompose_random(list(range(classes)), classes, n, d)) / classes
        - seconds(lambda n=n, d=d: _draw(n, d))
        for n, d in sizes + unseen
    ]
    terms = [(1, n * PATCHES, n * PATCHES * d) for n, d in sizes]
    found = fit(terms, measured[: len(sizes)])
    tokens, parts = torch.rand(80 * PATCHES, 2048), torch.rand(3, 2048)
    per_pass = seconds(lambda: [parts @ tokens.T for _ in range(20)]) / 20 / tokens.numel()
    model = Decomposition(*(float(value) for value in found), per_pass)
    held = [
        Held(
            f"decompose a class: {n} images, D = {d}", model(n * PATCHES, d), took, (n, d) in sizes
        )
        for (n, d), took in zip(sizes + unseen, measured, strict=True)
    ]
    return model, held


def _draw(images: int, width: int) -> None:
    """Make the tokens of a class, as `decompose_random` does besides decomposing."""
    generator = torch.Generator().manual_seed(0)
    torch.randn(images, PATCHES, width, generator=generator).clamp(min=0).mean(1)


def whole(model: Decomposition) -> tuple[float, float, list[Held]]:
    """Discover in folders of JPEG images.

    Returns:
        Seconds to load an image, seconds of its forward pass, and the comparisons, in which the
        seconds per image (both) are fitted and those per class predicted by the model.
    """
    sizes, unseen = [(2, 8), (4, 8), (2, 16)], [(8, 16), (4, 40), (16, 12)]
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for classes, images in sizes + unseen:
            root = Path(folder, f"{classes}x{images}")
            _write_images(root, classes, images)
            data = ImageFolderDataModule(str(root), num_workers=0, val_fraction=0.0)
            classifier = build_classifier(ARCHITECTURE, classes).eval()
            torch.nn.init.normal_(classifier.linears[0].weight, std=0.05)
            data.input_config = classifier.config
            loader = data.discovery_loader(range(classes))

            def work(loader=loader, classifier=classifier, classes=classes) -> None:  # noqa: ANN001
                with torch.no_grad():
                    discover(classifier, loader, classes)

            measured.append(seconds(work))
        load = seconds(lambda: [None for _ in loader]) / len(loader.dataset)  # type: ignore[arg-type]
    per_class = [model(images * PATCHES, classifier.width) for _, images in sizes]
    rest = [
        took - classes * each
        for (classes, _), took, each in zip(sizes, measured, per_class, strict=False)
    ]
    per_image = float(fit([(c * n,) for c, n in sizes], rest)[0])
    held = [
        Held(
            f"discovery: {c} classes of {n} images",
            c * n * per_image + c * model(n * PATCHES, classifier.width),
            took,
            (c, n) in sizes,
        )
        for (c, n), took in zip(sizes + unseen, measured, strict=True)
    ]
    return load, per_image - load, held


def _write_images(root: Path, classes: int, images: int) -> None:
    """Write JPEG files of the usual size with something to see in them, train and test."""
    generator = np.random.default_rng(0)
    for split, count in (("train", images), ("test", 1)):
        for label in range(classes):
            place = root / split / f"class_{label}"
            place.mkdir(parents=True)
            for index in range(count):
                coarse = generator.integers(0, 256, (30, 40, 3), np.uint8)
                picture = Image.fromarray(coarse).resize(JPEG, Image.Resampling.BICUBIC)
                picture.save(place / f"{index}.jpg", quality=90)


@dataclass(frozen=True)
class Memory:
    """Peak memory in MiB: `fixed`, and `copies` of the tokens of one group."""

    fixed: float
    copies: float

    def __call__(self, images: int, width: int) -> float:
        """Return the peak of discovery with so many images per class."""
        return self.fixed + self.copies * group_mib(images, width)


def group_mib(images: int, width: int, patches: int = PATCHES) -> float:
    """Size of the tokens of a group in MiB."""
    return GROUP * images * patches * width * 4 / 2**20


def memory() -> tuple[Memory, list[Held]]:
    """Peak memory of processes that decompose random classes."""
    sizes, unseen = [(10, 512), (40, 512), (40, 1024)], [(80, 1024), (80, 2048), (160, 2048)]
    measured = [_peak(images, width) for images, width in sizes + unseen]
    found = fit([(1, group_mib(*size)) for size in sizes], measured[: len(sizes)])
    model = Memory(*(float(value) for value in found))
    return model, [
        Held(f"peak memory, MiB: {n} images, D = {d}", model(n, d), took, (n, d) in sizes)
        for (n, d), took in zip(sizes + unseen, measured, strict=True)
    ]


def _peak(images: int, width: int) -> float:
    code = f"from experiments.benchmarks.processes import peak; print(peak(16, {images}, {width}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(re.findall(r"[\d.]+", done.stdout)[-1])
