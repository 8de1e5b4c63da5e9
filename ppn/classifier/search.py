"""The cuts of a classifier that hold up when it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ppn.classifier.candidates import (
    TOLERANCE,
    Last,
    added_to,
    difference,
    last_linears,
    last_modules,
    splits,
)
from ppn.classifier.cut import Cut, head_input, run
from ppn.classifier.cut_point import ModuleCutPoint, logits_of
from ppn.classifier.layout import Location, locations
from ppn.classifier.placement import Placements
from ppn.classifier.running import out_of_memory
from ppn.classifier.tail import Affine, is_identity
from ppn.errors import HeadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppn.classifier.cut_point import CutPoint, Features
    from ppn.classifier.placement import Placed


class CutCandidate(NamedTuple):
    """One run on random input: features, what the last linear layers were given, and logits.

    `placements` says of which tokens of the features it is known that they have a place.
    """

    split: CutPoint
    last: Last
    features: Features
    inputs: Tensor
    logits: Tensor
    placements: Placements

    @property
    def in_place(self) -> bool:
        """Whether the features were taken after something had changed them in place."""
        return isinstance(self.split, ModuleCutPoint) and self.split.in_place


def cuts(
    model: nn.Module, images: Tensor, named: str | None, placed: Placed | None = None
) -> Iterator[CutCandidate]:
    """Yield cuts whose features hold a grid and determine what the last layers are given.

    Args:
        model: A classifier.
        images: Random ones that it takes.
        named: Module whose output are the features; None: all that come into question.
        placed: Where its patches were measured to be before.

    Raises:
        HeadError: If there is none; the message says why.
    """
    found = False
    refused: HeadError | None = None
    for split in splits(model, images, named):
        try:
            features, logits = split.run(images)
            last = _last_of(model, split, features)
        except HeadError as error:
            if not isinstance(split, ModuleCutPoint):
                raise
            if named is not None:
                last_linears(model, lambda: logits_of(model(images.clone())))  # or why it has none
                raise HeadError(
                    f"{type(model).__name__} has no linear layer after '{named}' that gives its "
                    "logits: name a module before its last linear layer."
                ) from None
            refused = error
            continue
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
            if named is not None or not isinstance(split, ModuleCutPoint) or out_of_memory(error):
                raise
            continue  # the rest of the model does not run on another batch size: no cut
        if not any(likely_locations(leaf, features.size, model) for leaf in features.leaves):
            continue
        leaf, place = last.mean_of or (0, Location("NCHW"))
        modules = last_modules(model, last.names)
        cut = Cut(split, modules, last.reads, leaf, place, last.outputs)
        inputs = head_input(cut, features)
        if isinstance(split, ModuleCutPoint):  # whose head may see more than the features
            features, inputs, logits = run(cut, images)
        if not bool(torch.isfinite(logits).all() and torch.isfinite(inputs).all()):
            raise HeadError(
                f"{type(model).__name__} gives NaN or infinity on random input: its weights are "
                "broken, so take another checkpoint."
            )
        # In the same batch: rounding differs between batches, and some networks amplify it.
        if difference(logits_of(model(images.clone())), logits) > TOLERANCE:
            continue
        # What follows the last layer was found behind one image of noise, which it may add up.
        if last.after is not None and difference(split.head(features), logits) > TOLERANCE:
            refused = HeadError(f"{type(model).__name__} {added_to(' and '.join(last.names))}")
            continue
        if difference(head_input(cut, features), inputs) <= TOLERANCE:
            name = split.name if isinstance(split, ModuleCutPoint) else None
            before = placed if placed is not None and placed.features == name else None
            placements = Placements(split, features, inputs, not found, before)
            seen = CutCandidate(split, last, features, inputs, logits, placements)
            yield seen
            found = found or not seen.in_place
    if found:
        return
    once, again = (logits_of(model(images.clone())) for _ in range(2))
    if difference(once, again) > TOLERANCE:
        raise HeadError(
            f"{type(model).__name__} gives other logits each time that it sees the same image: "
            "leave out what is random in its forward, such as dropout that eval() does not stop."
        )
    whole = last_linears(model, lambda: logits_of(model(images.clone())))
    if len(whole.names) > 1:
        raise HeadError(
            f"{type(model).__name__} adds up the logits of several networks "
            f"({' and '.join(map(repr, whole.names))}), each with features of its own: explain "
            "one of them at a time."
        )
    if refused is not None:
        raise refused
    raise HeadError(
        f"{type(model).__name__} has no features on a grid of patches that alone determine what "
        "its last linear layer is given: there is nothing to draw maps on."
    )


def _last_of(model: nn.Module, split: CutPoint, features: Features) -> Last:
    """Find the last linear layers behind a cut, or the rows that act on the mean of its patches."""
    try:
        return last_linears(model, lambda: split.head(features))
    except HeadError:
        for index, leaf in enumerate(features.leaves):
            for place in likely_locations(leaf, features.size, model):
                after = _of_mean(split, features, index, place)
                if after is not None:
                    return Last([], [], [1.0], after, True, (index, place))
        raise


def _of_mean(split: CutPoint, features: Features, index: int, place: Location) -> Affine | None:
    """Return the logits as an affine function of the mean patch, if they are one."""
    if len(features.leaves) > 1:
        return None
    leaf = features.leaves[index]
    tokens = place.read(leaf)
    grid, width = place.grid(leaf, features.size), tokens.shape[2]
    unit = torch.cat([torch.zeros(1, width), torch.eye(width)]).to(tokens)
    try:
        given = torch.cat(
            [
                split.head(features.with_leaf(index, place.filled(some, grid))).double()
                for some in torch.split(unit, 64)
            ]
        )
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        if out_of_memory(error):
            raise
        return None
    if given.dim() != 2 or len(given) != len(unit):
        return None
    after = Affine((given[1:] - given[0]).T, given[0])
    logits = tokens.mean(dim=1).double() @ after.matrix.T + after.offset
    if is_identity(after) or not bool(after.matrix.any()):  # no classifier, or the same for all
        return None
    return after if difference(logits, split.head(features).double()) <= TOLERANCE else None


def likely_locations(leaf: object, size: tuple[int, int], model: nn.Module) -> list[Location]:
    """Return where patch tokens may be in whatever a network computes, likeliest first."""
    if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
        return []
    prefix = getattr(model, "num_prefix_tokens", None)
    layout = getattr(model, "output_fmt", None)
    last = None if layout is None else str(getattr(layout, "value", layout)) == "NHWC"
    return locations(leaf, size, prefix if isinstance(prefix, int) else None, last)
