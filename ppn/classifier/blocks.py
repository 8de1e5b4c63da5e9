"""Where a classifier may be cut: its blocks, found by running it, and the default among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from ppn.classifier.candidates import grid_modules
from ppn.classifier.running import guarded
from ppn.classifier.span import Span, determines, feature_span, module_span, span_key
from ppn.errors import HeadError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ppn.classifier import Classifier

DEPTH = 0.0
"""Where a class-token head is cut unless asked otherwise; see `default_span` and docs/maps.md."""
_TRIES = 12
"""Groups of siblings that are tried as blocks."""
_ALIKE = 4
"""Siblings from which on what is inside one of them is not looked at."""
_known: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Span | None]] = WeakKeyDictionary()
"""What was found before: looking takes some twenty passes of the classifier."""


@torch.no_grad()
def block_names(classifier: Classifier, images: Tensor) -> list[str]:
    """Return the modules at which a classifier may be cut, in order: what is before, its blocks.

    Siblings that run one after the other are blocks if what the middle one gives determines, by
    value, what the head is given: a layer inside a residual block does not. Of several such groups
    the largest is taken. Each block is measured itself once it is cut at.

    Args:
        classifier: The classifier.
        images: (B, C, H, W) real input.
    """
    model = classifier.model
    groups: dict[str, list[str]] = {}
    order = list(grid_modules(model, images))
    for name in order:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    found: list[list[str]] = []
    tries = _TRIES
    with guarded(model):
        for parent in sorted(
            groups, key=lambda p: (len(p.split(".")) if p else 0, -len(groups[p]))
        ):
            if tries == 0:
                break
            inside = parent.rpartition(".")[0]
            if any(len(group) >= _ALIKE and parent in group and inside for group in found):
                continue  # inside a block
            children = groups[parent]
            tries -= 1
            if determines(classifier, Span("module", children[len(children) // 2]), images):
                found.append(children)
    if not found:
        return []
    blocks = max(found, key=len)
    if len(found) > 1 and blocks == groups.get(""):
        blocks = max(found[1:], key=len)
    first = order.index(blocks[0])
    before = [name for name in order[:first] if any(name in group for group in found)]
    return [*before[-1:], *blocks]


@torch.no_grad()
def default_span(classifier: Classifier, images: Tensor, depth: float = DEPTH) -> Span:
    """Return the span that maps are integrated along where nothing else is asked for.

    The last features, where the head reads patches. Behind a class token a block further up,
    where less of the image has come into the class token.

    Args:
        classifier: The classifier.
        images: (B, C, H, W) real input.
        depth: Which block, in [0, 1]: 0 is the first place that holds the patches, 1 the last.

    Raises:
        HeadError: If the classifier cannot be cut anywhere.
    """
    if not classifier.inspection.indicative:
        return feature_span(classifier)
    model = classifier.model
    key = (depth, *span_key(model, images))
    with guarded(model):
        known = _known.setdefault(model, {})
        if key not in known:
            known[key] = _first_span(classifier, images, depth)
        found = known[key]
    if found is None:
        raise HeadError(
            f"{type(model).__name__} has no layer whose patches alone determine what its head is "
            "given: maps of its pixels add up all the same."
        )
    return found


def _first_span(classifier: Classifier, images: Tensor, depth: float) -> Span | None:
    names = block_names(classifier, images)
    first = round(depth * (len(names) - 1))
    for name in [*names[first:], *reversed(names[:first])]:
        try:
            return module_span(classifier, name, images)
        except HeadError:
            continue
    return None
