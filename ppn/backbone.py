"""A classifier as patch tokens and an effective linear head, verified by computing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ppn.errors import HeadError
from ppn.types import InputConfig, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

HeadCase = Literal["mean_linear", "mean_norm_linear"]
Layout = Literal["NCHW", "NHWC", "NLC"]

TOLERANCE = 1e-4
"""Largest relative error at which two ways to compute the same float32 features count as equal."""


@dataclass(frozen=True)
class HeadReport:
    """What computing on input has shown about a classifier's head.

    Attributes:
        case: "mean_linear": logits = W mean(f) + b; "mean_norm_linear": a LayerNorm in between.
        layout: How the last stage lays out its features.
        prefix: Leading tokens that are not patches.
        norm: Name of the LayerNorm module between mean and classifier, if there is one.
        error: Measured max |difference| of the logits over their standard deviation.
    """

    case: HeadCase
    layout: Layout
    prefix: int
    norm: str | None
    error: float


class Backbone(nn.Module):
    """A timm classifier that also gives its patch tokens and effective linear head.

    With m the mean of the patch tokens, the classifier's logits are `scale * (weight @ m) + bias`,
    where `scale` is one positive number per image (method: "Heads"). Which head case holds is
    found by running the model once on random input, never by its name.

    Args:
        model: A classifier with timm's `forward_features`, `forward_head` and `get_classifier`.
        config: Input size and normalisation it expects.

    Raises:
        HeadError: If the head is not one of the supported cases; the message says why.
    """

    def __init__(self, model: nn.Module, config: InputConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.report = inspect_head(model, config.size)

    @property
    def classifier(self) -> nn.Linear:
        """The last linear layer."""
        return last_linear(self.model)

    def classify(self, images: Tensor) -> Tensor:
        """Return the black box's logits (B, C) for images (B, 3, H, W)."""
        logits: Tensor = self.model(images)
        return logits

    def forward(self, images: Tensor) -> Tokens:
        """Return the patch tokens of images (B, 3, H, W) with the black box's own logits."""
        features = self.model.forward_features(images)  # type: ignore[operator]
        logits = self.model.forward_head(features)  # type: ignore[operator]
        report = self.report
        tokens, grid = patch_tokens(features, report.layout, report.prefix, self.model)
        # Half precision would lose digits in the mean that the logits' sum of parts is made of.
        pooled = tokens.mean(dim=1, dtype=torch.promote_types(tokens.dtype, torch.float32))
        norm = self._norm
        if norm is None:
            scale = torch.ones_like(pooled[:, 0])
        else:
            scale = (pooled.var(dim=1, unbiased=False) + norm.eps).rsqrt()
        return Tokens(tokens, grid, pooled, scale, logits)

    @torch.no_grad()
    def effective_head(self) -> tuple[Tensor, Tensor]:
        """Return the head that acts on the mean token, in float64.

        For a normalised head, z = gamma * (m - mean(m)) / s + beta, so W z + b is
        (1/s) W^ m + const with W^ = (W gamma)(I - 11^T / D) and const = W beta + b.

        Returns:
            Weight (C, D) and bias (C,).
        """
        linear = self.classifier
        weight = linear.weight.detach().double()
        bias = (
            linear.bias.detach().double()
            if linear.bias is not None
            else weight.new_zeros(len(weight))
        )
        norm = self._norm
        if norm is None:
            return weight, bias
        if norm.bias is not None:
            bias = bias + weight @ norm.bias.detach().double()
        if norm.weight is not None:
            weight = weight * norm.weight.detach().double()
        return weight - weight.mean(dim=1, keepdim=True), bias

    @property
    def _norm(self) -> nn.LayerNorm | None:
        if self.report.norm is None:
            return None
        module = self.model.get_submodule(self.report.norm)
        assert isinstance(module, nn.LayerNorm)
        return module


def last_linear(model: nn.Module) -> nn.Linear:
    """Return the classifier's last linear layer.

    Raises:
        HeadError: If there is none, or more than one.
    """
    name = type(model).__name__
    get = getattr(model, "get_classifier", None)
    classifier = get() if callable(get) else None
    if isinstance(classifier, (tuple, list)):
        raise HeadError(
            f"{name} has {len(classifier)} classifiers whose outputs are averaged; "
            "choose a variant with one linear layer."
        )
    if not isinstance(classifier, nn.Linear):
        raise HeadError(
            f"{name} does not end in a linear layer (its classifier is "
            f"{type(classifier).__name__}), so there are no rows to decompose."
        )
    return classifier


def patch_tokens(
    features: Tensor, layout: Layout, prefix: int, model: nn.Module
) -> tuple[Tensor, tuple[int, int]]:
    """Bring features to (B, N, D) and return them with their grid (H, W)."""
    if layout == "NCHW":
        return features.flatten(2).transpose(1, 2), (features.shape[2], features.shape[3])
    if layout == "NHWC":
        return features.flatten(1, 2), (features.shape[1], features.shape[2])
    tokens = features[:, prefix:]
    return tokens, _token_grid(tokens.shape[1], model)


def _token_grid(count: int, model: nn.Module) -> tuple[int, int]:
    grid = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if grid is not None and grid[0] * grid[1] == count:
        return int(grid[0]), int(grid[1])
    side = int(count**0.5)
    if side * side != count:
        raise HeadError(
            f"{type(model).__name__} gives {count} patch tokens, which are no known grid."
        )
    return side, side


@torch.no_grad()
def inspect_head(model: nn.Module, size: tuple[int, int]) -> HeadReport:
    """Find out by computing which head case of the method holds.

    Args:
        model: A timm classifier.
        size: Height and width of its input in pixels.

    Raises:
        HeadError: If no supported case explains the classifier's own logits.
    """
    classifier = last_linear(model)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        run = _Probe(model, classifier, size)
    finally:
        for module, mode in modes.items():
            module.training = mode
    for layout, prefix in _layouts(run.features, classifier.in_features, model):
        tokens, _ = patch_tokens(run.features, layout, prefix, model)
        pooled = tokens.mean(dim=1)
        if _difference(pooled, run.prelogits) <= TOLERANCE:
            logits = classifier(pooled)
            return HeadReport("mean_linear", layout, prefix, None, _difference(logits, run.logits))
        for name, module in run.norms.items():
            if module.normalized_shape != pooled.shape[1:]:
                continue
            normed = nn.functional.layer_norm(
                pooled, module.normalized_shape, module.weight, module.bias, module.eps
            )
            if _difference(normed, run.prelogits) <= TOLERANCE:
                error = _difference(classifier(normed), run.logits)
                return HeadReport("mean_norm_linear", layout, prefix, name, error)
    raise HeadError(f"{type(model).__name__} {_reason(run, classifier)}")


class _Probe:
    """One run on random input: last features, the classifier's input, and the logits."""

    def __init__(self, model: nn.Module, classifier: nn.Linear, size: tuple[int, int]) -> None:
        reference = next(model.parameters())
        images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
        self.features = model.forward_features(  # type: ignore[operator]
            images.to(reference.device, reference.dtype)
        )
        # Only norms that run in the head can stand between mean and classifier. Freshly made
        # norms all compute the same function, so values alone would not tell them apart.
        self.norms: dict[str, nn.LayerNorm] = {}
        inputs: list[Tensor] = []
        handles = [classifier.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))]
        for name, module in model.named_modules():
            if isinstance(module, nn.LayerNorm):
                handles.append(module.register_forward_pre_hook(self._noting(name, module)))
        try:
            self.logits: Tensor = model.forward_head(self.features)  # type: ignore[operator]
        finally:
            for handle in handles:
                handle.remove()
        if len(inputs) != 1:
            raise HeadError(
                f"{type(model).__name__} calls its last linear layer {len(inputs)} times per "
                "image; exactly one call can be decomposed."
            )
        self.prelogits = inputs[0].flatten(1)
        if not bool(torch.isfinite(self.logits).all() and torch.isfinite(self.prelogits).all()):
            raise HeadError(
                f"{type(model).__name__} gives NaN or infinity on random input: its weights are "
                "broken, so take another checkpoint."
            )

    def _noting(self, name: str, norm: nn.LayerNorm) -> Callable[[nn.Module, Any], None]:
        def note(_: nn.Module, __: Any) -> None:  # noqa: ANN401 - a hook's arguments
            self.norms[name] = norm

        return note


def _layouts(features: object, width: int, model: nn.Module) -> list[tuple[Layout, int]]:
    if not isinstance(features, Tensor):
        return []
    if features.dim() == 4:
        layouts: list[tuple[Layout, int]] = []
        if features.shape[1] == width:
            layouts.append(("NCHW", 0))
        if features.shape[3] == width:
            layouts.append(("NHWC", 0))
        return layouts
    if features.dim() == 3 and features.shape[2] == width:
        return [("NLC", int(getattr(model, "num_prefix_tokens", 0)))]
    return []


def _reason(run: _Probe, classifier: nn.Linear) -> str:
    features = run.features
    if not isinstance(features, Tensor):
        return f"gives its last features as a {type(features).__name__}, not as one tensor."
    shape = tuple(features.shape[1:])
    if not _layouts(features, classifier.in_features, nn.Identity()):
        return (
            f"has last features of shape {shape}, but its classifier takes "
            f"{classifier.in_features} numbers: a layer between pooling and classifier mixes them, "
            "so the logits are no sum over patches."
        )
    if features.dim() == 3 and _difference(features[:, 0], run.prelogits) <= TOLERANCE:
        return (
            "classifies by its class token, so the logits are no sum over patches; "
            "where the model allows it, use global_pool='avg'."
        )
    return (
        f"has last features of shape {shape}, but its classifier's input is neither their mean "
        "nor a LayerNorm of their mean, so the logits are no sum over patches."
    )


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Max absolute difference over the standard deviation; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    spread = theirs.double().std().clamp(min=torch.finfo(torch.float32).tiny)
    difference = ((ours.double() - theirs.double()).abs().max() / spread).item()
    return difference if difference == difference else float("inf")
