"""What of a head comes last and is affine: parameters without a layer, priors, norms, subsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ppn.classifier.cut_point import noise_like
from ppn.classifier.running import hooked, out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from ppn.classifier.running import Hook

_TOLERANCE = 1e-4
_WIDEST = 8192
"""Most numbers that a module may give for its effect on the logits to be found one by one."""


class Affine(NamedTuple):
    """logits = matrix @ what a module gives + offset, in float64: (C, D) and (C,)."""

    matrix: Tensor
    offset: Tensor


class Tail(NamedTuple):
    """The module that the affine end of a head starts from; `plain`: a linear layer as usual."""

    name: str
    plain: bool
    affine: Affine


class Untold(NamedTuple):
    """No module starts an affine end; `cosine`: it does not matter how long its vectors are."""

    name: str
    cosine: bool


def find_tail(model: nn.Module, head: Callable[[], Tensor]) -> Tail | Untold | None:
    """Find the vector of which the logits are an affine function, and the function.

    The outputs of modules are replaced, from the last one on: by zeros, noise, sums and multiples
    of it, and by unit vectors. The last linear layer is taken, or where there is none the first
    module between which and the logits all is affine.

    Args:
        model: The classifier.
        head: Runs it from the same features on, to logits (B, C).
    """
    found: Tail | None = None
    for name, width in reversed(_vectors(model, head)):
        respond = _responses(model, name, head)
        noise = noise_like(next(model.parameters()), (2, width), 3)
        probes = torch.cat([torch.zeros_like(noise), noise, noise.sum(0, keepdim=True), 2 * noise])
        given = respond(probes)
        if given is None or float((given[0] - given[2]).abs().max()) == 0:
            continue  # it does not lead to the logits, or not alone
        linear = given - given[0]
        expected = torch.cat([linear[2:4], linear[2:4].sum(0, keepdim=True), 2 * linear[2:4]])
        scale = linear.abs().max()
        if float((linear[2:] - expected).abs().max() / scale) > _TOLERANCE:
            cosine = float((given[5:] - given[2:4]).abs().max() / scale) <= _TOLERANCE
            return found or Untold(name, cosine)
        unit = respond(torch.cat([torch.zeros_like(probes[:1]), torch.eye(width).to(probes)]))
        assert unit is not None
        affine = Affine((unit[1:] - unit[0]).T, unit[0])
        plain = computes_its_weight(model.get_submodule(name))
        if plain or not is_identity(affine):
            found = Tail(name, plain, affine)
        if plain:
            return found
    return found


def computes_its_weight(module: nn.Module) -> bool:
    """Whether a module is a linear layer that gives W x + b of its own weight."""
    if not isinstance(module, nn.Linear):
        return isinstance(module, nn.Conv2d)
    given = noise_like(module.weight, (2, module.weight.shape[1]), 4)
    expected = nn.functional.linear(given, module.weight, module.bias)
    return bool(torch.allclose(module(given), expected, rtol=1e-4, atol=1e-5))


def _vectors(model: nn.Module, head: Callable[[], Tensor]) -> list[tuple[str, int]]:
    """Names of the modules that run once in the head and give a vector per image, with D."""
    order: list[tuple[str, int]] = []
    calls: dict[str, int] = {}

    def note(name: str) -> Hook:
        def hook(_: nn.Module, __: object, output: object) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor) and output.dim() > 1 and output[0].numel() > 1:
                width = output.shape[1]
                if output[0].numel() == width <= _WIDEST:
                    order.append((name, width))

        return hook

    with hooked([(module, note(name)) for name, module in model.named_modules() if name]):
        head()
    return [(name, width) for name, width in order if calls[name] == 1]


def _responses(
    model: nn.Module, name: str, head: Callable[[], Tensor]
) -> Callable[[Tensor], Tensor | None]:
    """Return a function from what a module gives (n, D) to the logits (n, C) in float64."""

    def replace(vectors: Tensor) -> Hook:
        def hook(_: nn.Module, __: object, output: Tensor) -> Tensor:
            return vectors.reshape(-1, *output.shape[1:]).clone()

        return hook

    def respond(vectors: Tensor) -> Tensor | None:
        try:
            with hooked([(model.get_submodule(name), replace(vectors))]):
                logits = head()
        except (RuntimeError, ValueError, IndexError) as error:
            if out_of_memory(error):
                raise
            return None  # something passes it by, with as many images as there are features of
        return logits.double() if len(logits) == len(vectors) else None

    return respond


def is_identity(affine: Affine) -> bool:
    """Whether a module gives the logits themselves."""
    matrix, offset = affine
    if matrix.shape[0] != matrix.shape[1] or bool(offset.any()):
        return False
    return bool(torch.equal(matrix, torch.eye(len(matrix)).to(matrix)))
