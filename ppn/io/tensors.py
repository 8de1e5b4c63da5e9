"""Reads tensors from safetensors files, which may be damaged or hostile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def parse_tensors(content: bytes) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises:
        ValueError: If it is damaged; the message is one line.
    """
    try:
        return load(content)
    # Beside its own error: unknown types, sizes that do not fit, names that are not text.
    except (
        SafetensorError,
        KeyError,
        ValueError,
        RuntimeError,
        AssertionError,
        TypeError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"not a safetensors file: {reason}") from None


def misfit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """Say how tensors differ from what was expected, in half a sentence; None where they fit.

    Args:
        found: What a file holds.
        expected: Tensors of the expected names, shapes and types; their values do not matter. A
            score may be minus infinity, which stands for none; all else must be finite.
    """
    for name in sorted(found.keys() ^ expected.keys()):
        return f"it {'lacks' if name in expected else 'has unexpected'} {name[:80]!r}"
    for name, like in expected.items():
        tensor = found[name]
        if (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            return f"{name} is {_kind(tensor)} instead of {_kind(like)}"
        finite = torch.isfinite(tensor)
        if name.endswith("score"):
            finite |= tensor == -torch.inf
        if not bool(finite.all()):
            return f"{name} has values that are not finite"
    return None


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
