"""Prototypes for a classifier in one call, from any loader of images and labels."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ppn.classifier import Classifier
from ppn.classifier.architecture import input_config
from ppn.classifier.hugging_face import (
    HUGGING_FACE,
    class_names_in,
    describe_processor,
    input_config_of_processor,
    is_processor,
    make_classifier,
    processor_of,
)
from ppn.classifier.model import observable
from ppn.classifier.running import without_autocast
from ppn.data.annotated import training_images
from ppn.data.class_names import class_names_of
from ppn.data.conversion import expect_transform
from ppn.data.repeating import find_preprocessing
from ppn.data.source import Source
from ppn.discovery import NMF, Discoverer
from ppn.errors import DataError, DiscoveryError, warn
from ppn.prototypes.agreement import Agreement
from ppn.prototypes.arguments import input_config_of, instance_of, whole_number
from ppn.prototypes.fit import Fit
from ppn.prototypes.network import DEFAULT_K, PrototypeNetwork
from ppn.prototypes.patches import SourcePatches
from ppn.refinement.base import Refinement
from ppn.refinement.compact_split import CompactSplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import nn

    from ppn.data.datamodule import FineGrainedDataModule
    from ppn.prototypes.stream import TokenBatch
    from ppn.types import InputConfig

_BATCH = 16
"""Chosen images that are read at a time."""


@torch.no_grad()
@without_autocast()
def from_classifier(
    model: nn.Module | str,
    loader: Iterable[Any] | FineGrainedDataModule,
    k: int | None = None,
    class_names: Any = None,  # noqa: ANN401 - whatever people keep names in
    refinement: Refinement | None = None,
    discoverer: Discoverer | None = None,
    config: InputConfig | None = None,
    features: str | None = None,
    transform: Callable[..., Any] | None = None,
) -> PrototypeNetwork:
    """Find the prototypes of a trained classifier.

    The model is used as it is, on its device; its weights are not touched.

    Args:
        model: A classifier that ends in a linear layer: any such timm or torchvision model, or one
            of yours; or `hf:NAME` or `hf:FOLDER`, an image classifier of transformers, whose
            processor prepares image files unless `transform` or the loader's data set says how.
        loader: Training images without augmentation, preprocessed as for the classifier: a
            DataLoader of (images, labels) or of dicts with "image" and "label", one of ppn's
            DataModules, or any iterable of such batches. A DataLoader's shuffling is left out.
            Where its data set has `targets`, as torchvision's have, the patch tokens of a few
            classes are in memory at a time, else those of all images. Labels are a whole number
            per image; 0 or 1 for a classifier with one logit; or a row of zeros and ones per image,
            for one that gives each class a sigmoid.
        k: Prototypes per class; None: as many as parts have names, or else 3.
        class_names: Name of each class: a list or array, a mapping from or to indices, an object
            or file that holds one (see `class_names_of`); None takes the data set's `classes`, or
            numbers.
        refinement: How the rows of the head are split; None: `CompactSplit()`.
        discoverer: How parts are found; None: `NMF()`. `NamedParts` takes annotations and clicks
            of a DataModule's images, and of other loaders a teacher or `annotate`.
        config: Size, mean and standard deviation of the input; None takes timm's for timm models
            and ImageNet's otherwise, at the size of the loader's images.
        features: Name of the module whose output are the patch features, such as `layer4`; None
            finds it by computing.
        transform: What image files, pictures and arrays go through before the classifier; None
            takes the transform of the loader's data set where it has one, else what config says.

    Raises:
        HeadError: If the classifier is not an nn.Module, or has no last linear layer or no such
            module.
        DataError: If there is no image, or labels do not fit the classifier.
        DiscoveryError: If a class has too few patches for k, or k is not positive.
    """
    processor, theirs = None, None
    if isinstance(model, str) and model.startswith(HUGGING_FACE):
        processor = processor_of(model)
        model, theirs = make_classifier(model, True, {})
    if is_processor(transform) and not isinstance(model, str) and hasattr(model, "config"):
        theirs = input_config_of_processor(model, transform)
    model = observable(model)
    k = None if k is None else whole_number("k", k, 1, DiscoveryError)
    refinement = CompactSplit() if refinement is None else refinement
    instance_of("refinement", refinement, Refinement, "CompactSplit()")
    if discoverer is not None:
        instance_of("discoverer", discoverer, Discoverer, "NMF()")
    expect_transform(transform)
    expected = (theirs or input_config(model)) if config is None else input_config_of(config)
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
    if preprocessing.transform is None and processor is not None and source.data is None:
        preprocessing = find_preprocessing(source, expected, processor)
    expected = preprocessing.config
    classifier = Classifier(model, expected, features)
    discoverer = NMF() if discoverer is None else discoverer
    chosen = None
    if discoverer.shared:
        chosen = discoverer.choose(training_images(source, classifier.effective_head()[0].device))
    k = k or len(discoverer.part_names) or DEFAULT_K
    network = PrototypeNetwork(classifier, k, {refinement.name: refinement.exact})
    count = len(network.class_names)
    if source.data is not None and source.data.num_classes < count:
        known = None if class_names is None else class_names_of(class_names, count)
        source.data.follow_classes("The classifier", known, count)
        source = Source(loader, expected)
    mode = source.mode(count)
    given = source.class_names(count) if class_names is None else class_names
    if given is None and theirs is not None:
        given = class_names_in(model)
    # One logit may come with two names: it is for the class that is labelled 1.
    pair = mode == "binary" and isinstance(given, Sized) and len(given) == 2
    names = network.class_names if given is None else class_names_of(given, 2 if pair else count)
    names = names[1:] if pair else names
    if class_names is not None:
        _expect_places(names, source.class_names(count))
    fit = Fit(network, [refinement], discoverer, labels=())
    if chosen is not None and source.rereads:
        fit.learn(_chosen(source, network, chosen), names, sort=True)
    elif discoverer.shared:
        fit.learn(_tokens(source, network, count), names, not source.by_class)
    agreement = Agreement(mode)
    fit.run(_tokens(source, network, count, agreement), names, sort=not source.by_class)
    fit.finish(names, source.name, source.first)
    network.structure = {"features": features}
    network.preprocessing = preprocessing
    if is_processor(preprocessing.transform):
        network.settings["processor"] = describe_processor(preprocessing.transform)
    elif preprocessing.transform is not None:
        network.settings["transform"] = True
    if mode != "single":
        network.settings["labels"] = mode
    source.announce(count)
    disagreement = agreement.warning()
    if disagreement is not None:
        warn(disagreement)

    network.patches = SourcePatches(network.dictionary, source, expected)
    return network


def _expect_places(names: Sequence[str], found: Sequence[str] | None) -> None:
    """Refuse labels that the data set has for other names than the classifier."""
    place = {name: label for label, name in enumerate(names)}
    for label, name in enumerate(found or ()):
        if place.get(name, label) != label and names[label] != name:
            raise DataError(
                f"Class {label} of the data set is '{name}', which class_names has as class "
                f"{place[name]}: map the labels to the classifier's (target_transform), or give "
                "the names in the order of its outputs."
            )


def _tokens(
    source: Source, network: PrototypeNetwork, count: int, agreement: Agreement | None = None
) -> Iterator[TokenBatch]:
    for images, rows, labels, indices in source.batches(count):
        tokens = network.tokens(images, patches=True)
        if agreement is not None:
            agreement.add(tokens.logits, rows, labels)
        yield tokens.rows(rows), labels, indices.to(network.device)


def _chosen(
    source: Source, network: PrototypeNetwork, indices: Sequence[int]
) -> Iterator[TokenBatch]:
    """Tokens of some images, whatever their classes: they are told apart by their index alone."""
    for first in range(0, len(indices), _BATCH):
        some = list(indices[first : first + _BATCH])
        tokens = network.tokens(source.images(some), patches=True)
        yield tokens, [0] * len(some), torch.tensor(some, device=network.device)
