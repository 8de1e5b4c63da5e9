"""Which head case of the method holds for a classifier, found by computing on input."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ppn.classifier.candidates import TOLERANCE, difference, last_modules
from ppn.classifier.cut import Cut, gradient_maps, head_input, lift
from ppn.classifier.cut_point import MethodCutPoint, ModuleCutPoint, noise_like
from ppn.classifier.effective import effective_head, head_vector, live_cut
from ppn.classifier.head_case import HeadCase, HeadInspection
from ppn.classifier.layout import Location
from ppn.classifier.norms import KINDS, NormKind, may_be_norm, normalise
from ppn.classifier.running import guarded, hooked, out_of_memory
from ppn.classifier.search import cuts, likely_locations
from ppn.errors import HeadError

if TYPE_CHECKING:
    from ppn.classifier.cut_point import Features
    from ppn.classifier.placement import Placed
    from ppn.classifier.running import Hook
    from ppn.classifier.search import CutCandidate

_DIRECTIONS = 8
"""Most rows of the head on which the completeness of maps is measured."""
_FURTHER = 5
"""Modules tried further up, once one was found: where what it pools is pooled is not far."""
_FAILURES = (RuntimeError, AssertionError, ValueError, TypeError, IndexError)
"""What a network may raise that is run on something it does not take."""


class _Ran(NamedTuple):
    """A module that may be a norm, by name, with what it gave."""

    name: str
    norm: nn.Module
    output: Tensor


@torch.no_grad()
def inspect_head(
    model: nn.Module,
    size: tuple[int, int],
    features: str | None = None,
    channels: int = 3,
    placed: Placed | None = None,
) -> HeadInspection:
    """Find out by computing which head case of the method holds.

    Args:
        model: A classifier.
        size: Height and width of its input in pixels.
        features: Name of the module whose output are the last features; None takes timm's
            `forward_features`, or finds the last module with a grid that nothing bypasses.
        channels: Number of channels of its input.
        placed: Where its patches were measured to be before; measured again where it is None.

    Raises:
        HeadError: If the model does not run on such images, has no last linear layer, no features
            on a grid, or weights of less than 32 bits.
    """
    reference = next(model.parameters())
    if reference.dtype not in (torch.float32, torch.float64):
        raise HeadError(
            f"{type(model).__name__} has {str(reference.dtype).removeprefix('torch.')} weights, "
            "which round too much to tell what is exact: convert it with model.float()."
        )
    images = noise_like(reference, (2, channels, *size), 0)
    with guarded(model):
        try:
            seen, report = _best(model, images, features, placed)
        except _FAILURES as error:
            if out_of_memory(error):
                raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise HeadError(
                f"{type(model).__name__} does not classify images of {size[0]} x {size[1]} pixels "
                f"({first[:200]}): check the image size and that the model is a classifier."
            ) from error
        return _measured(model, seen, report)


def _best(
    model: nn.Module, images: Tensor, named: str | None, placed: Placed | None
) -> tuple[CutCandidate, HeadInspection]:
    """Find the last cut that shows how patches become logits, and its head case."""
    found: list[tuple[CutCandidate, HeadInspection]] = []
    misplaced: list[CutCandidate] = []
    further = _FURTHER
    try:
        for seen in cuts(model, images, named, placed):
            if found and further == 0:
                break
            report = _mean(model, seen)
            if report is not None:
                return seen, report
            if seen.in_place:
                continue  # only an exact sum shows that the head read it after the change
            further -= bool(found)
            report = _other(model, seen)
            if report is None:
                misplaced.append(seen)
                if len(misplaced) > 2 * _FURTHER and misplaced[0].placements.flat:
                    break
                continue
            if isinstance(seen.split, MethodCutPoint) or not _bypassed(model, seen, report):
                return seen, report
            # A module that pools its patches and gives them too: further up shows how it does.
            found.append((seen, report))
    except _FAILURES as error:
        if not found or out_of_memory(error):
            raise
    if found:
        return found[0]
    first, split = misplaced[0], misplaced[0].split
    if not first.placements.flat:
        where = f"'{split.name}'" if isinstance(split, ModuleCutPoint) else "its features"
        raise HeadError(
            f"{type(model).__name__} has tokens at {where} that are not patches of the image "
            "(where a region changes, others move more): there is nothing to draw maps on."
        )
    # Fresh networks may give the same token everywhere: training is to show where they look.
    first.placements.trusting = True
    report = _mean(model, first) or _other(model, first)
    assert report is not None
    return first, report


def _bypassed(model: nn.Module, seen: CutCandidate, report: HeadInspection) -> bool:
    """Whether the head reads nothing at all of the tensor that holds the patches."""
    if report.case != "class_token":
        return False
    leaf = seen.features.leaves[report.leaf]
    noise = noise_like(leaf, leaf.shape, 1)
    noisy = seen.features.with_leaf(report.leaf, noise)
    place = Location(report.layout, report.prefix, report.suffix)
    linears = last_modules(model, seen.last.names)
    cut = Cut(seen.split, linears, seen.last.reads, report.leaf, place, seen.last.outputs)
    # Not of the logits, which are zero where a classifier has yet to learn.
    return difference(head_input(cut, noisy), seen.inputs) <= TOLERANCE


def _mean(model: nn.Module, seen: CutCandidate) -> HeadInspection | None:
    """Try whether the last layers are given the mean patch token, or a norm of it."""
    linears = last_modules(model, seen.last.names)
    layers = (nn.Linear, nn.Conv2d)
    widths = [m.weight.shape[1] if isinstance(m, layers) else 0 for m in linears]
    inputs = torch.split(seen.inputs, widths if len(widths) > 1 else seen.inputs.shape[1], dim=1)
    norms = _norms_before(model, seen, linears) if linears else [[]]
    for index, leaf in enumerate(seen.features.leaves):
        for place in likely_locations(leaf, seen.features.size, model):
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
            if not seen.placements.somewhere(index, place):
                continue
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


def _norms_before(
    model: nn.Module, seen: CutCandidate, linears: list[nn.Module]
) -> list[list[_Ran]]:
    """For each last layer what may be norms and ran before it in the head, the latest first."""
    ran: list[_Ran] = []
    before: dict[int, int] = {}

    def after(name: str) -> Hook:
        def note(norm: nn.Module, _: object, output: object) -> None:
            if isinstance(output, Tensor):
                ran.append(_Ran(name, norm, output))

        return note

    def start(index: int) -> Hook:
        def note(_: nn.Module, __: object, ___: object) -> None:
            before[index] = len(ran)

        return note

    norms = [(module, after(name)) for name, module in model.named_modules() if may_be_norm(module)]
    with hooked([*norms, *((linear, start(index)) for index, linear in enumerate(linears))]):
        seen.split.head(seen.features)
    return [ran[: before[index]][::-1] for index in range(len(linears))]


def _other(model: nn.Module, seen: CutCandidate) -> HeadInspection | None:
    """Tell a head that reads no patch token from one that mixes them; None without patches."""
    options = [
        (index, place)
        for index, leaf in enumerate(seen.features.leaves)
        for place in likely_locations(leaf, seen.features.size, model)
        if seen.placements.somewhere(index, place)
    ]
    if not options or not seen.last.names:
        return None
    cut = Cut(
        seen.split,
        last_modules(model, seen.last.names),
        seen.last.reads,
        *options[-1],
        seen.last.outputs,
    )
    read: list[tuple[int, Location]] = []
    unread: list[tuple[int, Location]] = []
    for index, place in options:
        noisy = head_input(cut, _with_noise(seen.features, index, place))
        (read if difference(noisy, seen.inputs) > TOLERANCE else unread).append((index, place))
    if {index for index, _ in unread} == {index for index, _ in options}:
        return _report(seen, "class_token", *_likeliest(seen, unread))
    return _report(seen, "pre_logits", *_likeliest(seen, read))


def _likeliest(seen: CutCandidate, options: list[tuple[int, Location]]) -> tuple[int, Location]:
    """The location in the last tensor whose tokens follow their regions best, or comes first."""
    last = max(index for index, _ in options)
    among = [option for option in options if option[0] == last]
    return max(among, key=lambda option: seen.placements.of(*option).share)


def _measured(model: nn.Module, seen: CutCandidate, report: HeadInspection) -> HeadInspection:
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
            rows = noise_like(rows, rows.shape, 0)
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
    except (RuntimeError, ValueError, IndexError) as error:
        if out_of_memory(error):
            raise
        return False  # the head needs a map of the full size


def _report(seen: CutCandidate, case: HeadCase, leaf: int, place: Location) -> HeadInspection:
    return HeadInspection(
        case,
        place.layout,
        place.prefix,
        place.suffix,
        seen.split.name if isinstance(seen.split, ModuleCutPoint) else None,
        leaf,
        tuple(seen.last.names),
        tuple(seen.last.reads),
        tuple(seen.last.mix),
        width=seen.inputs.shape[1],
        outputs=seen.last.outputs,
        after=seen.last.after,
        places=seen.placements.of(leaf, place).share,
        in_place=seen.in_place,
    )


def _with_noise(features: Features, index: int, place: Location) -> Features:
    """Features with other patch tokens in one tensor."""
    leaf = features.leaves[index]
    tokens = place.read(leaf)
    noise = noise_like(tokens, tokens.shape, 1)
    # Features of fresh deep networks may be too small to show among others as they are.
    noisy = tokens.flip(0) + noise * tokens.std().clamp(min=1.0)
    return features.with_leaf(index, place.replaced(leaf, noisy))
