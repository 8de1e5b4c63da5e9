"""Where a classifier may be cut, and which linear layers its logits come from, by computing."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ppn.classifier.cut_point import MethodCutPoint, ModuleCutPoint, read_of
from ppn.classifier.layout import locations
from ppn.classifier.running import guarded, hooked
from ppn.classifier.tail import Tail, Untold, computes_its_weight, find_tail
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ppn.classifier.cut_point import CutPoint, Read
    from ppn.classifier.layout import Location
    from ppn.classifier.running import Hook
    from ppn.classifier.tail import Affine

TOLERANCE = 1e-4
"""Largest relative error at which two ways to compute the same float32 numbers count as equal."""
_MOST_CUTS = 40
"""Modules tried as features, from the last one on, where the model does not say."""


class Last(NamedTuple):
    """The last linear layers: logits = sum_l mix_l * linear_l(z_l).

    `names` of the layers in the model; `reads`: what of its output each gives to the logits;
    `mix`: the share of each, 1 where there is one, 1/2 each where two outputs are averaged;
    `after`: what follows a single layer, where it is more than a share; `outputs`: whether it
    follows what the layer gives, which then need not be a linear layer; `mean_of`: the patches,
    by their tensor and location, whose mean it follows where no layer gives it.
    """

    names: list[str]
    reads: list[Read]
    mix: list[float]
    after: Affine | None = None
    outputs: bool = False
    mean_of: tuple[int, Location] | None = None


def splits(model: nn.Module, images: Tensor, features: str | None) -> Iterator[CutPoint]:
    """Yield the cuts to try: the named module, timm's methods, or each module with a grid.

    Args:
        model: The classifier.
        images: A batch of its input.
        features: Name of the module whose output is cut at, or None to find out.
    """
    if features is not None:
        if features not in dict(model.named_modules()) or not features:
            children = ", ".join(name for name, _ in model.named_children())
            raise HeadError(
                f"{type(model).__name__} has no module '{features}' to take features from: its "
                f"first level is {children}."
            )
        changed = grid_modules(model, images).get(features, False)
        yield from _cuts_at(model, features, changed)
        return
    if hasattr(model, "forward_features") and hasattr(model, "forward_head"):
        yield MethodCutPoint(model)
    for name, changed in reversed(list(grid_modules(model, images).items())[-_MOST_CUTS:]):
        yield from _cuts_at(model, name, changed)


def _cuts_at(model: nn.Module, name: str, changed: bool) -> Iterator[CutPoint]:
    """Yield the cuts at a module, whose output may be changed in place after it."""
    if changed:
        yield ModuleCutPoint(model, name, in_place=True)
    yield ModuleCutPoint(model, name)


def grid_modules(model: nn.Module, images: Tensor) -> dict[str, bool]:
    """Modules that run once and give a grid of patches, in order of finishing.

    Returns:
        For the name of each, whether its output is changed in place later, as far as is known.
    """
    size = (images.shape[-2], images.shape[-1])
    calls: dict[str, int] = {}
    given: dict[str, list[tuple[Tensor, int | None]]] = {}

    def note(name: str) -> Hook:
        def hook(_: nn.Module, __: Any, output: Any) -> None:  # noqa: ANN401 - a hook's arguments
            calls[name] = calls.get(name, 0) + 1
            tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
            if any(locations(leaf, size) for leaf in tensors):
                given[name] = [(leaf, _version(leaf)) for leaf in tensors]

        return hook

    named = [(module, note(name)) for name, module in model.named_modules() if name]
    with guarded(model), hooked(named):
        model(images[:1].clone())
    return {
        name: any(version is None or version != _version(leaf) for leaf, version in tensors)
        for name, tensors in given.items()
        if calls[name] == 1
    }


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was changed in place; None in inference mode, which does not count."""
    return None if tensor.is_inference() else tensor._version


def last_linears(model: nn.Module, head: Callable[[], Tensor]) -> Last:
    """Find the linear layers whose outputs, and nothing else, the logits are a sum of.

    Their outputs are replaced by noise: the logits must be a weighted sum of that noise. Values
    cannot mislead here, as those of a classifier that starts from zero would.

    Args:
        model: The classifier.
        head: Runs it from the same features on, to logits (B, C).

    Raises:
        HeadError: If the logits do not come from linear layers alone.
    """
    kind = type(model).__name__
    shape = head().shape
    if len(shape) != 2:
        raise HeadError(f"{kind} gives {tuple(shape)}, not one logit for each class.")
    last = _weighted_sum(model, head, shape)
    if isinstance(last, Last):
        modules = [model.get_submodule(name) for name in last.names]
        if all(computes_its_weight(module) for module in modules):
            return last
    tail = find_tail(model, head)
    if isinstance(tail, Tail):
        return Last([tail.name], ["all"], [1.0], tail.affine, not tail.plain)
    raise HeadError(f"{kind} {_reason(model, head, tail, last)}")


def _weighted_sum(
    model: nn.Module, head: Callable[[], Tensor], shape: torch.Size
) -> Last | str | None:
    """Explain the logits as a weighted sum of what linear layers give.

    If they are none, return the name of the layer that gave something like logits last, if any.
    """
    generator = torch.Generator().manual_seed(0)
    # Two draws, or two classes would be explained by any four layers; more of single numbers.
    draws = 2 if shape[1] > 2 else 8
    runs = [_with_noise(model, head, shape, generator) for _ in range(draws)]
    drawn = {option: torch.cat([run.drawn[option] for run in runs]) for option in runs[0].drawn}
    if not drawn:
        return None
    options = list(drawn)
    matrix = torch.stack([drawn[option] for option in options], dim=1)
    target = torch.cat([run.logits for run in runs])
    shares = torch.linalg.lstsq(matrix, target[:, None]).solution[:, 0]
    rest = (matrix @ shares - target).abs().max().item()
    used = [i for i, share in enumerate(shares.tolist()) if abs(share) > TOLERANCE]
    if not used or not rest <= TOLERANCE * max(1.0, target.abs().max().item()):
        return options[-1][0]
    for name, _ in (options[i] for i in used):
        if runs[0].calls[name] > 1:
            raise HeadError(
                f"{type(model).__name__} calls its last linear layer {runs[0].calls[name]} times "
                "per image; exactly one call can be decomposed."
            )
    return Last(
        [options[i][0] for i in used],
        [options[i][1] for i in used],
        [_simple(shares[i].item()) for i in used],
    )


def _reason(
    model: nn.Module, head: Callable[[], Tensor], tail: Untold | None, last: Last | str | None
) -> str:
    """Why there are no rows to decompose."""
    logits = head()
    if bool((logits >= 0).all()) and torch.allclose(logits.sum(1), logits.new_ones(())):
        return "gives probabilities, not logits: give it without its softmax."
    if torch.allclose(logits.exp().sum(1), logits.new_ones(())):
        return "gives logarithms of probabilities, not logits: give it without its log-softmax."
    if bool(((logits > 0) & (logits < 1)).all()):
        return "gives values between 0 and 1, not logits: give it without its sigmoid."
    if tail is not None and tail.cosine:
        return (
            f"has cosines for logits: what '{tail.name}' gives counts by its direction alone, so "
            "logits are not a sum of contributions."
        )
    if isinstance(last, str):
        return added_to(last)
    get = getattr(model, "get_classifier", None)
    what = f" (its classifier is {type(get()).__name__})" if callable(get) else ""
    return f"does not end in a linear layer{what}, so there are no rows to decompose."


def added_to(name: str) -> str:
    """Say that a layer's output is not all of the logits."""
    return (
        f"does not end in a linear layer: something after '{name}' changes its output or adds to "
        "it, so logits are not a sum of contributions."
    )


class _NoiseRun(NamedTuple):
    """`drawn`: noise (B * C,) by layer and what is read of it; `calls` of each; `logits`."""

    drawn: dict[tuple[str, Read], Tensor]
    calls: dict[str, int]
    logits: Tensor


def _with_noise(
    model: nn.Module, head: Callable[[], Tensor], shape: torch.Size, generator: torch.Generator
) -> _NoiseRun:
    """Run the head with noise for whatever linear layers give that is shaped like logits."""
    noise: dict[str, Tensor] = {}
    calls: dict[str, int] = {}

    def replace(name: str, output: Tensor) -> Tensor | None:
        classes = output.shape[1] if output.dim() == 4 else output.shape[-1]
        if output.dim() < 2 or (output.shape[0], classes) != tuple(shape):
            return None
        calls[name] = calls.get(name, 0) + 1
        if name not in noise:
            drawn = torch.randn(output.shape, generator=generator, dtype=torch.float32)
            noise[name] = drawn.to(output.device, output.dtype)
        return noise[name].clone()  # an activation may change it in place

    hooks = [
        (module, _replacing(partial(replace, name)))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.weight[0, 0].numel() == module.groups == 1)
    ]
    with hooked(hooks):
        logits = head()
    drawn = {
        (name, read): read_of(values, read, isinstance(model.get_submodule(name), nn.Conv2d))
        for name, values in noise.items()
        for read in _reads(values)
    }
    flat = {option: values.double().flatten().cpu() for option, values in drawn.items()}
    return _NoiseRun(flat, calls, logits.double().flatten().cpu())


def _replacing(replace: Callable[[Tensor], Tensor | None]) -> Hook:
    return lambda _, __, output: replace(output)


def _reads(output: Tensor) -> tuple[Read, ...]:
    if output[0].numel() in output.shape[1:]:
        return ("all",)
    return ("mean",) if output.dim() == 4 else ("first", "mean")


def _simple(share: float) -> float:
    """Remove the rounding of float32 from shares such as 1, 1/2 and 1/4."""
    simple = float(Fraction(share).limit_denominator(64))
    return simple if abs(simple - share) < 1e-6 else share


def last_modules(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return the last linear layers themselves, or the module that an affine end starts from."""
    return [model.get_submodule(name) for name in names]


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Max absolute difference over the standard deviation; infinite where shapes differ."""
    if ours.shape != theirs.shape:
        return float("inf")
    if torch.equal(ours, theirs):
        return 0.0
    spread = theirs.double().std().clamp(min=torch.finfo(torch.float32).tiny)
    worst = ((ours.double() - theirs.double()).abs().max() / spread).item()
    return worst if worst == worst else float("inf")
