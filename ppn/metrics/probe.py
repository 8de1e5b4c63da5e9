"""What a metric may ask an explainer and its classifier: about the batch, and about changed images.

Nothing is computed before it is asked for, and what several metrics ask for is computed once.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from ppn.classifier.running import guarded
from ppn.explainers.base import Attribution, Inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from ppn.classifier import Classifier
    from ppn.data.interventions import Interventions
    from ppn.explainers.base import Explainer
    from ppn.types import Tokens

LATE = 1 / 3
"""Share of a classifier's layers, counted from its end, that are drawn anew."""


class Seen(NamedTuple):
    """What is seen of n changed images.

    `logits` (n, C) the classifier's own; `attribution` of the classes that were asked about.
    """

    logits: Tensor
    attribution: Attribution


class Model:
    """A classifier as metrics may run it: on any images, so many at once as a batch has.

    Args:
        classifier: The classifier.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self._stirred: dict[int, Classifier] = {}

    @property
    def std(self) -> tuple[float, ...]:
        """What pixels in [0, 1] were divided by, per channel."""
        return self.classifier.config.std

    @torch.no_grad()
    def classify(self, images: Tensor, most: int) -> Tensor:
        """Return the logits (n, C) of images (n, channels, H, W), at most `most` at a time."""
        with guarded(self.classifier.model):
            parts = [
                self.classifier.classify(self.classifier.accept(part)).float()
                for part in torch.split(images, most)
            ]
        return torch.cat(parts)

    def tokens(self, images: Tensor) -> Tokens:
        """Return tokens and logits; with a gradient where the caller records one."""
        found: Tokens = self.classifier(self.classifier.accept(images), False)
        return found

    def stirred(self, seed: int) -> Classifier:
        """Return a copy whose late layers are drawn anew; made once for each seed."""
        if seed not in self._stirred:
            with torch.inference_mode(False):
                self._stirred[seed] = redrawn(self.classifier, seed)
        return self._stirred[seed]


class Probe:
    """Asks about the images of one batch.

    Args:
        model: The classifier.
        explainer: The explainer.
        inputs: The batch.
        shared: What was asked about the batch for other explainers, and does not depend on them.
        interventions: The images without parts or objects; None where there are none.
    """

    def __init__(
        self,
        model: Model,
        explainer: Explainer,
        inputs: Inputs,
        shared: dict[object, Any] | None = None,
        interventions: Interventions | None = None,
    ) -> None:
        self.model = model
        self.explainer = explainer
        self.inputs = inputs
        self.interventions = interventions
        self._shared: dict[object, Any] = {} if shared is None else shared

    @property
    def logits(self) -> Tensor:
        """(B, C) float32, the classifier's own."""
        return self.inputs.tokens.logits.float()

    @cached_property
    def predicted(self) -> Tensor:
        """(B,) the class that the classifier predicts."""
        return self.logits.argmax(1)

    @cached_property
    def attribution(self) -> Attribution:
        """What the explainer says of the predicted classes."""
        return self.explainer.attribute(self.inputs, self.predicted)

    @cached_property
    def surrogate(self) -> Tensor | None:
        """(B, C) what the explanation alone says the logits are; None where it says nothing."""
        return self.explainer.surrogate(self.inputs)

    def classify(self, images: Tensor) -> Tensor:
        """Return the logits (n, C) of any images, in batches of this one's size."""
        return self.model.classify(images, max(1, len(self.inputs.images)))

    @torch.no_grad()
    def see(self, images: Tensor, rows: Tensor, target: Tensor) -> Seen:
        """Explain changed images, in batches of this one's size.

        Args:
            images: (n, channels, H, W).
            rows: (n,) which image of the batch each of them is made from.
            target: (n,) the class to explain on each.
        """
        logits, maps, contributions = [], [], []
        for changed, classes in self._changed(images, rows, target):
            found = self.explainer.attribute(changed, classes)
            logits.append(changed.tokens.logits.float())
            maps.append(found.maps)
            contributions.append(found.contributions)
        return Seen(torch.cat(logits), Attribution(torch.cat(maps), _joined(contributions)))

    @torch.no_grad()
    def terms(self, images: Tensor, rows: Tensor, target: Tensor) -> Tensor | None:
        """Return the contributions (n, k) on changed images, see `see`, without their maps."""
        return _joined(
            [
                self.explainer.contributions(changed, classes)
                for changed, classes in self._changed(images, rows, target)
            ]
        )

    def _changed(
        self, images: Tensor, rows: Tensor, target: Tensor
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Run the classifier on changed images, in batches of this one's size."""
        indices = self.inputs.indices[rows]
        step = max(1, len(self.inputs.images))
        for part in torch.split(torch.arange(len(images), device=images.device), step):
            tokens = self.model.tokens(images[part])
            yield (
                self.inputs._replace(
                    images=images[part], tokens=tokens, indices=indices[part], draw=1
                ),
                target[part],
            )

    def with_late_layers_redrawn(self, seed: int) -> Attribution:
        """Return what the explainer says, of the predicted classes, behind other late layers."""

        def run() -> Tokens:
            return Model(self.model.stirred(seed)).tokens(self.inputs.images)

        tokens = self.once(("late layers", seed), run)
        return self.explainer.attribute(self.inputs._replace(tokens=tokens), self.predicted)

    @torch.no_grad()
    def once(self, key: object, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is made
        """Return what is made of the batch, whatever the explainer; made by the first who asks.

        Args:
            key: Tells it from other things.
            make: Makes it.
        """
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


def _joined(contributions: Sequence[Tensor | None]) -> Tensor | None:
    known = [one for one in contributions if one is not None]
    return torch.cat(known) if len(known) == len(contributions) else None


def redrawn(classifier: Classifier, seed: int, share: float = LATE) -> Classifier:
    """Return a copy of a classifier whose late layers are initialised anew; its head stays.

    Args:
        classifier: The classifier.
        seed: Seed of the weights.
        share: Share of its layers with weights of their own, counted from the end, in (0, 1].
    """
    made = copy.deepcopy(classifier)
    last = set(map(id, made.linears))
    layers = [
        module
        for module in made.model.modules()
        if callable(getattr(module, "reset_parameters", None)) and id(module) not in last
    ]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        for layer in layers[len(layers) - max(1, round(share * len(layers))) :]:
            _reset(layer)
    return made


def _reset(layer: nn.Module) -> None:
    """Initialise on the CPU, whose numbers are the same everywhere."""
    device = next((p.device for p in layer.parameters()), torch.device("cpu"))
    layer.cpu().reset_parameters()  # type: ignore[operator]
    layer.to(device)
