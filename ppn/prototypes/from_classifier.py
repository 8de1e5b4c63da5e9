"""Prototypes for a classifier in one call, from any loader of images and labels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ppn.classifier import Classifier
from ppn.classifier.architecture import input_config
from ppn.classifier.model import observable
from ppn.data.source import Source
from ppn.data.transforms import to_picture
from ppn.errors import DataError
from ppn.explanation.record import Patch
from ppn.prototypes.fit import Fit
from ppn.prototypes.network import PrototypeNetwork
from ppn.refinement.cam_split import CamSplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from torch import nn

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.discovery.base import Discoverer
    from ppn.prototypes.stream import TokenBatch
    from ppn.refinement.base import Refinement
    from ppn.types import InputConfig


@torch.no_grad()
def from_classifier(
    model: nn.Module,
    loader: Iterable[Any] | FineGrainedDataModule,
    k: int = 3,
    class_names: Sequence[str] | None = None,
    refinement: Refinement | None = None,
    discoverer: Discoverer | None = None,
    config: InputConfig | None = None,
    features: str | None = None,
) -> PrototypeNetwork:
    """Find the prototypes of a trained classifier.

    The model is used as it is, on its device; its weights are not touched.

    Args:
        model: A classifier that ends in a linear layer: any such timm or torchvision model, or one
            of yours.
        loader: Training images without augmentation, preprocessed as for the classifier: a
            DataLoader of (images, labels) or of dicts with "image" and "label", one of ppn's
            DataModules, or any iterable of such batches. A DataLoader's shuffling is left out.
            Where its data set has `targets`, as torchvision's have, the patch tokens of a few
            classes are in memory at a time, else those of all images.
        k: Prototypes per class.
        class_names: Name of each class; None takes the data set's `classes`, or numbers.
        refinement: How the rows of the head are split; None: `CamSplit()`.
        discoverer: How parts are found; None: `NMF()`.
        config: Size, mean and standard deviation of the input; None takes timm's for timm models
            and ImageNet's otherwise, at the size of the loader's images.
        features: Name of the module whose output are the patch features, such as `layer4`; None
            finds it by computing.

    Raises:
        HeadError: If the classifier is not an nn.Module, or has no last linear layer or no such
            module.
        DataError: If there is no image, or labels do not fit the classifier.
        DiscoveryError: If a class has too few patches for k, or k is not positive.
    """
    model = observable(model)
    expected = config or input_config(model)
    source = Source(loader, expected)
    if config is None:
        channels, height, width = source.shape()
        expected = replace(expected.with_channels(channels), size=(height, width))
    classifier = Classifier(model, expected, features).eval()
    refinement = CamSplit() if refinement is None else refinement
    network = PrototypeNetwork(classifier, k, {refinement.name: refinement.exact}, num_patches=1)
    count = len(network.class_names)
    names = list(class_names or source.class_names or network.class_names)
    if len(names) != count:
        raise DataError(f"The classifier has {count} classes, but there are {len(names)} names.")
    fit = Fit(network, [refinement], discoverer)
    if fit.discoverer.shared:
        fit.learn(_tokens(source, network, count), names, not source.by_class)
    fit.run(_tokens(source, network, count), names, sort=not source.by_class)
    fit.finish(names, source.name)
    network.structure = {"features": features}

    def patch(label: int, part: int, rank: int) -> Patch | None:
        found = source.image(int(network.dictionary.patch_index[label, part, rank]))
        if found is None:
            return None
        x0, y0, x1, y1 = network.dictionary.patch_box[label, part, rank].tolist()
        score = float(network.dictionary.patch_score[label, part, rank])
        return Patch(to_picture(found[0], expected), (x0, y0, x1, y1), score, found[1])

    network.patches = patch
    return network


def _tokens(source: Source, network: PrototypeNetwork, count: int) -> Iterator[TokenBatch]:
    for images, labels, indices in source.batches():
        if min(labels) < 0 or max(labels) >= count:
            wrong = min(labels) if min(labels) < 0 else max(labels)
            raise DataError(
                f"The loader gives label {wrong}, but the classifier has {count} classes: labels "
                f"must be 0 to {count - 1}."
            )
        yield network.tokens(images, patches=True), labels, indices.to(network.device)
