"""The linear head that a report describes: what it acts on, and its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ppn.classifier.candidates import last_modules
from ppn.classifier.cut import Cut
from ppn.classifier.cut_point import MethodCutPoint, ModuleCutPoint
from ppn.classifier.layout import Location
from ppn.classifier.norms import fold_norm, scale_of

if TYPE_CHECKING:
    from ppn.classifier.cut_point import CutPoint
    from ppn.classifier.head_case import HeadInspection


def live_cut(model: nn.Module, report: HeadInspection) -> Cut:
    """Return the cut that a report describes, on the model it is about."""
    split: CutPoint = (
        MethodCutPoint(model)
        if report.features is None
        else ModuleCutPoint(model, report.features, report.in_place)
    )
    place = Location(report.layout, report.prefix, report.suffix)
    return Cut(
        split, last_modules(model, report.linears), report.reads, report.leaf, place, report.outputs
    )


@torch.no_grad()
def effective_head(model: nn.Module, report: HeadInspection) -> tuple[Tensor, Tensor]:
    """Return the head that acts on z, in float64: logits = scale * (z W^T) + b.

    Several last layers are one: on the same mean token their rows add up; otherwise z holds what
    each is given, one after the other. Norms are folded in (see `ppn.classifier.norms`).

    Args:
        model: The classifier.
        report: What inspection has found.

    Returns:
        Weight (C, D) and bias (C,).
    """
    weights, biases = [], []
    for index, module in enumerate(last_modules(model, report.linears) or [model]):
        weight, bias = _rows(module, report, next(model.parameters()).device)
        name, kind = report.norms[index] if report.norms else ("", None)
        if kind is not None:
            weight, bias = fold_norm(model.get_submodule(name), kind, weight, bias)
        weights.append(report.mix[index] * weight)
        biases.append(report.mix[index] * bias)
    weight = torch.stack(weights).sum(0) if report.averages else torch.cat(weights, dim=1)
    return weight, torch.stack(biases).sum(0)


def _rows(module: nn.Module, report: HeadInspection, device: torch.device) -> tuple[Tensor, Tensor]:
    """What the logits are of the vector that the last module is given, or gives."""
    matrix, offset = (None, None)
    if report.after is not None:
        matrix, offset = (value.to(device) for value in report.after)
    if report.outputs:
        assert matrix is not None
        assert offset is not None
        return matrix, offset
    assert isinstance(module, nn.Linear | nn.Conv2d)
    weight = module.weight.detach().double().flatten(1)
    bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.detach().double()
    if matrix is None or offset is None:
        return weight, bias
    return matrix @ weight, matrix @ bias + offset


def head_vector(
    model: nn.Module, report: HeadInspection, patches: Tensor, inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the effective head acts on.

    Args:
        model: The classifier.
        report: What inspection has found.
        patches: (B, N, D') raw patch tokens.
        inputs: (B, D) what the last linear layers were given.

    Returns:
        z (B, D), the mean token or the inputs, in float32 or wider, and the factor 1/s (B,).
    """
    wide = torch.promote_types(inputs.dtype, torch.float32)
    if not report.averages:
        return inputs.to(wide), torch.ones_like(inputs[:, 0], dtype=wide)
    # Half precision would lose digits in the mean that the logits' sum of parts is made of.
    pooled = patches.mean(dim=1, dtype=wide)
    if report.norm is None:
        return pooled, torch.ones_like(pooled[:, 0])
    kind = report.norms[0][1]
    assert kind is not None
    return pooled, scale_of(model.get_submodule(report.norm), kind, pooled)
