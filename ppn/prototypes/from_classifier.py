"""Prototypes for a classifier in one call, from any loader of images and labels."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import repeat
from typing import TYPE_CHECKING, Any, get_args

import torch
from lightning.pytorch.utilities import rank_zero_info

from ppn.allocator import keep_memory
from ppn.classifier import Classifier
from ppn.classifier.architecture import input_config
from ppn.classifier.model import observable
from ppn.data.conversion import expect_transform
from ppn.data.repeating import find_preprocessing
from ppn.data.source import Source
from ppn.data.transforms import to_picture
from ppn.errors import DataError, DiscoveryError, warn
from ppn.prototypes.agreement import Agreement
from ppn.prototypes.arguments import input_config_of, one_of, whole_number
from ppn.prototypes.certificate import CertificateSample, certify
from ppn.prototypes.decompose import DiscoverySettings
from ppn.prototypes.dictionary import PartDictionary
from ppn.prototypes.head import PrototypeHead
from ppn.prototypes.network import PrototypeNetwork
from ppn.prototypes.stored import Prototypes, image_names, tensors_of, weights_hash
from ppn.prototypes.stream import GROUP, TokenBatch, class_by_class, decompose_stream
from ppn.refinement.refine import Strategy
from ppn.report.content import Patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import nn

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.types import InputConfig


@torch.no_grad()
def from_classifier(
    model: nn.Module,
    loader: Iterable[Any] | FineGrainedDataModule,
    k: int = 3,
    class_names: Sequence[str] | None = None,
    refinement: Strategy = "cam_split",
    config: InputConfig | None = None,
    features: str | None = None,
    seed: int = 0,
    transform: Callable[..., Any] | None = None,
) -> PrototypeNetwork:
    """Find the prototypes of a trained classifier.

    The model is used as it is, on its device; it is switched to evaluation mode and its weights
    are not touched.

    Args:
        model: A classifier that ends in a linear layer: any such timm or torchvision model, or one
            of yours.
        loader: Training images without augmentation, preprocessed as for the classifier: a
            DataLoader of (images, labels) or of dicts with "image" and "label", one of ppn's
            DataModules, or any iterable of such batches. A DataLoader's shuffling is left out.
            Where its data set has `targets`, as torchvision's have, the patch tokens of a few
            classes are in memory at a time, else those of all images. Labels are a whole number
            per image; 0 or 1 for a classifier with one logit; or a row of zeros and ones per image,
            for one that gives each class a sigmoid.
        k: Prototypes per class.
        class_names: Name of each class; None takes the data set's `classes`, or numbers.
        refinement: How the rows of the head are split; see `ppn.refinement.refine`.
        config: Size, mean and standard deviation of the input; None takes timm's for timm models
            and ImageNet's otherwise, at the size of the loader's images.
        features: Name of the module whose output are the patch features, such as `layer4`; None
            finds it by computing.
        seed: Seed of discovery.
        transform: What image files, pictures and arrays go through before the classifier; None
            takes the transform of the loader's data set where it has one, else what config says.

    Raises:
        HeadError: If the classifier is no nn.Module, or has no last linear layer or no such module.
        DataError: If a class has no image, or labels do not fit the classifier.
        DiscoveryError: If a class has too few patches for k, or k is not positive.
    """
    keep_memory()
    model = observable(model)
    k = whole_number("k", k, 1, DiscoveryError)
    seed = whole_number("seed", seed)
    one_of("refinement", refinement, get_args(Strategy))
    expect_transform(transform)
    expected = input_config(model) if config is None else input_config_of(config)
    source = Source(loader, expected)
    channels, height, width = source.shape()
    if config is None:
        expected = replace(expected.with_channels(channels), size=(height, width))
    elif (channels, height, width) != (expected.channels, *expected.size):
        raise DataError(
            f"The loader's images are {(channels, height, width)}, but config says "
            f"{(expected.channels, *expected.size)}: resize them, or give another config."
        )
    preprocessing = find_preprocessing(source, expected, transform)
    expected = preprocessing.config
    classifier = Classifier(model, expected, features).eval()
    weight, bias = classifier.effective_head()
    count, width = weight.shape
    mode, note = source.mode(count), source.note(count)
    names = list(class_names or source.class_names(count) or map(str, range(count)))
    if mode == "binary" and len(names) == 2:
        names = names[1:]  # the logit is for the class that is labelled 1
    if len(names) != count:
        raise DataError(f"The classifier has {count} classes, but there are {len(names)} names.")
    head = PrototypeHead(count, k, width).to(weight.device)
    dictionary = PartDictionary(count, k, width, num_patches=1).to(weight.device)
    settings = DiscoverySettings(seed=seed)
    sample = CertificateSample(count, width).to(weight.device)
    agreement = Agreement(mode)
    decompose_stream(
        class_by_class(
            _tokens(source, classifier, count, agreement), names, sample, not source.by_class
        ),
        weight,
        {refinement: head},
        refinement,
        dictionary,
        expected.size,
        settings,
        repeat(GROUP),
    )
    if note is not None:
        rank_zero_info(note)
    disagreement = agreement.warning()
    if disagreement is not None:
        warn(disagreement)
    if not dictionary.complete:
        label = int((dictionary.found == 0).nonzero()[0])
        raise DataError(f"Class {label} ({names[label]}) has no image in the loader: add some.")
    head.bias.copy_(bias)
    certificate = certify(dictionary, *sample.outputs(head)).to_dict()

    def describe() -> Prototypes:
        return Prototypes(
            tensors_of(head, dictionary),
            names,
            image_names(dictionary, source.name),
            refinement,
            weights_hash(classifier.model),
            expected,
            {"features": features},
            settings=asdict(settings),
            certificate=certificate,
        )

    def patch(label: int, part: int) -> Patch | None:
        found = source.image(int(dictionary.patch_index[label, part, 0]))
        if found is None:
            return None
        x0, y0, x1, y1 = dictionary.patch_box[label, part, 0].tolist()
        score = float(dictionary.patch_score[label, part, 0])
        return Patch(to_picture(found[0], expected), (x0, y0, x1, y1), score, found[1])

    return PrototypeNetwork(
        classifier, head, dictionary, names, certificate, describe, patch, preprocessing, mode
    )


def _tokens(
    source: Source, classifier: Classifier, count: int, agreement: Agreement
) -> Iterator[TokenBatch]:
    for images, rows, labels, indices in source.batches(count):
        accepted = classifier.accept(images)
        tokens = classifier(accepted)
        agreement.add(tokens.logits, rows, labels)
        yield tokens.rows(rows), labels, indices.to(accepted.device)
