"""From a name and weights to a verified classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ppn.classifier import Classifier
from ppn.classifier.architecture import make_model
from ppn.classifier.weights import count_classes, load_weights
from ppn.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Sequence


def build_classifier(
    architecture: str,
    num_classes: int,
    weights: str | None = None,
    pretrained: bool = False,
    image_size: int | None = None,
    model_options: dict[str, Any] | None = None,
    whole: bool = False,
) -> Classifier:
    """Make a classifier and verify that its head can be decomposed.

    Args:
        architecture: Name of the model; see `ppn.classifier.architecture.make_model`.
        num_classes: Number of classes.
        weights: Where weights come from; see `load_weights`. None keeps the initialisation.
        pretrained: Load timm's own pretrained weights.
        image_size: Side of the square input in pixels; None takes the model's own.
        model_options: Further arguments of `make_model`, such as timm's `global_pool`.
        whole: Whether `weights` must hold the classifier too; it may have more classes.

    Raises:
        CheckpointError: If there is no such model, or weights are unreadable or do not fit.
        HeadError: If the head cannot be decomposed.
    """
    if weights is not None and pretrained:
        raise CheckpointError("Both weights and pretrained are given: choose one of them.")
    made = make_model(architecture, num_classes, pretrained, image_size, model_options)
    if weights is not None:
        try:
            load_weights(made.model, weights, architecture, whole)
        except CheckpointError:
            count = _classes(made.model, weights, architecture) if whole else 0
            if count <= num_classes:
                raise
            made = make_model(architecture, count, pretrained, image_size, model_options)
            load_weights(made.model, weights, architecture, whole)
    return Classifier(made.model, made.config, made.features)


def _classes(model: nn.Module, weights: str, architecture: str) -> int:
    """How many classes weights are for; 0 where they do not tell."""
    try:
        return count_classes(model, weights, architecture)
    except CheckpointError:
        return 0


def freeze(module: nn.Module) -> None:
    """Stop gradients and statistics: frozen BatchNorm still updates its averages in train mode.

    timm's `freeze` would put other modules in the place of batch norms, and change the model.
    """
    module.requires_grad_(False)
    module.eval()


def named_modules(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the submodules with the given names.

    Raises:
        CheckpointError: If the model has no module of that name.
    """
    known = dict(model.named_modules())
    for name in names:
        if name not in known or not name:
            children = ", ".join(child for child, _ in model.named_children())
            raise CheckpointError(
                f"{type(model).__name__} has no module '{name}' to freeze: its first level is "
                f"{children}."
            )
    return [known[name] for name in names]


def cosine_with_warmup(
    optimizer: torch.optim.Optimizer, warmup_steps: int, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up from 1 % of the learning rate, then half a cosine down to 0, per step."""
    warmup_steps = min(warmup_steps, max(total_steps - 1, 0))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, max(1, total_steps - warmup_steps)
    )
    if warmup_steps == 0:
        return cosine
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=warmup_steps)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [warmup_steps])
