"""The one way from images to explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from ppn.data.transforms import to_picture
from ppn.explanation.attribute import maps_and_terms, way
from ppn.explanation.record import Explanation, Ranked
from ppn.explanation.terms import DEFAULT, MapOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from ppn.classifier import Classifier
    from ppn.explanation.record import ClassImages, Patch
    from ppn.prototypes.head import PrototypeHead
    from ppn.types import Tokens

_RANKED = 5
"""Most likely classes that an explanation lists."""


class Explainable(Protocol):
    """A classifier, its head as sums of prototypes, and the names of its classes."""

    @property
    def classifier(self) -> Classifier:
        """The classifier."""

    @property
    def head(self) -> PrototypeHead:
        """Its head as sums of prototypes."""

    @property
    def class_names(self) -> Sequence[str]:
        """Name of each class."""

    @property
    def part_names(self) -> Sequence[str]:
        """Name of each part, the same for every class; none where they have no names."""

    @property
    def independent(self) -> bool:
        """Whether each class has a probability of its own, by sigmoid."""

    def class_images(self, label: int) -> ClassImages:
        """How many training images a class has, and how like each other they are."""

    def edited_words(self, label: int) -> tuple[str, ...]:
        """What was done to a class's parts since they were found, in words."""


@torch.no_grad()
def explain(
    network: Explainable,
    images: Tensor,
    names: Sequence[str],
    target: Sequence[int] | None = None,
    true: Sequence[int] | None = None,
    patch: Callable[[int, int], Patch | None] | None = None,
    tokens: Tokens | None = None,
    options: MapOptions = DEFAULT,
) -> list[Explanation]:
    """Explain one logit of each image.

    Args:
        network: What explains; anything with a classifier, a head and class names.
        images: (B, C, H, W) as the classifier expects them, on any device.
        names: (B) names of the images.
        target: (B) classes to explain; None explains the predicted ones.
        true: (B) true classes, where they are known.
        patch: Gives the nearest training patch of a class's prototype, or None where it is not at
            hand; without it explanations have no patches.
        tokens: What the classifier has given for the images, where it ran before.
        options: Which maps are shown.

    Raises:
        PPNError: If there are no such maps.
    """
    classifier, head = network.classifier, network.head
    accepted = classifier.accept(images)
    with way(classifier, accepted, options) as taken:
        if tokens is None:
            tokens = classifier(accepted, patches=False)
    assert tokens is not None
    change = head.change(tokens)
    logits = tokens.logits.float() + change
    labels = logits.argmax(1) if target is None else torch.tensor(target, device=logits.device)
    rows = torch.arange(len(labels), device=logits.device)
    everyones = head(tokens).contributions
    contributions = everyones[rows, labels].tolist()
    cells = head.maps(tokens, labels)
    shown, terms = maps_and_terms(
        network, accepted, labels, everyones, cells, taken, tokens, options
    )
    grids = shown.cpu().numpy()
    training = {label: network.class_images(label) for label in set(labels.tolist())}
    explained = []
    for row, label in enumerate(labels.tolist()):
        ranking, probabilities = ranked(logits[row], network.class_names, network.independent)
        explained.append(
            Explanation(
                image=to_picture(images[row], classifier.config),
                name=names[row],
                label=label,
                class_name=network.class_names[label],
                logit=float(logits[row, label]),
                bias=float(head.bias[label]),
                contributions=tuple(contributions[row]),
                maps=tuple(grids[row]),
                patches=tuple(patch(label, i) if patch else None for i in range(len(grids[row]))),
                ranking=ranking,
                probability=float(probabilities[label]),
                inspection=classifier.inspection,
                scale=float(tokens.scale[row]),
                part_names=tuple(network.part_names),
                terms=terms[row],
                true_class="" if true is None else network.class_names[true[row]],
                edits=network.edited_words(label),
                change=float(change[row, label]),
                training=training[label],
            )
        )
    return explained


def ranked(
    logits: Tensor, names: Sequence[str], independent: bool
) -> tuple[tuple[Ranked, ...], Tensor]:
    """Return the most likely classes, the most likely first, and the probability of every class.

    Args:
        logits: (C,) of one image.
        names: Name of each class.
        independent: Whether each class has a probability of its own, by sigmoid.
    """
    probabilities = logits.sigmoid() if independent else logits.softmax(0)
    best = logits.topk(min(_RANKED, len(logits)))
    values = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ranking = tuple(Ranked(i, names[i], value, float(probabilities[i])) for value, i in values)
    return ranking, probabilities
