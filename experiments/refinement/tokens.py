"""The patch tokens of all training images, extracted once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import torch
import yaml
from torch import Tensor

from experiments.reproduce.plan import ROOT
from ppn.classifier.build import build_classifier
from ppn.classifier.record import expect_model, read_record
from ppn.data.build import build
from ppn.errors import HeadError
from ppn.io.files import replacing
from ppn.metrics.noise import stability_noise
from ppn.version import __version__

if TYPE_CHECKING:
    from pathlib import Path


class Extracted(NamedTuple):
    """What the study needs of n official training images, un-augmented, class after class.

    `clean`, `noisy` (n, N, D) tokens of the image and of the image with `stability_noise`; `labels`
    (n,); `indices` (n,); `keypoints` (n, P, 3) in input pixels; `weight` (C, D) float64, the
    effective head; `grid` (H, W) of the tokens; `size` of the square input in pixels.
    """

    clean: Tensor
    noisy: Tensor
    labels: Tensor
    indices: Tensor
    keypoints: Tensor
    weight: Tensor
    grid: tuple[int, int]
    size: int


def extract(
    name: str, root: str | None, checkpoint: Path, cache: Path, options: dict[str, object]
) -> tuple[Extracted, str]:
    """Run the black box over all training images, unless that was done before.

    Args:
        name: Short name of the data set, with its fragment in configs/data.
        root: Its folder; None for the built-in one.
        checkpoint: The black box: a checkpoint of `ClassificationTask`.
        cache: File that keeps the tokens.
        options: Further arguments of the DataModule.

    Returns:
        The tokens, and a hash of all they depend on, short of the images.

    Raises:
        HeadError: If maps of this black box are not products of tokens and prototypes.
    """
    fragment = yaml.safe_load((ROOT / f"configs/data/{name}.yaml").read_text())
    given = {**fragment.get("init_args", {}), **options, "val_fraction": 0.0}
    content = [__version__, name, str(root), repr(sorted(given.items()))]
    key = hashlib.sha256("\n".join(content).encode() + checkpoint.read_bytes()).hexdigest()[:16]
    if cache.is_file():
        kept = torch.load(cache, weights_only=True)
        if kept["key"] == key:
            return Extracted(*kept["extracted"]), key
    extracted = _extract(name, root, checkpoint, given)
    with replacing(cache) as temporary:
        torch.save({"key": key, "extracted": tuple(extracted)}, temporary)
    return extracted, key


@torch.no_grad()
def _extract(name: str, root: str | None, checkpoint: Path, given: dict[str, object]) -> Extracted:
    data = build(name, root, given)
    record = read_record(str(checkpoint))
    expect_model(str(checkpoint), record, "ClassificationTask", "give that of `ppn fit`")
    made = record.structure
    classifier = build_classifier(
        made["architecture"],
        data.num_classes,
        str(checkpoint),
        False,
        made["image_size"],
        made["model_options"],
        whole=True,
    ).eval()
    data.input_config = classifier.config
    parts: dict[str, list[Tensor]] = {name: [] for name in Extracted._fields[:5]}
    grid = (0, 0)
    for batch in data.discovery_loader(list(range(data.num_classes))):
        noise = stability_noise(batch["image"], batch["index"], 0)
        for field, image in (("clean", batch["image"]), ("noisy", batch["image"] + noise)):
            tokens = classifier(image)
            if tokens.attribute is not None:
                raise HeadError(
                    f"{made['architecture']} has layers between patches and classifier, so its "
                    "maps are no products of tokens: the study takes other backbones."
                )
            grid = tokens.grid
            parts[field].append(tokens.tokens.float())
        parts["labels"].append(batch["label"])
        parts["indices"].append(batch["index"])
        parts["keypoints"].append(batch["keypoints"])
    joined = [torch.cat(found) for found in parts.values()]
    weight, _ = classifier.effective_head()
    return Extracted(*joined, weight, grid, classifier.config.size[0])
