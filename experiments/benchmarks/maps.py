"""Maps that add up against the passes that they cannot do without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm
import torch
from torch import nn

from experiments.benchmarks.measure import Row, side_by_side
from ppn.classifier import Classifier
from ppn.classifier.blocks import block_names
from ppn.classifier.complete import complete_maps
from ppn.classifier.span import Span, module_span, pixel_span, vector
from ppn.types import InputConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from ppn.classifier.cut_point import Features

NODES, K, IMAGES = 4, 3, 4


def map_rows(
    device: str = "cpu", name: str = "vit_tiny_patch16_224", size: int = 224
) -> Iterator[Row]:
    """Compare maps of a transformer with a class token with its bare passes.

    Args:
        device: Where.
        name: timm's name.
        size: Side of its input.
    """
    torch.manual_seed(0)
    classifier = Classifier(
        timm.create_model(name, num_classes=10).eval(), InputConfig((size, size))
    ).to(device)
    nn.init.normal_(classifier.linears[0].weight, std=0.1)  # type: ignore[arg-type]
    images = torch.randn(IMAGES, 3, size, size).to(device)
    rows = classifier.effective_head()[0].float()
    directions = (rows[:1] / K).expand(IMAGES, K, -1)
    names = block_names(classifier, images)
    late, early = (module_span(classifier, names[i], images) for i in (-2, 0))
    spread = torch.ones(IMAGES, device=device)

    def maps(span: Span, begun: tuple[Features, Tensor] | None = None) -> None:
        complete_maps(
            classifier, span, images, directions, spread, torch.inf, nodes=NODES, begun=begun
        )

    with torch.no_grad():
        # As in an explanation: the pass that predicts the class notes what is at the cut.
        begun = late.start(classifier, images)
        quick, slow = side_by_side(
            lambda: maps(late, begun), lambda: classifier.classify(images), 3
        )
    yield Row(
        f"complete maps of {K} prototypes, cut before the last block, {NODES} nodes",
        "a forward pass",
        quick,
        slow,
        quick / slow,
        "<= 3",
        "a pass for the baseline; the image's own is the one that predicts its class",
    )
    for title, span in (("cut at the embedding", early), ("of pixels", pixel_span())):
        quick, slow = side_by_side(
            lambda span=span: maps(span),
            lambda span=span: _passes(classifier, span, images, directions),
            3,
        )
        yield Row(
            f"complete maps of {K} prototypes, {title}, {NODES} nodes",
            f"{NODES} forward passes of the layers run, each with {K} backward passes",
            quick,
            slow,
            quick / slow,
            "<= 1.2",
            "the passes, and two for both ends of the path",
        )


def _passes(classifier: Classifier, span: Span, images: Tensor, directions: Tensor) -> None:
    """The passes alone: nothing is interpolated, summed or placed."""
    with torch.no_grad():
        features, _ = span.start(classifier, images)
        vector(classifier, images)
    for _ in range(NODES):
        leaf = features.leaves[span.leaf].clone().requires_grad_()
        y = span.respond(classifier, features.with_leaf(span.leaf, leaf))
        for i in range(K):
            torch.autograd.grad(y, leaf, directions[:, i], retain_graph=i < K - 1)
