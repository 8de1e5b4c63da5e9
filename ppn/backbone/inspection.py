"""Which head case of the method holds for a classifier, found by computing on input."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ppn.backbone.candidates import (
    TOLERANCE,
    Last,
    difference,
    last_linears,
    linear_layers,
    splits,
)
from ppn.backbone.cut import Cut, gradient_maps, head_input, lift, run
from ppn.backbone.effective import effective_head, head_vector, live_cut
from ppn.backbone.layout import Location, locations
from ppn.backbone.norms import KINDS, NormKind, may_be_norm, normalise
from ppn.backbone.report import HeadCase, HeadReport
from ppn.backbone.split import Features, ModuleSplit
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ppn.backbone.split import Linear, Split

_DIRECTIONS = 8
"""Most rows of the head on which the completeness of maps is measured."""


class _Seen(NamedTuple):
    """One run on random input: features, what the last linear layers were given, and logits."""

    split: Split
    last: Last
    features: Features
    inputs: Tensor
    logits: Tensor


class _Ran(NamedTuple):
    """A module that may be a norm, by name, with what it gave."""

    name: str
    norm: nn.Module
    output: Tensor


@torch.no_grad()
def inspect_head(
    model: nn.Module, size: tuple[int, int], features: str | None = None
) -> HeadReport:
    """Find out by computing which head case of the method holds.

    Args:
        model: A classifier.
        size: Height and width of its input in pixels.
        features: Name of the module whose output are the last features; None takes timm's
            `forward_features`, or finds the last module with a grid that nothing bypasses.

    Raises:
        HeadError: If the model does not run on such images, has no last linear layer, or no
            features on a grid.
    """
    reference = next(model.parameters())
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    images = images.to(reference.device, reference.dtype)
    with _evaluating(model):
        try:
            seen = _cut(model, images, features)
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
            if "allocate" in str(error):
                raise  # too little memory says nothing of the head
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise HeadError(
                f"{type(model).__name__} does not classify images of {size[0]} x {size[1]} pixels "
                f"({first[:200]}): check the image size and that the model is a classifier."
            ) from error
        return _measured(model, seen, _mean(model, seen) or _other(model, seen))


def _cut(model: nn.Module, images: Tensor, named: str | None) -> _Seen:
    """Find a cut whose features hold a grid and determine what the last layers are given."""
    refused: HeadError | None = None
    for split in splits(model, images, named):
        try:
            features, logits = split.run(images)
            last = last_linears(model, lambda split=split, features=features: split.head(features))  # type: ignore[misc]
        except HeadError as error:
            if not isinstance(split, ModuleSplit) or named is not None:
                raise
            refused = error
            continue
        except (RuntimeError, ValueError, TypeError, IndexError):
            if named is not None or not isinstance(split, ModuleSplit):
                raise
            continue  # the rest of the model does not run on another batch size: no cut
        if not any(_places(leaf, features.size, model) for leaf in features.leaves):
            continue
        cut = Cut(split, linear_layers(model, last.names), last.reads, 0, Location("NCHW"))
        inputs = head_input(cut, features)
        if isinstance(split, ModuleSplit):  # whose head may see more than the features
            features, inputs, logits = run(cut, images)
        if not bool(torch.isfinite(logits).all() and torch.isfinite(inputs).all()):
            raise HeadError(
                f"{type(model).__name__} gives NaN or infinity on random input: its weights are "
                "broken, so take another checkpoint."
            )
        # In the same batch: rounding differs between batches, and some networks amplify it.
        if difference(model(images), logits) > TOLERANCE:
            continue
        if difference(head_input(cut, features), inputs) <= TOLERANCE:
            return _Seen(split, last, features, inputs, logits)
    if refused is not None:
        raise refused
    raise HeadError(
        f"{type(model).__name__} has no features on a grid of patches that alone determine what "
        "its last linear layer is given: there is nothing to draw maps on."
    )


def _mean(model: nn.Module, seen: _Seen) -> HeadReport | None:
    """Try whether the last layers are given the mean patch token, or a norm of it."""
    linears = linear_layers(model, seen.last.names)
    widths = [linear.weight.shape[1] for linear in linears]
    inputs = torch.split(seen.inputs, widths, dim=1)
    norms = _norms_before(model, seen, linears)
    for index, leaf in enumerate(seen.features.leaves):
        for place in _places(leaf, seen.features.size, model):
            pooled = place.read(leaf).mean(dim=1)
            explained = [
                _explained(pooled, given, ran) for given, ran in zip(inputs, norms, strict=True)
            ]
            found = [pair for pair in explained if pair is not None]
            if len(found) < len(explained):
                continue
            scaling = any(kind in ("layer", "rms") for _, kind in found)
            if scaling and len(found) > 1:
                continue  # each would have its own factor per image
            case: HeadCase = "mean_norm_linear" if scaling else "mean_linear"
            report = _report(seen, case, index, place)
            return replace(report, norms=tuple(found), width=pooled.shape[1])
    return None


def _explained(
    pooled: Tensor, given: Tensor, norms: list[_Ran]
) -> tuple[str, NormKind | None] | None:
    """Name and kind of the norm that makes a linear layer's input of the mean token, if any."""
    # A fresh batch norm changes next to nothing, so norms come before none at all.
    for name, norm, output in norms:
        # Freshly made norms all compute the same: the one that ran here gave this very value.
        if output.numel() != given.numel() or difference(output.reshape(given.shape), given) > 0:
            continue
        for kind in KINDS:
            value = normalise(norm, kind, pooled)
            if value is not None and difference(value, given.double()) <= TOLERANCE:
                return name, kind
    return ("", None) if difference(pooled, given) <= TOLERANCE else None


def _norms_before(model: nn.Module, seen: _Seen, linears: list[Linear]) -> list[list[_Ran]]:
    """For each last layer what may be norms and ran before it in the head, the latest first."""
    ran: list[_Ran] = []
    before: dict[int, int] = {}

    def after(name: str) -> Callable[[nn.Module, object, object], None]:
        def note(norm: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor):
                ran.append(_Ran(name, norm, output))

        return note

    def start(index: int) -> Callable[[nn.Module, object], None]:
        def note(_: nn.Module, __: object) -> None:
            before[index] = len(ran)

        return note

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if may_be_norm(module):
                stack.callback(module.register_forward_hook(after(name)).remove)
        for index, linear in enumerate(linears):
            stack.callback(linear.register_forward_pre_hook(start(index)).remove)
        seen.split.head(seen.features)
    return [ran[: before[index]][::-1] for index in range(len(linears))]


def _other(model: nn.Module, seen: _Seen) -> HeadReport:
    """Tell a head that reads no patch token from one that mixes them."""
    options = [
        (index, place)
        for index, leaf in enumerate(seen.features.leaves)
        for place in _places(leaf, seen.features.size, model)
    ]
    cut = Cut(seen.split, linear_layers(model, seen.last.names), seen.last.reads, *options[-1])
    read: list[tuple[int, Location]] = []
    unread: list[tuple[int, Location]] = []
    for index, place in options:
        noisy = head_input(cut, _with_noise(seen.features, index, place))
        (read if difference(noisy, seen.inputs) > TOLERANCE else unread).append((index, place))
    if {index for index, _ in unread} == {index for index, _ in options}:
        return _report(seen, "class_token", *unread[-1])
    # The first place in the last tensor that the head reads.
    last = max(index for index, _ in read)
    return _report(seen, "pre_logits", *next(option for option in read if option[0] == last))


def _measured(model: nn.Module, seen: _Seen, report: HeadReport) -> HeadReport:
    """Measure what the report claims, on the same run."""
    cut = live_cut(model, report)
    report = replace(report, grid=cut.grid(seen.features))
    weight, bias = effective_head(model, report)
    weight, bias = weight.to(seen.inputs.dtype), bias.to(seen.inputs.dtype)
    patches = cut.patches(seen.features)
    z, scale = head_vector(model, report, patches, seen.inputs)
    if not report.averages:
        report = replace(report, single=_single(cut, seen.features))
    logits = scale[:, None] * (z @ weight.T) + bias
    error = difference(logits, seen.logits)
    if error > 10 * TOLERANCE:
        raise HeadError(
            f"{type(model).__name__} has logits that its last linear layer does not explain "
            f"(relative error {error:.1e})."
        )
    completeness = None
    if report.case != "class_token":
        rows = weight[:_DIRECTIONS]
        if not bool(rows.any()):  # a classifier that starts from zero
            generator = torch.Generator().manual_seed(0)
            rows = torch.randn(rows.shape, generator=generator).to(rows)
        if report.averages:
            maps = patches @ rows.T
        else:
            maps = gradient_maps(cut, seen.features, rows.expand(len(z), -1, -1)).mT
        completeness = difference(maps.mean(dim=1), z @ rows.T)
    return replace(report, error=error, completeness_error=completeness)


def _single(cut: Cut, features: Features) -> bool:
    """Whether a map of one cell stands for a full one in `lift`, on a few patches."""
    full = lift(cut, features, single=False, most=3)
    try:
        return difference(lift(cut, features, single=True, most=3), full) <= TOLERANCE
    except (RuntimeError, ValueError, IndexError):
        return False  # the head needs a map of the full size


def _report(seen: _Seen, case: HeadCase, leaf: int, place: Location) -> HeadReport:
    return HeadReport(
        case,
        place.layout,
        place.prefix,
        place.suffix,
        seen.split.name if isinstance(seen.split, ModuleSplit) else None,
        leaf,
        tuple(seen.last.names),
        tuple(seen.last.reads),
        tuple(seen.last.mix),
        width=seen.inputs.shape[1],
    )


def _with_noise(features: Features, index: int, place: Location) -> Features:
    """Features with other patch tokens in one tensor."""
    leaf = features.leaves[index]
    tokens = place.read(leaf)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(tokens.shape, generator=generator).to(tokens)
    # Features of fresh deep networks may be too small to show among others as they are.
    noisy = tokens.flip(0) + noise * tokens.std().clamp(min=1.0)
    return features.with_leaf(index, place.replaced(leaf, noisy))


def _places(leaf: object, size: tuple[int, int], model: nn.Module) -> list[Location]:
    if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
        return []
    prefix = getattr(model, "num_prefix_tokens", None)
    layout = getattr(model, "output_fmt", None)
    last = None if layout is None else str(getattr(layout, "value", layout)) == "NHWC"
    return locations(leaf, size, prefix if isinstance(prefix, int) else None, last)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Run a model in evaluation mode, and give every module its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
