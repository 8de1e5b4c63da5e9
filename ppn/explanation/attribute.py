"""The maps of explained images, of whichever kind, with the terms that they leave."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ppn.classifier.blocks import default_span
from ppn.classifier.complete import MOST_NODES, TOLERANCE, complete_maps
from ppn.classifier.running import out_of_memory
from ppn.classifier.span import module_span, pixel_span, vector
from ppn.errors import HeadError, PPNError
from ppn.explanation.terms import MapTerms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ppn.classifier import Classifier
    from ppn.classifier.complete import Baseline, CompleteMaps
    from ppn.classifier.cut_point import Features
    from ppn.classifier.span import Span
    from ppn.explanation.explain import Explainable
    from ppn.explanation.terms import MapKind, MapOptions
    from ppn.prototypes.head import PrototypeHead
    from ppn.types import Tokens

_ACCOUNT_NODES = 16


def shown_kind(classifier: Classifier, maps: MapKind | None, cut: str | None = None) -> MapKind:
    """Return which kind of maps explains where None was asked for.

    Cells where their maps are exact; otherwise maps that are made complete, and so where a cut is
    named.

    Raises:
        PPNError: If it is not cut anywhere.
    """
    report = classifier.inspection
    if cut is not None:
        if maps in ("cells", "pixels"):
            raise PPNError(f"cut is {cut!r}, but maps of {maps} are cut nowhere: leave one out.")
        return "complete"
    if maps is None:
        return "cells" if report.averages else "complete"
    # Behind a mean the maps of cells are complete.
    return "cells" if maps == "complete" and report.averages else maps


def span_of(classifier: Classifier, images: Tensor, kind: MapKind, cut: str | None = None) -> Span:
    """Return what is integrated over for a kind of maps.

    Args:
        classifier: The classifier.
        images: (B, C, H, W) real input.
        kind: "complete" or "pixels".
        cut: Name of the module whose output complete maps are of; None takes the default.

    Raises:
        HeadError: If the classifier cannot be cut there.
    """
    if kind == "pixels":
        return pixel_span()
    return default_span(classifier, images) if cut is None else module_span(classifier, cut, images)


def attributed(
    classifier: Classifier,
    head: PrototypeHead,
    span: Span,
    images: Tensor,
    labels: Tensor,
    contributions: Tensor,
    tolerance: float = TOLERANCE,
    baseline: Baseline = "blurred",
    begun: tuple[Features, Tensor] | None = None,
    most: int = MOST_NODES,
) -> CompleteMaps:
    """Return path-integrated maps of the prototypes of one class per image.

    Args:
        classifier: The classifier.
        head: Its head as sums of prototypes.
        span: What is integrated over.
        images: (B, C, H, W) as the classifier takes them.
        labels: (B,) the class explained on each.
        contributions: (B, C, k) of all prototypes, whose standard deviation errors are relative to.
        tolerance: Largest error allowed.
        baseline: What the images are compared with.
        begun: What `span.start` gives for the images, where they went through before.
        most: Points of the finest quadrature.
    """
    found = head.prototypes.flatten(1).any(1)  # some classes may have none
    flat = contributions[:, found].double().flatten(1)
    spread = flat.std(1) if flat.shape[1] > 1 else flat.abs()[:, 0]
    directions = head.prototypes[labels]
    return complete_maps(
        classifier, span, images, directions, spread, tolerance, baseline, begun=begun, most=most
    )


@torch.no_grad()
def maps_account(
    classifier: Classifier, head: PrototypeHead, images: Tensor, cut: str | None = None
) -> dict[str, Any]:
    """Return what explanations that are made complete leave without a place, and what they cost.

    Args:
        classifier: The classifier.
        head: Its head as sums of prototypes.
        images: (B, C, H, W), a few.
        cut: Name of the module that maps are cut at; None takes the default.

    Returns:
        Plain values: `cut`, the module that they are cut at, empty for the last features;
        `elsewhere`, the share of what the images change that has no place; `nodes`, runs of what is
        behind the cut for an image; `error`, the largest; `images`, how many. Where maps cannot be
        made so, `reason` alone.
    """
    try:
        accepted = classifier.accept(images)
        span = span_of(classifier, accepted, "complete", cut)
        y = vector(classifier, accepted)[1]
        contributions = torch.einsum("bd,ckd->bck", y, head.prototypes.to(y.dtype))
        labels = contributions.sum(2).argmax(1)
        found = attributed(
            classifier, head, span, accepted, labels, contributions, most=_ACCOUNT_NODES
        )
    except (HeadError, RuntimeError) as error:
        if not isinstance(error, HeadError) and not out_of_memory(error):
            raise
        reason = str(error) if isinstance(error, HeadError) else "it takes too much memory here"
        return {"reason": reason}
    own = contributions[torch.arange(len(labels), device=labels.device), labels]
    moved = (own - found.baseline).abs().sum().clamp(min=1e-12)
    return {
        "cut": span.name,
        "elsewhere": float(found.elsewhere.abs().sum() / moved),
        "nodes": int(found.nodes.max()),
        "error": float(found.error.max()),
        "images": len(images),
    }


class Way(NamedTuple):
    """How maps are made.

    `span`: what is integrated over, None where there are maps of cells alone; `noted`: what was at
    its beginning as the images went through, once they have.
    """

    span: Span | None
    noted: list[Features]


@contextmanager
def way(classifier: Classifier, images: Tensor, options: MapOptions) -> Iterator[Way]:
    """Note what integrated maps begin with, as images go through while the context lasts.

    Args:
        classifier: The classifier.
        images: (B, C, H, W) as the classifier takes them.
        options: What is to be shown; maps of cells stand in where others were not asked for, and
            cannot be had.

    Raises:
        HeadError: If what was asked for cannot be had of this classifier.
        PPNError: If there are no such maps.
    """
    kind = shown_kind(classifier, options.maps, options.cut)
    span = None
    try:
        span = None if kind == "cells" else span_of(classifier, images, kind, options.cut)
    except HeadError:
        if options.maps is not None or options.cut is not None:
            raise
    if span is None:
        yield Way(None, [])
        return
    with span.noting(classifier, images) as noted:
        yield Way(span, noted)


def maps_and_terms(
    network: Explainable,
    images: Tensor,
    labels: Tensor,
    contributions: Tensor,
    cells: Tensor,
    way: Way,
    tokens: Tokens,
    options: MapOptions,
) -> tuple[Tensor, list[MapTerms | None]]:
    """Return the maps (B, k, H, W) to show, and for each image the terms that they leave.

    Args:
        network: The classifier, and its head as sums of prototypes.
        images: (B, C, H, W) as the classifier takes them.
        labels: (B,) the class explained on each.
        contributions: (B, C, k) of all prototypes.
        cells: (B, k, h, w) the maps of cells.
        way: What is integrated over.
        tokens: What the classifier gave for the images.
        options: What is to be shown.
    """
    span = way.span
    if span is None:
        return cells, [None] * len(labels)
    kind: MapKind = "pixels" if span.kind == "pixels" else "complete"
    y = tokens.pooled * tokens.scale[:, None]
    found = attributed(
        network.classifier,
        network.head,
        span,
        images,
        labels,
        contributions,
        options.tolerance,
        options.baseline,
        (way.noted[0], y) if len(way.noted) == 1 else None,
    )
    place = {"pixels": "the pixels", "features": "the last features"}.get(
        span.kind, f"the output of '{span.name}'"
    )
    beside = cells.cpu().numpy() if kind == "pixels" else None
    terms: list[MapTerms | None] = [
        MapTerms(
            kind,
            place,
            options.baseline,
            tuple(found.elsewhere[row].tolist()),
            tuple(found.baseline[row].tolist()),
            float(found.error[row]),
            options.tolerance,
            int(found.nodes[row]),
            () if beside is None else tuple(beside[row]),
        )
        for row in range(len(labels))
    ]
    return found.maps, terms
