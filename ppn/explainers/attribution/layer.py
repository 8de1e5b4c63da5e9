"""Activations of a layer of the classifier, and the gradients of logits with respect to them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ppn.classifier.cut import run
from ppn.classifier.effective import live_cut
from ppn.classifier.layout import locations
from ppn.classifier.running import guarded, hooked
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from ppn.classifier import Classifier


class Layer(NamedTuple):
    """What a layer gives for a batch, and how logits depend on it.

    `tokens` (B, N, D), row by row on `grid` (H, W); `gradients` (B, N, D) of each image's target
    logit.
    """

    tokens: Tensor
    gradients: Tensor
    grid: tuple[int, int]

    def on_grid(self, values: Tensor) -> Tensor:
        """Return values (B, N) of the tokens as one map (B, 1, H, W) for each image."""
        return values.reshape(len(values), 1, *self.grid)


@contextmanager
def recording() -> Iterator[None]:
    """Record gradients, also where a Trainer evaluates in inference mode."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def last_layer(classifier: Classifier, images: Tensor, target: Tensor) -> Layer:
    """Return the features at which the classifier is cut, and the head's gradients there.

    The classifier before the cut runs without recording gradients, which only the head needs.

    Args:
        classifier: The classifier; it is left as it was.
        images: (B, channels, H, W).
        target: (B,) int64, the class whose logit is meant.
    """
    cut = live_cut(classifier.model, classifier.inspection)
    with guarded(classifier.model), recording():
        with torch.no_grad():
            features, _, _ = run(cut, classifier.accept(images).clone())
        source = features.leaves[cut.leaf].detach().requires_grad_()
        logits = cut.split.head(features.with_leaf(cut.leaf, source))
        gradient = _gradient(logits, source, target)
    read = cut.location.read
    return Layer(read(source.detach()).float(), read(gradient).float(), cut.grid(features))


def named_layer(classifier: Classifier, name: str, images: Tensor, target: Tensor) -> Layer:
    """Return the output of a module of the classifier, and the gradients there.

    Args:
        classifier: The classifier; it is left as it was.
        name: The module's name.
        images: (B, channels, H, W).
        target: (B,) int64, the class whose logit is meant.

    Raises:
        HeadError: If there is no such module, or it gives no patches.
    """
    modules = dict(classifier.model.named_modules())
    if name not in modules:
        children = ", ".join(child for child, _ in classifier.model.named_children())
        raise HeadError(
            f"{type(classifier.model).__name__} has no module '{name}' to look at: its first level "
            f"is {children}."
        )
    given: list[Tensor] = []

    def watch(_: nn.Module, __: object, output: Any) -> Any:  # noqa: ANN401 - a hook's
        if not isinstance(output, torch.Tensor):
            return None
        given.append(output.detach().clone().requires_grad_())
        return given[-1].clone()

    with guarded(classifier.model), hooked([(modules[name], watch)]), recording():
        logits = classifier.classify(classifier.accept(images).clone())
        report = classifier.inspection
        size = (images.shape[-2], images.shape[-1])
        prefix = report.prefix if report.layout == "NLC" else None
        places = locations(given[0], size, prefix) if len(given) == 1 else []
        if not places:
            raise HeadError(
                f"Module '{name}' gives no map of patches once per image: choose another layer."
            )
        gradient = _gradient(logits, given[0], target)
    place, source = places[0], given[0].detach()
    return Layer(place.read(source).float(), place.read(gradient).float(), place.grid(source, size))


def _gradient(logits: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Of each image's target logit; images do not depend on each other."""
    chosen = logits[torch.arange(len(target), device=target.device), target].sum()
    (gradient,) = torch.autograd.grad(chosen, source, materialize_grads=True)
    return gradient
