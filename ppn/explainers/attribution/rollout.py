"""Attention rollout: products of a transformer's attention matrices."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ppn.classifier.running import guarded
from ppn.errors import HeadError
from ppn.explainers.base import Attribution, Explainer

if TYPE_CHECKING:
    from ppn.explainers.base import Inputs
    from ppn.prototypes.network import PrototypeNetwork

_SOFTMAX = (torch.softmax, Tensor.softmax, functional.softmax)


def rollout(attentions: list[Tensor]) -> Tensor:
    """Return how much of each input token is in each output token (Abnar & Zuidema, 2020, eq. 1).

    Args:
        attentions: Of each block, from the first on: (B, heads, N, N), whose rows sum to 1.

    Returns:
        (B, N, N), whose rows sum to 1.
    """
    total: Tensor | None = None
    for attention in attentions:
        mean = attention.float().mean(1)
        # Half of each block's output is the token itself, by the residual connection.
        mixed = (mean + torch.eye(mean.shape[1], device=mean.device)) / 2
        total = mixed if total is None else mixed @ total
    assert total is not None
    return total


class AttentionRollout(Explainer):
    """Attention rollout (Abnar & Zuidema, ACL 2020): the same map for every class.

    What is read is the class token's row; behind a mean, the patches' mean row.
    """

    title = "attention rollout"

    @property
    def maps_per_class(self) -> int:
        """One."""
        return 1

    def prepare(self, network: PrototypeNetwork) -> None:
        """Note the classifier."""
        self._classifier = network.classifier

    def attribute(self, inputs: Inputs, target: Tensor) -> Attribution:
        """Return one map (B, 1, H, W) >= 0 on the grid of the patches, without contributions.

        Raises:
            HeadError: If the classifier has no attention among all its patches in plain sight.
        """
        classifier, report = self._classifier, self._classifier.inspection
        watch = _Attention()
        with guarded(classifier.model), torch.no_grad(), watch:
            classifier.classify(classifier.accept(inputs.images).clone())
        rows, columns = report.grid
        count = report.prefix + rows * columns + report.suffix
        whole = [a for a in watch.seen if a.shape[-1] == count]
        if report.layout != "NLC" or not whole or len(whole) < len(watch.seen):
            raise HeadError(
                f"attention_rollout needs attention among all patches in every block, and "
                f"{type(classifier.model).__name__} has {len(whole)} such of {len(watch.seen)} "
                "that show themselves: leave it out for this classifier."
            )
        total = rollout(whole)
        patches = slice(report.prefix, count - report.suffix)
        read = total[:, 0] if report.case == "class_token" else total[:, patches].mean(1)
        return Attribution(read[:, patches].reshape(-1, 1, rows, columns))


class _Attention(TorchFunctionMode):
    """Notes square matrices of attention, (B, heads, N, N), as torch computes them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: Any = (),  # noqa: ANN401
        kwargs: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        found = func(*args, **(kwargs or {}))
        if func is functional.scaled_dot_product_attention:
            self._note(_weights(*args, **(kwargs or {})))
        elif func in _SOFTMAX:
            self._note(found)
        return found

    def _note(self, weights: Tensor) -> None:
        if weights.dim() == 4 and weights.shape[-1] > 1:
            self.seen.append(weights)


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: object,
) -> Tensor:
    """Return the matrix that `scaled_dot_product_attention` never makes."""
    logits = query @ key.mT * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if attn_mask is not None:
        logits = (
            logits.masked_fill(~attn_mask, -torch.inf)
            if attn_mask.dtype == torch.bool
            else logits + attn_mask
        )
    return logits.softmax(-1)
