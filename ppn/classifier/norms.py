"""Norms between the mean token and the classifier, folded into an effective head.

Each is z = gamma * (m - shift) / s + beta: with s one number per image (layer and root mean square
norms) logits keep the factor 1/s; with s constant (batch norm in evaluation) nothing is left of it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ppn.classifier.running import hooked

if TYPE_CHECKING:
    from collections.abc import Iterator

NormKind = Literal["batch", "layer", "rms"]
KINDS: tuple[NormKind, ...] = ("batch", "layer", "rms")


def may_be_norm(module: nn.Module) -> bool:
    """Whether a module has what norms have; computing decides which kind it is."""
    if isinstance(module, nn.GroupNorm) and module.num_groups != 1:
        return False
    return hasattr(module, "eps") and isinstance(module.eps, float | None)


def normalise(norm: nn.Module, kind: NormKind, pooled: Tensor) -> Tensor | None:
    """Return what a norm of a kind makes of mean tokens, or None if it cannot be of that kind.

    Args:
        norm: The module.
        kind: What it is taken for.
        pooled: (B, D) mean tokens.
    """
    weight = getattr(norm, "weight", None)
    width = pooled.shape[1]
    if weight is not None and weight.shape != (width,):
        return None
    if (kind == "batch") != (getattr(norm, "running_var", None) is not None):
        return None
    eye = torch.eye(width, dtype=torch.float64, device=pooled.device)
    matrix, offset = fold_norm(norm, kind, eye, torch.zeros_like(eye[0]))
    scaled = pooled.double() * scale_of(norm, kind, pooled.double())[:, None]
    return scaled @ matrix.T + offset


def scale_of(norm: nn.Module, kind: NormKind, pooled: Tensor) -> Tensor:
    """Return the positive factor 1/s (B,) by which a norm multiplies mean tokens (B, D)."""
    if kind == "batch":
        return torch.ones_like(pooled[:, 0])
    eps = getattr(norm, "eps", None)
    if eps is None:  # torch's RMSNorm
        eps = torch.finfo(pooled.dtype).eps
    if kind == "layer":
        return (pooled.var(dim=1, unbiased=False) + eps).rsqrt()
    return (pooled.square().mean(dim=1) + eps).rsqrt()


def fold_norm(
    norm: nn.Module, kind: NormKind, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the linear map that does on scaled mean tokens what norm and linear layer do.

    Layer norm: W^ = (W gamma)(I - 11^T / D), const = W beta + b; root mean square: W^ = W gamma;
    batch norm in evaluation: W^ = W gamma / sigma, const = W (beta - gamma mu / sigma) + b.

    Args:
        norm: The module.
        kind: Its kind.
        weight: (C, D) float64 of the linear layer.
        bias: (C,) float64.
    """
    gamma, beta = getattr(norm, "weight", None), getattr(norm, "bias", None)
    if beta is not None:
        bias = bias + weight @ beta.detach().double()
    if gamma is not None:
        weight = weight * gamma.detach().double()
    if kind == "layer":
        weight = weight - weight.mean(dim=1, keepdim=True)
    elif kind == "batch":
        weight = weight * (norm.running_var.double() + norm.eps).rsqrt()  # type: ignore[operator]
        bias = bias - weight @ norm.running_mean.double()  # type: ignore[operator]
    return weight, bias


@contextmanager
def fixed_scales(model: nn.Module) -> Iterator[None]:
    """Let gradients take the standard deviation by which layer norms divide as a constant.

    What comes behind a layer norm does not change when its input is scaled, so gradient times
    input is zero in sum, whatever the input; with s fixed, as the factor 1/s of an image is in
    mean, norm, linear heads, it is the norm's output up to its bias.
    """
    with hooked(
        (module, _with_fixed_scale)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) == 1
    ):
        yield


def _with_fixed_scale(norm: nn.Module, given: Any, output: Tensor) -> Tensor | None:  # noqa: ANN401
    """The same output (a forward hook), with another gradient; None where the norm is unusual."""
    value: Tensor = given[0]
    if not isinstance(norm, nn.LayerNorm) or not value.requires_grad:
        return None
    # timm's norms of maps act on the channels of NCHW.
    axis = 1 if value.dim() == 4 and value.shape[-1] != norm.normalized_shape[0] else -1
    if value.shape[axis] != norm.normalized_shape[0]:
        return None
    shape = [1] * value.dim()
    shape[axis] = -1
    scale = (value.detach().var(axis, unbiased=False, keepdim=True) + norm.eps).rsqrt()
    result = (value - value.mean(axis, keepdim=True)) * scale
    if norm.weight is not None:
        result = result * norm.weight.reshape(shape)
    if norm.bias is not None:
        result = result + norm.bias.reshape(shape)
    return result if torch.allclose(result, output, rtol=1e-3, atol=1e-4) else None
